"""The settings of one run, from flags, environment, YAML and defaults, and where each value came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cam_cli.config import SETTINGS, RunConfig, flag_name
from cam_cli.errors import ConfigError
from cam_cli.text import near, shown_if_odd
from cam_cli.yaml_source import Tree, read_tree, validated

ENVIRONMENT_PREFIX = "SMOOTHCAM_"
CONFIG_VARIABLE = "SMOOTHCAM_CONFIG"


@dataclass(frozen=True)
class Resolved:
    """A config and, for each of its keys, where the value came from.

    An origin reads `flag --std-dev`, `environment SMOOTHCAM_STD_DEV`, `configs/paper.yaml:4:10` or `default`.
    """

    config: RunConfig
    origin: Mapping[str, str]


def resolve(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Resolved:
    """Return the settings of a run: flag before environment before YAML before default.

    Args:
        flags: values by key of `RunConfig`; None and () mean that the flag was not given.
        environ: `SMOOTHCAM_<KEY>` holds the text of one value, an empty one counts as unset. Lists are
            comma-separated; `layers`, `targets` and others whose names may hold commas may also be one per line.
            `SMOOTHCAM_CONFIG` names a YAML file.
        file: the YAML file; None: what `SMOOTHCAM_CONFIG` names, if anything.

    Raises:
        ConfigError: the value that wins cannot be read, values contradict, a key or variable is unknown, a file allows code.
    """
    ours = {name: text for name, text in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and text}
    tree = _file_tree(file, ours.pop(CONFIG_VARIABLE, None))
    origin = {key: tree.positions[key,] for key in tree.data}
    code_in_file = origin.get("unsafe_lambda")
    variables = {ENVIRONMENT_PREFIX + key.upper(): key for key in SETTINGS}
    for name, text in ours.items():
        if name not in variables:
            hint = near(name, [*variables, CONFIG_VARIABLE]) or "; `smoothcam config init` lists the settings"
            raise ConfigError(f"unknown setting in the environment{hint}", name)
        key = variables[name]
        lines = [line for line in text.splitlines() if line.strip()]
        several = SETTINGS[key].many == "lines" and len(lines) > 1
        tree = tree.with_value(key, lines if several else text.strip("\n"), name)
        origin[key] = f"environment {name}"
    for key, value in flags.items():
        if value is not None and value != ():
            flag = flag_name(key, value)
            tree = tree.with_value(key, value, flag)
            origin[key] = f"flag {flag}"
    config = validated(tree, RunConfig)
    if config.unsafe_lambda and origin["unsafe_lambda"] == code_in_file:
        raise ConfigError(
            "unsafe_lambda is not taken from a file, which may come from whoever made the model; if you trust the model, say "
            "--unsafe-lambda",
            code_in_file,
        )
    return Resolved(config, MappingProxyType({key: origin.get(key, "default") for key in SETTINGS}))


def _file_tree(file: Path | None, variable: str | None) -> Tree:
    if file is None and variable and not Path(variable).exists():
        raise ConfigError(f"no such file {shown_if_odd(Path(variable))}; correct or unset it", CONFIG_VARIABLE)
    path = file or (Path(variable) if variable else None)
    return read_tree(path) if path else Tree()
