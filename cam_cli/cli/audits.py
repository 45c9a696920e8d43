"""The bounds in `audit:` of a config, and exit code 5 if a command finds one crossed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from cam_cli.cli.table import Command, config_option, remark
from cam_cli.errors import ExitCode

Bounds = Mapping[str, float]


def bounds_option(command: Command) -> Command:
    """Add the option that names a config; the command gets the bounds in it."""

    def read(context: click.Context, _option: click.Parameter, file: Path | None) -> Bounds | None:
        from cam_cli.settings import resolve

        return None if context.resilient_parsing else resolve({}, os.environ, file).config.audit

    help_text = "YAML file whose `audit:` has bounds to keep, such as max_changed_predictions: 2%."
    return config_option("bounds", help_text, read)(command)


def audited(
    bounds: Bounds | None,
    figures: Mapping[str, float],
    warn: Callable[[str], None] = remark,
    otherwise: int = ExitCode.DONE,
) -> int:
    """Warn of each bound that is crossed, a line each, and return exit code 5 if any is, else `otherwise`.

    bounds: by rule; `max_x` and `min_x` bound the figure x; a rule without a figure is passed over. figures: by name.
    """
    lines = crossed(bounds or {}, figures)
    for line in lines.values():
        warn(line)
    return ExitCode.BOUND_CROSSED if lines else otherwise


def crossed(bounds: Bounds, figures: Mapping[str, float]) -> dict[str, str]:
    """Return the bounds that are crossed, by rule, in the order they are written, each with a line for a mail."""
    lines = {}
    for rule, bound in bounds.items():
        side, _, name = rule.partition("_")
        figure = figures.get(name)
        if figure is not None and (figure > bound if side == "max" else figure < bound):
            relation = "at most" if side == "max" else "at least"
            lines[rule] = f"audit: {rule}: {figure:.4g} found, {relation} {bound:.4g} allowed"
    return lines
