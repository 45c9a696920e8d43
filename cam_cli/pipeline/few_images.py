"""What a run of a few images tells of each: what the network predicts, what is true, and where the picture is."""

from collections.abc import Iterator, Sequence

from cam_cli.results.manifest import PredictionRow, Row, TruthRow
from cam_cli.results.store import ResultStore
from cam_cli.results.tally import predicted_rows, truth_rows
from cam_cli.text import from_printable, printable

FEW = 5
"""A run of at most so many images tells of each."""


def image_lines(store: ResultStore, rows: Sequence[Row], *, multi_label: bool) -> Iterator[str]:
    """Yield a line for each image that is explained; one that failed was told before."""
    for row in rows:
        if row["status"] == "ok":
            classes = predicted_rows(row, multi_label=multi_label) or row["predictions"][:1]
            told = ", ".join(filter(None, (*map(_with_probability, classes), verdict(row)))) or "no class"
            yield f"{row['path']}: {told}{_picture(store, row)}"


def verdict(row: Row) -> str:
    """Return whether the prediction is right, and what would be: `wrong: it is hammerhead 1%`; empty without a truth."""
    unknown = row.get("unknown_truth")
    match row.get("correct"):
        case True:
            return "right"
        case False:
            return f"wrong: it is {' and '.join(map(_with_probability, truth_rows(row))) or 'of no class'}"
    if unknown is None:
        return ""
    return f"its label '{unknown}' is no class of the model" if unknown else "its label is not known"


def _with_probability(one: PredictionRow | TruthRow) -> str:
    probability = one.get("probability")
    return one["label"] if probability is None else f"{one['label']} {probability:.0%}"


def _picture(store: ResultStore, row: Row) -> str:
    """Return where the first picture of an image is, or else its first map."""
    kinds = ("overlay", "heatmap", "raw")
    names = [name for kind in kinds for entry in row["maps"] if (name := entry["files"].get(kind))]
    names += [entry["file"] for entry in row["joint"]]
    if not names:
        return ""
    return f"; see {printable(store.folder_of(from_printable(row['path'])))}/{names[0]}"
