"""The bounds of `audit:` and of `--audit`, and exit code 5 if a command finds one crossed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from cam_cli.cli.table import Command, config_option, remark
from cam_cli.errors import ExitCode

Judge = Literal["explain", "evaluate", "compare"]
Bounds = Mapping[str, float]


def _no_images(_figure: str, _bound: float) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Audit:
    """Bounds by rule; `max_x` and `min_x` bound the figure x. given: they were given to this very command, by a flag."""

    bounds: Bounds
    given: bool = False


def audit_options(command: Command) -> Command:
    """Add the options that name bounds and a config with bounds; the command gets them as `audit`."""

    def read(context: click.Context, _option: click.Parameter, file: Path | None) -> Audit:
        from cam_cli.settings import resolve

        if context.resilient_parsing:
            return Audit({})
        text = context.params.pop("audit_text", None)
        config = resolve({"audit": text}, os.environ, file).config
        return Audit(config.audit or {}, given=text is not None)

    flag = click.option(
        "--audit",
        "audit_text",
        metavar="LIST",
        is_eager=True,
        help="Bounds, e.g. max_failed=1%; exit code 5 if one is crossed.",
    )
    help_text = "YAML file whose `audit:` has bounds to keep, such as max_changed_predictions: 2%."
    return flag(config_option("audit", help_text, read)(command))


def audited(
    audit: Audit,
    figures: Mapping[str, float],
    judge: Judge,
    *,
    warn: Callable[[str], None] = remark,
    say: Callable[[str], None] = remark,
    images_behind: Callable[[str, float], Iterable[str]] = _no_images,
) -> int:
    """Warn of each bound that is crossed, and return exit code 5 if any is, else 0.

    Args:
        audit: the bounds.
        figures: by name.
        judge: the command that has found them.
        warn: takes a line for each crossed bound, and lines on the images behind it.
        say: takes what is less pressing: which bounds of a config are for other commands.
        images_behind: returns in words some images for which a bound of a figure is crossed.
    """
    lines = crossed(audit.bounds, figures)
    for rule, line in lines.items():
        warn(line)
        for image in images_behind(rule.partition("_")[2], audit.bounds[rule]):
            warn(f"  {image}")
    for line in _not_told(audit.bounds, figures, judge):
        warn(line)
    elsewhere = [*_judged_elsewhere(audit.bounds, judge)]
    if elsewhere:
        (warn if audit.given else say)(f"audit: not judged by `{judge}`: {', '.join(elsewhere)}")
    return ExitCode.BOUND_CROSSED if lines else ExitCode.DONE


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


def _judges(rule: str) -> dict[str, str]:
    """Return the commands that judge a bound, each with the option it needs for that."""
    from cam_cli.metrics.table import judges_of

    return judges_of(rule.partition("_")[2])


def _not_told(bounds: Bounds, figures: Mapping[str, float], judge: Judge) -> Iterator[str]:
    """Yield a line for each bound that this command judges, but of whose figure it has nothing."""
    for rule in bounds:
        judges = _judges(rule)
        if judge in judges and rule.partition("_")[2] not in figures:
            need = judges[judge]
            why = f"needs {need}" if need else "this run has no such figure"
            if rule.partition("_")[2] not in ("failed", "blank"):  # a run of no images, or of no maps, crosses neither
                yield f"audit: {rule} is not judged: {why}"


def _judged_elsewhere(bounds: Bounds, judge: Judge) -> Iterator[str]:
    """Yield in words the bounds that other commands judge."""
    for rule in bounds:
        judges = _judges(rule)
        if judge not in judges:
            commands = " and ".join(f"`smoothcam {f'{name} {need}'.strip()}`" for name, need in judges.items())
            yield f"{rule} (by {commands})"
