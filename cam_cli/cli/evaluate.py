"""`smoothcam evaluate`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.audits import audited, bounds_option
from cam_cli.cli.locations import LocalRun
from cam_cli.cli.table import table
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import cell, escaped

if TYPE_CHECKING:
    from cam_cli.evaluate.evaluation import Evaluation, ModelFigures
    from cam_cli.evaluate.sanity import Sanity

_TELL_EVERY = 10.0
"""Seconds between two lines on how far it is."""


@click.command()
@click.argument("run", type=LocalRun(), metavar="RUN")
@click.option(
    "--annotations",
    type=click.Path(path_type=Path, readable=False),
    metavar="PATH",
    help="Where the objects are: COCO JSON, a folder of Pascal VOC XML or masks, or boxes as in sample_images/boxes.json.",
)
@click.option(
    "--faithfulness",
    type=click.Choice(["blur", "mean", "noise"]),
    help="Also deletion, insertion, average drop and increase, pixels replaced by this; loads the model.",
)
@click.option(
    "--stability", is_flag=True, help="Also how maps hold under other noise and small changes; loads the model."
)
@click.option("--sanity", is_flag=True, help="Also whether maps change when the model's weights are randomised.")
@click.option(
    "--images", "most", type=click.IntRange(1), metavar="N", help="Only so many images for --sanity. [default: 8]"
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Where the run's model is now, if not where run.json says; for --faithfulness, --stability and --sanity.",
)
@click.option(
    "--unsafe-lambda", is_flag=True, help="Run the code that the model's layers bring along: only for files you trust."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A table to read, one JSON object, or CSV with one figure a line.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no table; say only which bounds are crossed.")
@bounds_option
def evaluate(
    run: Path,
    annotations: Path | None,
    faithfulness: str | None,
    stability: bool,
    sanity: bool,
    most: int | None,
    model: str | None,
    unsafe_lambda: bool,
    form: str,
    quiet: bool,
    config_file: Path | None,
) -> int:
    """Measure how far the maps of the output folder RUN can be trusted, image by image and in total.

    Without options: signals that need neither model nor annotations. Writes RUN/evaluation.json, which `smoothcam report`
    shows. Intervals are 95%, by bootstrap over images. Exit code 0, or 5 where a bound of `audit:` in --config is crossed.

    \b
    smoothcam evaluate out
    smoothcam evaluate out --annotations instances_val2017.json --faithfulness blur
    smoothcam evaluate out --sanity --format json | jq '.sanity'
    """
    from cam_cli.evaluate.evaluation import evaluate as evaluate_run
    from cam_cli.evaluate.evaluation import evaluation_file
    from cam_cli.results.layout import EVALUATION
    from cam_cli.results.reader import RunReader

    saved = RunReader(run)
    what = {"faithfulness": faithfulness, "stability": stability}
    figures: ModelFigures | None = None
    checked: Sanity | None = None
    if faithfulness or stability or sanity:
        with native_chatter_silenced():
            from cam_cli.evaluate.opened import open_model_of
            from cam_cli.evaluate.with_model import model_figures, sanity_of

        opened = open_model_of(saved, model, unsafe_lambda=unsafe_lambda)
        if sanity:
            checked = sanity_of(saved, opened, most or 8)
        if faithfulness or stability:
            figures = model_figures(opened, faithfulness, stability=stability)
    with evaluation_file(saved) as file:
        found = evaluate_run(saved, annotations, figures, what, _progress(quiet=quiet), file.keep)
        file.finish(found.record() | ({"sanity": asdict(checked)} if checked else {}))
    if form == "json":
        with (run / EVALUATION).open("rb") as written:
            for line in written:
                click.echo(line, nl=False)
    elif not quiet:
        click.echo(_told(found, form), nl=False)
        if checked and form == "table":
            click.echo(f"\n{_randomised(checked)}")
    return audited(config_file, found.figures())


def _progress(*, quiet: bool) -> Callable[[int], None]:
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if not quiet and time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            click.echo(f"smoothcam: {done:,} images evaluated", err=True)

    return tell


def _told(found: Evaluation, form: str) -> str:
    head = ("layer", "method", "metric", "mean", "low", "high", "images")
    if form == "csv":
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(head)
        lines.writerows([cell(getattr(total, name)) for name in head] for total in found.totals)
        return text.getvalue()
    rows = [
        (escaped(t.layer), t.method, t.metric, f"{t.mean:.3f}", f"{t.low:.3f} to {t.high:.3f}", str(t.images))
        for t in found.totals
    ]
    shares = f"failed images: {found.failed:.1%}   blank maps: {found.blank:.1%}\n\n"
    return shares + table(("layer", "method", "metric", "mean", "95% interval", "images"), rows) + "\n"


def _randomised(checked: Sanity) -> str:
    """Return what is left of the maps while the weights are randomised, from the top layer down."""
    head = ("layer", "method", *(f"down to {stage}" for stage in checked.stages), "")
    rows = [
        (
            one.layer,
            one.method,
            *("" if value is None else f"{value:.2f}" for value in one.stages),
            "SURVIVES a randomised model: it hardly depends on what was learned" if one.survives else "",
        )
        for one in checked.survivals
    ]
    return table(head, [[escaped(cell) for cell in row] for row in rows])
