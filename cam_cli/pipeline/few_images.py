"""What a run of a few images tells of each: what the network predicts, what is true, and where the picture is."""

from collections.abc import Iterator, Sequence

from cam_cli.results.manifest import PredictionRow, Row, TruthRow
from cam_cli.results.store import ResultStore
from cam_cli.results.truth import THRESHOLD
from cam_cli.text import from_printable, printable

FEW = 5
"""A run of at most so many images tells of each."""


def image_lines(store: ResultStore, rows: Sequence[Row], *, multi_label: bool) -> Iterator[str]:
    """Yield a line for each image that is explained; one that failed was told before."""
    for row in rows:
        if row["status"] == "ok":
            said = ", ".join(filter(None, (predicted(row, multi_label=multi_label), verdict(row))))
            yield f"{row['path']}: {said or 'no class'}{_picture(store, row)}"


def predicted(row: Row, *, multi_label: bool) -> str:
    """Return the predicted classes with their probabilities: `hammerhead 57%`."""
    found = row["predictions"]
    shown = [one for one in found if one.get("probability", 0) >= THRESHOLD] if multi_label else []
    return ", ".join(_with_probability(one) for one in shown or found[:1])


def verdict(row: Row) -> str:
    """Return whether the prediction is right, and what would be: `wrong: it is hammerhead 1%`; empty without a truth."""
    truth = row.get("truth")
    names = " and ".join(_with_probability(one) for one in [*([truth] if truth else []), *row.get("also_true", [])])
    match row.get("correct"):
        case True:
            return "right"
        case False:
            return f"wrong: it is {names or 'of no class'}"
    unknown = row.get("unknown_truth")
    if unknown is None:
        return ""
    return f"its label '{unknown}' is no class of the model" if unknown else "its label is not known"


def _with_probability(one: PredictionRow | TruthRow) -> str:
    probability = one.get("probability")
    return one["label"] if probability is None else f"{one['label']} {probability:.0%}"


def _picture(store: ResultStore, row: Row) -> str:
    """Return where the first picture of an image is, or else its first map."""
    names = [
        name for kind in ("overlay", "heatmap", "raw") for entry in row["maps"] if (name := entry["files"].get(kind))
    ]
    names += [entry["file"] for entry in row["joint"]]
    if not names:
        return ""
    return f"; see {printable(store.location_of(from_printable(row['path']), names[0]))}"
