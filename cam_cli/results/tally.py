"""Images counted by whether the network is right, a row at a time."""

from __future__ import annotations

from cam_cli.metrics.classification import CONFIDENT, Judgement, Share, Tally, share
from cam_cli.results.manifest import Row

TOP = 5
"""An image counts for the top-5 accuracy if a true class is among the five most likely ones."""


class TruthTally:
    """Counts over the rows of a run.

    right, wrong: images of known truth. unknown: images whose folder or file names no class of the model.

    Args:
        multi_label: every class has a probability of its own; an image is right if all of them are.
    """

    def __init__(self, *, multi_label: bool = False) -> None:
        self.multi_label = multi_label
        self.right = self.wrong = self.unknown = 0
        self._in_top = 0
        self._few_classes = False
        self._tally = Tally()

    def add(self, row: Row) -> None:
        """Count an image by its row; one that failed does not count."""
        if row["status"] == "failed":
            return
        correct = row.get("correct")
        if correct is None:
            self.unknown += row.get("unknown_truth") is not None
            return
        self.right += correct
        self.wrong += not correct
        if not self.multi_label:
            self._few_classes |= len(row["predictions"]) < TOP
            self._in_top += in_top(row)
            if (judgement := judgement_of(row)) is not None:
                self._tally.add(judgement)

    @property
    def known(self) -> int:
        """How many images are right or wrong."""
        return self.right + self.wrong

    @property
    def top1(self) -> Share | None:
        """The share of the images that are right; None if no truth is known."""
        return share(self.right, self.known) if self.known else None

    @property
    def top5(self) -> Share | None:
        """The top-5 accuracy; None if no truth is known, or classes are few or have probabilities of their own."""
        return share(self._in_top, self.known) if self.known and not (self.multi_label or self._few_classes) else None

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound, by the names of `classification.METRICS`."""
        if self.multi_label:
            return {} if self.top1 is None else {"accuracy": self.top1.value}
        found = self._tally.result()
        return found.figures() if found else {}

    def __str__(self) -> str:
        """Return, for people: `166 of 200 right (83%, 77% to 88%), 34 wrong, 12 of them with over 90% confidence`."""
        parts = []
        if self.top1 is not None:
            parts = [f"{self.right:,} of {self.known:,} right {self.top1.text}", f"{self.wrong:,} wrong"]
            if sure := self._tally.confidently_wrong:
                parts.append(f"{sure:,} of them with over {CONFIDENT:.0%} confidence")
        parts += [f"{self.unknown:,} of unknown class"] if self.unknown else []
        return ", ".join(parts)


def in_top(row: Row, most: int = TOP) -> bool:
    """Return True if a true class of an image is among the most likely ones."""
    first = row.get("truth")
    records = [*([first] if first else []), *row.get("also_true", [])]
    return any(record["rank"] is not None and record["rank"] <= most for record in records)


def judgement_of(row: Row) -> Judgement | None:
    """Return the judgement on an image of one label; None if its truth is not known, or nothing was predicted."""
    truth, predictions = row.get("truth"), row["predictions"]
    if row.get("correct") is None or truth is None or not predictions:
        return None
    records = {record["index"]: record for record in (truth, *row.get("also_true", []))}
    best = predictions[0]
    counting = records.get(best["index"], truth)
    rivals = (one.get("probability", 0.0) for one in predictions if one["index"] != counting["index"])
    return Judgement(
        row["path"],
        counting["index"],
        best["index"],
        best.get("probability", 0.0),
        counting["probability"],
        max(rivals, default=0.0),
    )
