"""`smoothcam compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.audits import Audit, audit_options, audited
from cam_cli.cli.locations import LocationParam
from cam_cli.cli.table import format_option, table
from cam_cli.cli.truth import truth_option
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.evaluate.compare import Comparison, ImageChange
    from cam_cli.results.truth import TruthSource

_MEANS = {
    "correlation": "correlation of the maps",
    "overlap": "overlap where they reach half of their peak",
    "shift": "shift of the centre of attention, of the diagonal",
}


@click.command()
@click.argument("before", type=LocationParam(), metavar="A")
@click.argument("after", type=LocationParam(), metavar="B")
@click.option("--worst", default=20, show_default=True, type=click.IntRange(0), help="Images listed in the table.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a page that shows both runs side by side.",
)
@format_option("table", "json", help="A table to read, or one JSON object.")
@truth_option
@audit_options
def compare(
    before: Location,
    after: Location,
    worst: int,
    html: Path | None,
    form: str,
    truth: TruthSource | None,
    audit: Audit,
) -> int:
    """Compare two output folders A and B over the same images: two models, two settings or two nights; worst first.

    Images are matched by their path below each run's root. Shows changed predictions, and what broke and what was fixed where
    the true classes are known, how alike the maps are, how far the centre of attention moved, and what is newly blank or
    failed. Exit code 0, or 5 where a bound of --audit, or of `audit:` in --config, is crossed.

    \b
    smoothcam compare monday tuesday
    smoothcam compare monday tuesday --html change.html --config audit.yaml
    smoothcam compare monday tuesday --truth folder --audit max_broke=0
    smoothcam compare vgg16 resnet50 --format json | jq '.images[] | select(.prediction_changed) | .path'
    """
    from cam_cli.evaluate.compare import compare as compare_runs
    from cam_cli.results.reader import RunReader

    runs = RunReader(before, truth), RunReader(after, truth)
    comparison = compare_runs(*runs)
    if form == "json":
        record = comparison.model_dump(mode="json", by_alias=True)
        click.echo(json.dumps(record, sort_keys=True, allow_nan=False))
    else:
        click.echo("\n\n".join(_tables(comparison, worst)))
    if html is not None:
        from cam_cli.report.write import write_comparison

        write_comparison(comparison, *runs, html)
    return audited(
        audit,
        comparison.totals.figures(),
        "compare",
        say=lambda _: None,  # a nightly config has bounds for other commands too
        images_behind=comparison.images_behind,
    )


def _tables(comparison: Comparison, worst: int) -> Iterator[str]:
    yield table(("", "images"), [(name, str(number)) for name, number in comparison.counts().items()])
    totals = [(words, getattr(comparison.totals, name)) for name, words in _MEANS.items()]
    means = [(words, f"{i.mean:.3f}", f"{i.low:.3f} to {i.high:.3f}") if i else (words, "", "") for words, i in totals]
    yield table(("mean over the images of each one's worst map", "mean", "95% interval"), means)
    truth = ("truth",) if comparison.totals.known else ()
    if rows := [_row(image, with_truth=bool(truth)) for image in comparison.images[:worst]]:
        yield table(("worst first", *truth, "A", "B", "correlation", "what"), rows)


def _row(image: ImageChange, *, with_truth: bool) -> tuple[str, ...]:
    predicted = (image.predicted_before, image.predicted_after)
    classes = ("" if target is None else target.label or str(target.index) for target in predicted)
    correlation = "" if image.correlation is None else f"{image.correlation:.3f}"
    remarks = [*image.changes(), *([] if image.same_image else ["other image"])]
    truth = (" and ".join(one.label for one in image.truth),) if with_truth else ()
    return (image.path, *truth, *classes, correlation, ", ".join(remarks))
