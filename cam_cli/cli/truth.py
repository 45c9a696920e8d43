"""True classes at the command line: the option that says where they are, and what is printed of right and wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.table import Command, table

if TYPE_CHECKING:
    from cam_cli.evaluate.classification import ClassificationRecord
    from cam_cli.results.manifest import TargetRecord
    from cam_cli.results.run_record import ShareRecord
    from cam_cli.results.truth import TruthSource

_MOST = 10
"""So many classes, pairs and labels are printed."""


def truth_option(command: Command) -> Command:
    """Add `--truth`; the command gets `truth`: `folder`, the path of a file, or None for what the run knew itself."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> TruthSource | None:
        if value is None or value == "folder":
            return "folder" if value else None
        return Path(value)

    return click.option(
        "--truth",
        metavar="folder|FILE",
        callback=read,
        help="Where the true classes are: the images' folders, or a CSV with columns path and label.  [default: as the run "
        "was told]",
    )(command)


def truth_tables(found: ClassificationRecord) -> Iterator[str]:
    """Yield what `evaluate` prints of right and wrong: a line, then tables, the worst of each first."""
    top5 = f"; top-5 {_text(found.top5)}" if found.top5 else ""
    yield f"truth: {found.text}{top5}"
    if found.calibration_error is not None:
        yield f"expected calibration error: {found.calibration_error:.3f}"
    if found.multi_label:
        shares = (found.label_precision, found.label_recall)
        yield f"precision and recall at 0.5: {' and '.join(_text(share) or 'unknown' for share in shares)}"
        labels = sorted(found.labels, key=lambda one: one.both - one.true - one.predicted)
        head = ("label, most mistakes first", "true", "predicted", "both", "label_precision", "label_recall")
        yield _first(
            head,
            [
                (
                    _name(one.target),
                    *map(str, (one.true, one.predicted, one.both)),
                    _text(one.label_precision),
                    _text(one.label_recall),
                )
                for one in labels
            ],
        )
    wrong = [one for one in found.classes if one.right < one.images]
    if wrong:
        shares_of = [
            (_name(c.target), f"{c.right} of {c.images}", f"{c.accuracy:.2f}", f"{c.low:.2f} to {c.high:.2f}")
            for c in wrong
        ]
        yield _first(("class, least accurate first", "right", "accuracy", "95% interval"), shares_of)
    if found.confused:
        pairs = [(_name(c.truth), _name(c.predicted), str(c.images), c.examples[0]) for c in found.confused]
        yield _first(("true class", "taken for", "images", "such as"), pairs)
    if found.doubtful:
        head = ("label probably wrong", "label", "predicted", "probability", "self-confidence", "normalized margin")
        yield _first(
            head,
            [
                (
                    one.path,
                    _name(one.label),
                    _name(one.predicted),
                    f"{one.probability:.3f}",
                    "" if one.self_confidence is None else f"{one.self_confidence:.3f}",
                    f"{one.normalized_margin:.3f}",
                )
                for one in found.doubtful
            ],
        )


def truth_values(found: ClassificationRecord) -> Iterator[tuple[object, ...]]:
    """Yield lines of CSV: the figure, its value, the ends of its interval, the number of images, and the class if of one."""
    shares = {"accuracy": found.top1, "top5_accuracy": found.top5}
    shares |= {"label_precision": found.label_precision, "label_recall": found.label_recall}
    for name, share in shares.items():
        if share is not None:
            yield name, share.share, share.low, share.high, share.images, ""
    if found.confidently_wrong is not None:
        known = found.right + found.wrong
        yield "confidently_wrong", found.confidently_wrong / known, "", "", known, ""
    if found.calibration_error is not None:
        yield "calibration_error", found.calibration_error, "", "", found.right + found.wrong, ""
    for one in found.classes:
        yield "class_accuracy", one.accuracy, one.low, one.high, one.images, _name(one.target)
    for label in found.labels:
        for name in ("label_precision", "label_recall"):
            share = getattr(label, name)
            if share is not None:
                yield name, share.share, share.low, share.high, share.images, _name(label.target)


def _first(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of the first rows, and a line on how many there are."""
    more = f"\n({len(rows) - _MOST:,} more; --format json has them)" if len(rows) > _MOST else ""
    return table(head, rows[:_MOST]) + more


def _name(target: TargetRecord) -> str:
    """Return a class by its name and index, as names may be shared."""
    return target.label if target.label == str(target.index) else f"{target.label} ({target.index})"


def _text(share: ShareRecord | None) -> str:
    return "" if share is None else f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
