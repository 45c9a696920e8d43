"""The flags of a run, made from the settings of `cam_cli.config`; here values stay text and defaults unset."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from cam_cli.cli.setting_help import flag_help
from cam_cli.cli.table import Command, config_option
from cam_cli.config import SECTIONS, SETTINGS, flag_name
from cam_cli.errors import UsageError
from cam_cli.methods import METHODS
from cam_cli.models.bundled import bundled_models
from cam_cli.models.keras_file import layer_names
from cam_cli.setting import Setting
from cam_cli.settings import Resolved, resolve

_FILE_KINDS = {"FILE": "file", "FOLDER|URL": "dir", "NAME|PATH": "file"}
"""What a shell completes by itself, by metavar."""


ALL_OPTIONS = "all_options"
"""In the `meta` of a click context: the help lists all options, not only those that most people need."""


class RunCommand(click.Command):
    """A click command whose `--help` lists the common `run_options` by section, and its own options last.

    `--help-all` lists all of them.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, `--help-all` last."""
        return [*super().get_params(ctx), _HELP_ALL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section under its title."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, "Options")}
        left_out = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                setting = SETTINGS.get(parameter.name or "")
                if setting is None or setting.common or ctx.meta.get(ALL_OPTIONS):
                    records[setting.section if setting else "Options"].append(record)
                else:
                    left_out += 1
        for title in filter(records.get, records):
            with formatter.section(title):
                formatter.write_dl(records[title])
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(
                f"{left_out} more options are less often needed: {ctx.command_path} --help-all. A list takes commas, or the "
                "option again."
            )


def _show_all(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[ALL_OPTIONS] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


_HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show all options and exit.",
)


def run_options(command: Command) -> Command:
    """Give a click command `--config` (argument `config_file`) and one flag for each setting."""
    return _with_flags(command, SETTINGS.values())


def model_options(command: Command) -> Command:
    """Give a click command only `--config` and the flags that say which model is meant, and how it is fed.

    The model may also be its argument, MODEL.
    """
    command = click.argument("named_model", metavar="[MODEL]", required=False, type=_ModelName())(command)
    return _with_flags(command, [setting for setting in SETTINGS.values() if setting.section == "Model"])


def resolve_options(options: Mapping[str, Any]) -> Resolved:
    """Return the settings that a command's `run_options` arguments, environment and YAML file add up to (see `resolve`)."""
    flags = {key: value for key, value in options.items() if key in SETTINGS}
    if (named := options.get("named_model")) is not None:
        if flags["model"] not in (None, named):
            raise UsageError(f"the models '{named}' and --model '{flags['model']}' are both named; leave one out")
        flags["model"] = named
    return resolve(flags, os.environ, options["config_file"])


def _with_flags(command: Command, settings: Iterable[Setting]) -> Command:
    for setting in reversed(list(settings)):
        flag = flag_name(setting.key)
        if isinstance(setting.default, bool):
            both = f"{flag}/{flag_name(setting.key, False)}"
            option = click.option(both, setting.key, default=None, help=flag_help(setting))
        else:
            option = click.option(
                *filter(None, [setting.short]),
                flag,
                setting.key,
                metavar=setting.metavar,
                multiple=bool(setting.many),
                type=_SettingText(),
                help=flag_help(setting),
            )
        command = option(command)
    help_text = "YAML file of settings (see `config init`); flags and SMOOTHCAM_* variables win over it."
    return config_option("config_file", help_text)(command)


class _ModelName(click.types.StringParamType):
    """The name or the path of a model."""

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the bundled models that begin with `incomplete`, after a sign to the shell that files are meant too."""
        names = [CompletionItem(name) for name in bundled_models() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *names]


class _SettingText(click.types.StringParamType):
    """Text, which the setting's own type reads later. Completion does not wait for TensorFlow."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the known values that begin with `incomplete`, after a sign to the shell where files are meant too."""
        setting = SETTINGS[str(param.name)]
        kind = _FILE_KINDS.get(setting.metavar)
        items = [CompletionItem(incomplete, type=kind)] if kind else []
        for word in _words(setting, ctx.params.get("model")):
            help_text = METHODS[word].help if setting.key == "methods" else None
            items += [CompletionItem(word, help=help_text)] if word.startswith(incomplete) else []
        return items


def _words(setting: Setting, model: str | None) -> Iterable[str]:
    bundled = bundled_models()
    if setting.key == "model":
        return bundled
    if setting.key != "layers":
        return setting.words
    paths = bundled.values() if model is None else [path for name, path in bundled.items() if name == model]
    return ["auto", *(layer for path in paths for layer in sorted(layer_names(path) or ()))]
