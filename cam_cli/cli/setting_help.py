"""What a user reads of a setting, in `--help` and in a YAML file."""

import re

from cam_cli.config import SETTINGS, flag_name
from cam_cli.setting import Setting


def flag_help(setting: Setting) -> str:
    """Return the text for `--help`, with the default."""
    default = setting.unset if setting.default in (None, ()) else setting.default
    if isinstance(default, bool):
        default = flag_name(setting.key, default).removeprefix("--")
    elif isinstance(default, tuple):
        default = ",".join(default)
    return f"{setting.text.removesuffix('.')}. [default: {default}]"


def yaml_help(setting: Setting) -> str:
    """Return the text for a YAML file, with other settings named by their keys."""
    keys = {flag_name(key): key for key in SETTINGS}
    text = re.sub(r"--[a-z][a-z0-9-]*", lambda match: keys[match[0]], setting.text)
    return text if setting.default is not None else f"{text.removesuffix('.')}; null: {setting.unset}."
