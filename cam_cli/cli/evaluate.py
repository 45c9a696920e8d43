"""`smoothcam evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.audits import Audit, audit_options, audited
from cam_cli.cli.locations import LocationParam
from cam_cli.cli.table import csv_table, format_option, remark, table
from cam_cli.cli.truth import truth_option, truth_tables, truth_values
from cam_cli.quiet import native_chatter_silenced
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.evaluate.evaluation import ModelMetrics
    from cam_cli.evaluate.records import Evaluation, Sanity
    from cam_cli.results.truth import TruthSource

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""


@click.command()
@click.argument("run", type=LocationParam(), metavar="RUN")
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
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    help="Installed module whose layers the model has, as the run was told; repeatable.",
)
@format_option("table", "json", "csv", help="A table to read, one JSON object, or CSV with one figure a line.")
@click.option("-q", "--quiet", is_flag=True, help="Print no table; say only which bounds are crossed.")
@truth_option
@audit_options
def evaluate(
    run: Location,
    annotations: Path | None,
    faithfulness: str | None,
    stability: bool,
    sanity: bool,
    most: int | None,
    model: str | None,
    unsafe_lambda: bool,
    imports: tuple[str, ...],
    form: str,
    quiet: bool,
    truth: TruthSource | None,
    audit: Audit,
) -> int:
    """Measure how far the maps of the output folder RUN can be trusted, image by image and in total.

    Without options: signals that need neither model nor annotations, and how often the model is right, where the true classes
    are known. Writes RUN/evaluation.json, which `smoothcam report` shows. Intervals are 95%, by bootstrap over images, those of
    accuracy Wilson's. Exit code 0, or 5 where a bound of --audit, or of `audit:` in --config, is crossed.

    \b
    smoothcam evaluate out
    smoothcam evaluate out --annotations instances_val2017.json --faithfulness blur
    smoothcam evaluate out --truth folder --audit min_accuracy=80%,max_confidently_wrong=1%
    smoothcam evaluate out --sanity --format json | jq '.sanity'
    """
    from cam_cli.evaluate.evaluation import evaluate as evaluate_run
    from cam_cli.results.layout import EVALUATION
    from cam_cli.results.reader import RunReader

    saved = RunReader(run, truth)
    metrics: ModelMetrics | None = None
    checked: Sanity | None = None
    if faithfulness or stability or sanity:
        with native_chatter_silenced():
            from cam_cli.evaluate.opened import open_model_of
            from cam_cli.evaluate.with_model import model_metrics, sanity_of

        opened = open_model_of(saved, model, unsafe_lambda=unsafe_lambda, imports=imports)
        checked = sanity_of(saved, opened, most or 8) if sanity else None
        if faithfulness or stability:
            metrics = model_metrics(opened, faithfulness, with_stability=stability)
    what = {"faithfulness": faithfulness, "stability": stability, **({"truth": str(truth)} if truth else {})}
    evaluation = evaluate_run(saved, annotations, metrics, what, checked, _progress(quiet=quiet))
    if form == "json":
        click.echo(saved.read(EVALUATION), nl=False)
    elif not quiet:
        click.echo(_csv(evaluation) if form == "csv" else "\n".join(_tables(evaluation)), nl=False)
    return audited(
        audit,
        evaluation.figures(),
        "evaluate",
        say=(lambda _: None) if quiet else remark,
        images_behind=evaluation.images_behind,
    )


def _progress(*, quiet: bool) -> Callable[[int], None]:
    shown = time.monotonic()

    def on_progress(done: int) -> None:
        nonlocal shown
        if not quiet and time.monotonic() - shown >= _PROGRESS_EVERY:
            shown = time.monotonic()
            remark(f"{done:,} images evaluated")

    return on_progress


def _csv(evaluation: Evaluation) -> str:
    head = ("layer", "method", "metric", "mean", "low", "high", "images")
    rows = [[getattr(total, name) for name in head] + [""] for total in evaluation.totals]
    if evaluation.classification:
        rows += [["", "", *row] for row in truth_values(evaluation.classification)]
    return csv_table((*head, "class"), rows)


def _tables(evaluation: Evaluation) -> Iterator[str]:
    yield f"failed images: {evaluation.failed:.1%}   blank maps: {evaluation.blank:.1%}\n"
    totals = (
        (t.layer, t.method, t.metric, f"{t.mean:.3f}", f"{t.low:.3f} to {t.high:.3f}", str(t.images))
        for t in evaluation.totals
    )
    yield f"{table(('layer', 'method', 'metric', 'mean', '95% interval', 'images'), totals)}\n"
    if evaluation.classification:
        yield from (f"{block}\n" for block in truth_tables(evaluation.classification))
    if sanity := evaluation.sanity:
        remarks = {True: "SURVIVES a randomised model: it hardly depends on what was learned", False: ""}
        survivals = (
            (s.layer, s.method, *("" if v is None else f"{v:.2f}" for v in s.stages), remarks[s.survives])
            for s in sanity.survivals
        )
        stages = (f"down to {stage}" for stage in sanity.stages)
        yield f"{table(('layer', 'method', *stages, ''), survivals)}\n"
