"""Images counted by whether the network is right, a row at a time."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from cam_cli.metrics.classification import CONFIDENT, Classification, Judgement, Share, Tally, share
from cam_cli.metrics.several_labels import METRICS as OF_LABELS
from cam_cli.metrics.several_labels import LabelTally
from cam_cli.results.manifest import PredictionRow, Row, TruthRow
from cam_cli.results.truth import THRESHOLD

TOP = 5
"""An image counts for the top-5 accuracy if a true class is among the five most likely ones."""

MOST_WRONG = 10
"""So many wrong images are named beside a bound that is crossed; of each class one more is kept in mind."""


class LikelyClass(BaseModel):
    """A class with the probability that the network gives it; None where it is not known."""

    model_config = ConfigDict(frozen=True)

    index: int
    label: str
    wnid: str | None = None
    probability: float | None = None

    def __str__(self) -> str:
        return self.label if self.probability is None else f"{self.label} {self.probability:.0%}"


class WrongImage(BaseModel):
    """An image that the network gets wrong, with what it predicts and what is true; no class of a multi-label one may be."""

    model_config = ConfigDict(frozen=True)

    path: str
    predicted: tuple[LikelyClass, ...]
    truth: tuple[LikelyClass, ...]

    @property
    def confidence(self) -> float:
        """The probability of what is predicted."""
        return max((one.probability or 0.0 for one in self.predicted), default=0.0)

    def __str__(self) -> str:
        """Return, for people: `a.jpg: swimming trunks 57%, but it is hammerhead 1%`."""
        told = ", ".join(map(str, self.predicted)) or "no class"
        return f"{self.path}: {told}, but it is {' and '.join(map(str, self.truth)) or 'of no class'}"


class TruthTally:
    """Counts over the rows of a run; what it keeps grows with the classes, not with the images.

    right, wrong: images of known truth. unknown: images whose folder or file names no class of the model. labels: what was
    counted of each label.

    Args:
        multi_label: every class has a probability of its own; an image is right if all of them are.
    """

    def __init__(self, *, multi_label: bool = False) -> None:
        self.multi_label = multi_label
        self.right = self.wrong = self.unknown = 0
        self.labels = LabelTally()
        self._in_top = 0
        self._few_classes = False
        self._tally = Tally()
        self._wrong: defaultdict[int, list[WrongImage]] = defaultdict(list)

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
        truth, predicted = truth_rows(row), predicted_rows(row, multi_label=self.multi_label)
        if not correct:
            wrong = WrongImage(path=row["path"], predicted=_likely(predicted), truth=_likely(truth))
            of_class = self._wrong[truth[0]["index"] if truth else -1]
            insort(of_class, wrong, key=lambda one: (-one.confidence, one.path))
            del of_class[MOST_WRONG + 1 :]
        if self.multi_label:
            self.labels.add([one["index"] for one in truth], [one["index"] for one in predicted])
            return
        self._few_classes |= len(row["predictions"]) < TOP
        self._in_top += any(one["rank"] is not None and one["rank"] <= TOP for one in truth)
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

    def classification(self) -> Classification | None:
        """Return what was measured over images of one label each; None if there is none."""
        return self._tally.result()

    def wrong_images(self) -> list[WrongImage]:
        """Return the wrong images, of each class `MOST_WRONG` + 1 at the most; those with the most confidence first."""
        return sorted(
            (one for some in self._wrong.values() for one in some), key=lambda one: (-one.confidence, one.path)
        )

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound, by the names of the metrics of classification and of several labels."""
        if self.multi_label:
            return {} if self.top1 is None else {"accuracy": self.top1.value, **self.labels.figures()}
        found = self.classification()
        return found.figures() if found else {}

    def images_behind(self, figure: str, bound: float) -> list[str]:
        """Return in words the wrong images for which a bound of a figure is crossed."""
        found = self.classification()
        by_class = {} if found is None else {index: one.value for index, one in found.by_class}
        return [*images_behind(figure, bound, self.wrong_images(), by_class)]

    def __str__(self) -> str:
        """Return, for people: `166 of 200 right (83%, 77% to 88%), 34 wrong, 12 of them with over 90% confidence`."""
        parts = []
        if self.top1 is not None:
            parts = [f"{self.right:,} of {self.known:,} right {self.top1.text}", f"{self.wrong:,} wrong"]
            if sure := self._tally.confidently_wrong:
                parts.append(f"{sure:,} of them with over {CONFIDENT:.0%} confidence")
        parts += [f"{self.unknown:,} of unknown class"] if self.unknown else []
        return ", ".join(parts)


def images_behind(
    figure: str, bound: float, wrong: Sequence[WrongImage], by_class: Mapping[int, float]
) -> Iterator[str]:
    """Yield in words the wrong images for which a bound of a figure is crossed, `MOST_WRONG` at the most.

    Args:
        figure: by its name in the table of metrics.
        bound: what was allowed.
        wrong: the wrong images, those with the most confidence first.
        by_class: the accuracy of each class.
    """
    if figure == "class_accuracy":
        behind = [one for one in wrong if one.truth and by_class.get(one.truth[0].index, 1.0) < bound]
    elif figure == "confidently_wrong":
        behind = [one for one in wrong if one.confidence > CONFIDENT]
    elif figure in {"accuracy", *(metric.name for metric in OF_LABELS)}:
        behind = [*wrong]
    else:
        behind = []
    yield from map(str, behind[:MOST_WRONG])
    if len(behind) > MOST_WRONG:
        yield "and others; `smoothcam summarize --format csv` has all"


def truth_rows(row: Row) -> list[TruthRow]:
    """Return the true classes of an image, as far as they are known."""
    first = row.get("truth")
    return [*([first] if first else []), *row.get("also_true", [])]


def predicted_rows(row: Row, *, multi_label: bool) -> list[PredictionRow]:
    """Return what the network predicts: the most likely class, or with several labels those of at least `THRESHOLD`."""
    found = row["predictions"]
    return [one for one in found if one.get("probability", 0.0) >= THRESHOLD] if multi_label else found[:1]


def _likely(rows: Sequence[Any]) -> tuple[LikelyClass, ...]:
    return tuple(LikelyClass.model_validate(row) for row in rows)


def judgement_of(row: Row) -> Judgement | None:
    """Return the judgement on an image of one label; None if its truth is not known, or nothing was predicted."""
    predictions, truth = row["predictions"], truth_rows(row)
    if row.get("correct") is None or not truth or not predictions:
        return None
    best = predictions[0]
    counting = next((one for one in truth if one["index"] == best["index"]), truth[0])
    rivals = (one.get("probability", 0.0) for one in predictions if one["index"] != counting["index"])
    return Judgement(
        row["path"],
        counting["index"],
        best["index"],
        best.get("probability", 0.0),
        counting["probability"],
        max(rivals, default=0.0),
    )
