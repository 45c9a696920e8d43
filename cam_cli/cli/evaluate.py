"""`smoothcam evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cam_cli.cli.audits import Audit, audit_options, audited
from cam_cli.cli.locations import LocationParam
from cam_cli.cli.table import csv_table, format_option, remark, table
from cam_cli.cli.truth import truth_option, truth_tables, truth_values
from cam_cli.quiet import native_chatter_silenced
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.evaluate.evaluation import ModelMetrics
    from cam_cli.evaluate.records import ClassStrategies, Evaluation, Sanity, StrategyAnalysis
    from cam_cli.results.truth import TruthSource

Grid = Sequence[Sequence[float]]
_MIDDLE = (0.42, 0.58)
"""What lies between these shares of a side is in the middle."""
_WIDE = 0.6
"""A mean map with a larger mean, as a share of its peak, looks everywhere."""
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
    "--tolerance",
    type=click.Choice(["share", "pixels"]),
    default="share",
    show_default=True,
    help="How far beside an object a peak is a hit: 15/224 of the image's sides, or 15 of its pixels, as published.",
)
@click.option(
    "--strategies",
    is_flag=True,
    help="Also group the maps of each class, and flag a class that is looked at in an odd way.",
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
    tolerance: Literal["share", "pixels"],
    strategies: bool,
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
    evaluation = evaluate_run(
        saved, annotations, metrics, what, checked, _progress(quiet=quiet), tolerance=tolerance, strategies=strategies
    )
    for missing in evaluation.remarks():
        remark(missing)
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
    for analysis in evaluation.strategies:
        yield from _strategies(analysis)


def _strategies(analysis: StrategyAnalysis) -> Iterator[str]:
    rows = []
    classes = [*analysis.classes, *([analysis.together] if analysis.together else [])]
    for of_class in classes:
        for way in of_class.strategies if len(of_class.strategies) > 1 else ():
            right = "" if way.accuracy is None else f"{way.accuracy:.0%}"
            gap = "" if way.gap is None else f"{way.gap:.2f}"
            odd = "ODD" if way.odd else ""
            looks = looks_at(way.mean_map, of_class.mean_map)
            rows.append((_name(of_class), f"{way.number + 1}", f"{way.size}", right, looks, gap, odd, way.typical[0]))
    head = ("class", "way", "images", "right", "looks more at", "gap", "", "most typical")
    yield f"ways of looking, {analysis.layer}, {analysis.method}\n"
    if rows:
        yield f"{table(head, rows)}\n"
    one_way = sum(len(of_class.strategies) == 1 for of_class in classes)
    flagged = sum(of_class.flagged for of_class in analysis.classes)
    yield (
        f"flagged classes: {flagged} of {len(analysis.classes)}; with one way of looking: {one_way}; with fewer than "
        f"{analysis.fewest} images, not grouped: {analysis.left_out}\n"
    )


def _name(of_class: ClassStrategies) -> str:
    return "all together" if of_class.target is None else of_class.target.label or str(of_class.target.index)


def looks_at(mean_map: Grid, usual: Grid) -> str:
    """Return in a few words where a mean map (square, its peak is 1) has more than the usual one, or that it is wide."""
    side, total, whole = len(mean_map), sum(map(sum, mean_map)), sum(map(sum, usual))
    if total / side**2 > _WIDE:
        return "everywhere"
    more = [
        [max(0.0, own / total - other / whole) for own, other in zip(row, others, strict=True)]
        for row, others in zip(mean_map, usual, strict=True)
    ]
    excess = sum(map(sum, more)) or 1.0
    down = sum((n + 0.5) * sum(row) for n, row in enumerate(more)) / excess / side
    across = sum((n + 0.5) * value for row in more for n, value in enumerate(row)) / excess / side
    names = [
        near if at < _MIDDLE[0] else far if at > _MIDDLE[1] else ""
        for at, near, far in ((down, "top", "bottom"), (across, "left", "right"))
    ]
    return " ".join(filter(None, names)) or "middle"
