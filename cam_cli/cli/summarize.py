"""`smoothcam summarize`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cam_cli.cli.locations import LocationParam
from cam_cli.cli.table import csv_lines, csv_table, format_option, remark, table
from cam_cli.cli.truth import truth_option
from cam_cli.storage.location import Location
from cam_cli.text import ranges

if TYPE_CHECKING:
    from cam_cli.results.manifest import Row
    from cam_cli.results.summary import State, Summary
    from cam_cli.results.truth import TruthSource

_WORDS: dict[State, str] = {
    "missing": "missing",
    "stopped": "stopped",
    "running": "running or killed",
    "unknown": "without a readable record",
}

_IMAGE_HEAD = ("path", "status", "predicted", "probability", "truth", "truth_probability", "correct")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=LocationParam(), metavar="RUN...")
@truth_option
@format_option("table", "json", "csv", help="A table to read, one JSON object, or CSV with one image a line.")
def summarize(runs: tuple[Location, ...], truth: TruthSource | None, form: str) -> int:
    """Add up the output folders RUN... of one dataset, with all their shards, and name the shards that are missing.

    Counts images, right and wrong predictions where the true classes are known, failures by cause, maps by state and the ten
    most frequent classes. Several folders are taken together, as
    when shards were written on several machines. Exit code 0: all is complete and nothing failed; 3: not so.

    \b
    smoothcam summarize out                                          one run, or all shards that wrote to out/
    smoothcam summarize node1/out node2/out                          shards gathered from two machines
    smoothcam summarize out --truth folder --format csv > images.csv which images are wrong
    smoothcam summarize out --format json | jq -c '.divisions[0].missing'
    """
    from cam_cli.results.summary import summarize as add_up

    if form == "csv":
        click.echo(csv_table(_IMAGE_HEAD, ()), nl=False)
        summary = add_up(runs, truth, lambda row: click.echo(csv_lines([_image(row)]), nl=False))
    else:
        summary = add_up(runs, truth)
        as_json = form == "json"
        click.echo(json.dumps(summary.record(), sort_keys=True) if as_json else "\n\n".join(_tables(summary)))
    for text in _remarks(summary):
        remark(text)
    return summary.exit_code


def _remarks(summary: Summary) -> Iterator[str]:
    if gaps := list(_gaps(summary)):
        yield f"not complete: {'; '.join(gaps)}"
    if summary.left_out:
        yield summary.left_out_text
    if summary.unreadable_folders:
        yield f"{summary.unreadable_folders} folders could not be read; the runs' own messages name them"
    if summary.unreadable_lines:
        yield f"{summary.unreadable_lines} lines of the index are no rows and were passed over"
    if summary.rows_missing:
        yield (
            f"the runs met {summary.rows_missing} more images than the index files have; either an index file was not copied, "
            "or the folders hold the same images"
        )


def _gaps(summary: Summary) -> Iterator[str]:
    for division in summary.current:
        if division.count == 1 and not division.complete:
            yield f"the run in '{division.runs[0].folder}' is {_WORDS[division.runs[0].state]}"
        elif not division.complete:
            parts = [f"{ranges(shards)} {word}" for state, word in _WORDS.items() if (shards := division.shards(state))]
            yield f"of {division.count} shards {', '.join(parts)}"


def _tables(summary: Summary) -> Iterator[str]:
    state = "complete" if summary.complete else "not complete"
    truth = summary.truth
    top5 = f"; top-5 {_percent(truth.top5)}" if truth and truth.top5 else ""
    yield f"images: {summary.ok} ok, {summary.failed} failed; {state}" + (
        f"\ntruth: {truth.text}{top5}" if truth else ""
    )
    runs = []
    for division in summary.divisions:
        note = "" if division.current else " (before)"
        for run in division.runs:
            seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
            state = _WORDS.get(run.state, run.state) + note
            runs.append((f"{run.shard}/{division.count}", state, _text(run.images), seconds, run.folder))
        if division.current and (missing := division.shards("missing")):
            runs.append((f"{ranges(missing)}/{division.count}", "missing", "", "", ""))
    yield table(("shard", "state", "images", "seconds", "folder"), runs)
    if summary.failures:
        rows = [(f.stage, f.type, str(f.images), "  ".join(f.examples)) for f in summary.failures]
        yield table(("failed at", "error", "images", "such as"), rows)
    if summary.maps:
        maps = [(m.layer, m.method, str(m.ok), str(m.blank), str(m.nonfinite)) for m in summary.maps]
        yield table(("layer", "method", "maps ok", "blank", "not finite"), maps)
    if summary.classes:
        yield table(("class", "label", "images"), [(str(c.index), c.label, str(c.images)) for c in summary.classes])


def _image(row: Row) -> tuple[object, ...]:
    """Return the line of an image; where its label names no class, what the label says, and nothing on whether it is right."""
    best = next(iter(row["predictions"]), None)
    truth = row.get("truth")
    names = [one["label"] for one in [*([truth] if truth else []), *row.get("also_true", [])]]
    correct = row.get("correct")
    return (
        row["path"],
        row["status"],
        best["label"] if best else "",
        best.get("probability", "") if best else "",
        "; ".join(filter(None, [*names, row.get("unknown_truth")])),
        _text(truth["probability"] if truth else None),
        "" if correct is None else str(correct).lower(),
    )


def _percent(share: dict[str, float]) -> str:
    return f"{share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%})"


def _text(value: str | float | None) -> str:
    return "" if value is None else str(value)
