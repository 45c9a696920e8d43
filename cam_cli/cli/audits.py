"""`audit:` of a config, held against what a command found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cam_cli.text import escaped

Command = TypeVar("Command", bound=Callable[..., Any])
BREACHED = 5


def bounds_option(command: Command) -> Command:
    """Add the option that names the config with the bounds."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="YAML file whose `audit:` has bounds to keep, such as max_changed_predictions: 2%.",
    )(command)


def audited(config_file: Path | None, figures: Mapping[str, float]) -> int:
    """Say on stderr, a line for each, which bounds of a config are crossed; return 5 if any is, else 0.

    Args:
        figures: what was found, by the name that follows `max_` or `min_`.
    """
    from cam_cli.config import resolve

    bounds = resolve({}, os.environ, config_file).config.audit
    crossed = held_against(bounds, figures, lambda text: click.echo(f"smoothcam: {escaped(text)}", err=True))
    return BREACHED if crossed else 0


def held_against(bounds: Mapping[str, float] | None, figures: Mapping[str, float], warn: Callable[[str], None]) -> bool:
    """Tell which bounds are crossed, a line for each, and return whether any is."""
    from cam_cli.evaluate.audit import breaches

    crossed = list(breaches(bounds or {}, figures))
    for breach in crossed:
        warn(str(breach))
    return bool(crossed)
