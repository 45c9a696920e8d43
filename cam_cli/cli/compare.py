"""`smoothcam compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.audits import audited, bounds_option
from cam_cli.cli.locations import LocalRun
from cam_cli.cli.table import table
from cam_cli.text import escaped

if TYPE_CHECKING:
    from cam_cli.evaluate.bootstrap import Interval
    from cam_cli.evaluate.compare import Comparison, ImageChange
    from cam_cli.results.manifest import TargetRecord

_MEANS = {
    "correlation": "correlation of the maps",
    "overlap": "overlap where they reach half of their peak",
    "shift": "shift of the centre of attention, of the diagonal",
}


@click.command()
@click.argument("before", type=LocalRun(), metavar="A")
@click.argument("after", type=LocalRun(), metavar="B")
@click.option("--worst", default=20, show_default=True, type=click.IntRange(0), help="Images listed in the table.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a page that shows both runs side by side.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table to read, or one JSON object.",
)
@bounds_option
def compare(before: Path, after: Path, worst: int, html: Path | None, form: str, config_file: Path | None) -> int:
    """Compare two output folders A and B over the same photos: two models, two settings or two nights; worst first.

    Photos are matched by their path below each run's root. Tells changed predictions, how alike the maps are, how far the
    centre of attention moved, and what is newly blank or failed. Exit code 0, or 5 where a bound of `audit:` in
    --config is crossed.

    \b
    smoothcam compare monday tuesday
    smoothcam compare monday tuesday --html change.html --config audit.yaml
    smoothcam compare vgg16 resnet50 --format json | jq '.images[] | select(.prediction_changed) | .path'
    """
    from cam_cli.evaluate.compare import compare as compare_runs
    from cam_cli.results.reader import RunReader

    runs = RunReader(before), RunReader(after)
    comparison = compare_runs(*runs)
    if form == "json":
        click.echo(json.dumps(comparison.record(), sort_keys=True, allow_nan=False))
    else:
        click.echo("\n\n".join(_tables(comparison, worst)))
    if html is not None:
        from cam_cli.report.side_by_side import write_page

        write_page(comparison, *runs, html)
    return audited(config_file, comparison.figures())


def _tables(comparison: Comparison, worst: int) -> Iterator[str]:
    yield table(("", "images"), [(name, str(number)) for name, number in comparison.counts().items()])
    means = [(words, *_cells(getattr(comparison, name))) for name, words in _MEANS.items()]
    yield table(("mean over the images of each one's worst map", "mean", "95% interval"), means)
    if rows := [_row(image) for image in comparison.images[:worst]]:
        yield table(("worst first", "A", "B", "correlation", "what"), rows)


def _cells(found: Interval | None) -> tuple[str, str]:
    return ("", "") if found is None else (f"{found.mean:.3f}", f"{found.low:.3f} to {found.high:.3f}")


def _row(image: ImageChange) -> tuple[str, ...]:
    words = {
        "newly failed": image.newly_failed,
        "newly blank": image.newly_blank,
        "other class": image.prediction_changed,
        "other photo": not image.same_photo,
    }
    correlation = "" if image.correlation is None else f"{image.correlation:.3f}"
    said = ", ".join(word for word, holds in words.items() if holds)
    classes = _label(image.predicted_before), _label(image.predicted_after)
    return tuple(escaped(cell) for cell in (image.path, *classes, correlation, said))


def _label(target: TargetRecord | None) -> str:
    return "" if target is None else target.label or str(target.index)
