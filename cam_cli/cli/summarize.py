"""`smoothcam summarize`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cam_cli.cli.locations import LocationParam
from cam_cli.cli.table import csv_table, format_option, remark, table
from cam_cli.storage.location import Location
from cam_cli.text import ranges

if TYPE_CHECKING:
    from cam_cli.results.summary import State, Summary

_WORDS: dict[State, str] = {
    "missing": "missing",
    "stopped": "stopped",
    "running": "running or killed",
    "unknown": "without a readable record",
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=LocationParam(), metavar="RUN...")
@format_option("table", "json", "csv", help="A table to read, one JSON object, or CSV with one value a line.")
def summarize(runs: tuple[Location, ...], form: str) -> int:
    """Add up the output folders RUN... of one dataset, with all their shards, and name the shards that are missing.

    Counts images, failures by cause, maps by state and the ten most frequent classes. Several folders are taken together, as
    when shards were written on several machines. Exit code 0: all is complete and nothing failed; 3: not so.

    \b
    smoothcam summarize out                                          one run, or all shards that wrote to out/
    smoothcam summarize node1/out node2/out --format csv > runs.csv  shards gathered from two machines
    smoothcam summarize out --format json | jq -c '.divisions[0].missing'
    """
    from cam_cli.results.summary import summarize as add_up

    summary = add_up(runs)
    if form == "json":
        click.echo(json.dumps(summary.record(), sort_keys=True))
    elif form == "csv":
        head = ("section", "key", "subkey", "measure", "value")
        click.echo(csv_table(head, _values(summary)), nl=False)
    else:
        click.echo("\n\n".join(_tables(summary)))
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
    yield f"images: {summary.ok} ok, {summary.failed} failed; {state}"
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


def _values(summary: Summary) -> Iterator[tuple[str, str, str, str, object]]:
    yield "run", "", "", "complete", str(summary.complete).lower()
    for name in ("unreadable_folders", "unreadable_lines", "rows_missing"):
        yield "run", "", "", name, getattr(summary, name)
    for ending, files in summary.left_out.items():
        yield "left_out", ending, "", "files", files
    yield "images", "", "", "ok", summary.ok
    yield "images", "", "", "failed", summary.failed
    for failure in summary.failures:
        yield "failures", failure.stage, failure.type, "images", failure.images
        for path in failure.examples:
            yield "failures", failure.stage, failure.type, "example", path
    for entry in summary.maps:
        for state in ("ok", "blank", "nonfinite"):
            yield "maps", entry.layer, entry.method, state, getattr(entry, state)
    for best in summary.classes:
        yield "classes", str(best.index), best.label, "images", best.images
    for division in summary.divisions:
        current = str(division.current).lower()
        for run in division.runs:
            measures = {"state": run.state, "current": current, "images": run.images, "seconds": run.seconds}
            for measure, value in measures.items():
                yield "shards", f"{run.shard}/{division.count}", run.folder, measure, _text(value)
        for shard in division.shards("missing") if division.current else ():
            yield "shards", f"{shard}/{division.count}", "", "state", "missing"


def _text(value: str | float | None) -> str:
    return "" if value is None else str(value)
