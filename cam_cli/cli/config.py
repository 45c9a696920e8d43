"""`smoothcam config`: write, check and show the settings of a run."""

import json
import textwrap
from pathlib import Path
from typing import Any

import click
import yaml

from cam_cli.cli.options import RunCommand, resolve_options, run_options
from cam_cli.cli.setting_help import yaml_help
from cam_cli.config import SECTIONS, SETTINGS
from cam_cli.errors import ConfigError, UsageError
from cam_cli.settings import Resolved, resolve
from cam_cli.text import escaped, shown_if_odd


@click.group()
def config() -> None:
    """Write, check and show the settings of a run."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default="-")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def init(file: Path, force: bool) -> None:
    """Write every setting at its default, with its meaning, to FILE, or to stdout without FILE or for `-`."""
    if str(file) == "-":
        click.echo(starter_yaml(), nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(starter_yaml())
    except FileExistsError:
        raise UsageError(f"{shown_if_odd(file)} exists; choose another name, or replace it with --force") from None
    except OSError as error:
        raise UsageError(f"cannot write {shown_if_odd(file)}: {error.strerror}; choose another path") from None


@config.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, files: tuple[Path, ...]) -> None:
    """Check that each FILE can be used with --config; exit code 2 if any cannot."""
    failed = False
    for file in files:
        try:
            resolve({}, {}, file)
            click.echo(f"{shown_if_odd(file)}: ok")
        except ConfigError as error:
            failed = True
            for mistake in error.mistakes:
                click.echo(escaped(mistake), err=True)
    if failed:
        context.exit(ConfigError.exit_code)


@config.command(cls=RunCommand)
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of YAML.")
def show(as_json: bool, **options: Any) -> None:
    """Show each setting a run with these flags would use, and where it comes from."""
    resolved = resolve_options(options)
    if not as_json:
        click.echo(shown_yaml(resolved), nl=False)
        return
    values = resolved.config.model_dump(mode="json")
    click.echo(json.dumps({key: {"value": values[key], "origin": resolved.origin[key]} for key in values}))


def starter_yaml() -> str:
    """Return a YAML file of every setting at its default, each under its help, by section as `--help-all` has them."""
    lines = [
        "# Settings of a smoothcam run, each at its default; delete what you do not change.",
        "# Use: smoothcam explain IMAGES --config FILE",
    ]
    for section in SECTIONS:
        lines += ["", f"# ---- {section} {'-' * (89 - len(section))}"]
        for key, setting in SETTINGS.items():
            if setting.section == section:
                comment = (f"# {line}" for line in textwrap.wrap(yaml_help(setting), 96, break_on_hyphens=False))
                lines += ["", *comment, f"{key}: {_yaml_value(setting.default)}"]
    return "\n".join(lines) + "\n"


def shown_yaml(resolved: Resolved) -> str:
    """Return the settings as YAML lines `key: value  # origin`, the origins aligned."""
    pairs = {key: f"{key}: {_yaml_value(getattr(resolved.config, key))}" for key in resolved.origin}
    width = max((len(line) for line in pairs.values() if len(line) <= 48), default=0)
    return "".join(f"{line:<{width}}  # {resolved.origin[key]}\n" for key, line in pairs.items())


def _yaml_value(value: object) -> str:
    items = value if isinstance(value, tuple) else (value,)
    odd = any(isinstance(item, str | Path) and not str(item).isprintable() for item in items)
    plain = json.loads(json.dumps(value, default=str))
    style = '"' if odd else None
    dumped = yaml.safe_dump([plain], default_flow_style=True, default_style=style, width=1 << 30, allow_unicode=not odd)
    return dumped.strip()[1:-1]
