"""Whether a network is right: accuracy, calibration, confusion, and labels that are probably wrong.

A `Judgement` is one image of known class. Its prediction is right if the most likely class is the true one.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("accuracy", "share of the images of known class that are classified right, 0..1", "higher"),
    Metric("class_accuracy", "the lowest accuracy of any class, 0..1", "higher"),
    Metric(
        "confidently_wrong",
        "share of the images of known class that are classified wrong with more than 0.9 probability, 0..1",
        "lower",
    ),
    Metric("calibration_error", "expected calibration error, 15 bins of equal width, 0..1 (Guo et al. 2017)", "lower"),
)

CONFIDENT = 0.9
"""A prediction of more than this probability is confident."""

BINS = 15
_NORMAL_95 = 1.959963984540054
"""The quantile of the normal distribution that leaves 2.5% above it."""


@dataclass(frozen=True)
class Judgement:
    """What a network says of an image of known class.

    truth, predicted: class indices. confidence: probability of the predicted class. truth_probability: of the true class; None
    where it was not recorded. rival_probability: of the most likely class that is not the true one.
    """

    path: str
    truth: int
    predicted: int
    confidence: float
    truth_probability: float | None
    rival_probability: float

    @property
    def right(self) -> bool:
        """Whether the most likely class is the true one."""
        return self.truth == self.predicted

    @property
    def confidently_wrong(self) -> bool:
        """Whether the network is wrong and confident."""
        return not self.right and self.confidence > CONFIDENT

    @property
    def self_confidence(self) -> float | None:
        """The label quality by self-confidence, 0..1: the probability of the label (Northcutt et al. 2021)."""
        return self.truth_probability

    @property
    def normalized_margin(self) -> float | None:
        """The label quality by normalized margin, 0..1 (Northcutt et al. 2021).

        It is half of 1 plus the probability of the label less that of the most likely other class. 0: the network is sure of
        another class.
        """
        if self.truth_probability is None:
            return None
        return (self.truth_probability - self.rival_probability + 1) / 2


@dataclass(frozen=True)
class Share:
    """A share of `count` cases, with the ends of its 95% interval (Wilson 1927)."""

    hits: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0..1."""
        return self.hits / self.count

    @property
    def text(self) -> str:
        """The share and its interval in brackets: `(83%, 77% to 88%)`."""
        return f"({self.value:.0%}, {self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Classification:
    """What is measured over images of known class.

    accuracy: over all. by_class: of each true class, the lowest first. confused: pairs (true class, predicted class) with the
    number of images, the most frequent first. confidently_wrong: number of images. calibration_error: 0..1, Eq. 3 of Guo et al.
    2017 (arXiv 1706.04599); each of 15 bins of equal width counts by its share of the images.
    """

    accuracy: Share
    by_class: tuple[tuple[int, Share], ...]
    confused: tuple[tuple[tuple[int, int], int], ...]
    confidently_wrong: int
    calibration_error: float

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound, by the names of `METRICS`."""
        return {
            "accuracy": self.accuracy.value,
            "class_accuracy": self.by_class[0][1].value,
            "confidently_wrong": self.confidently_wrong / self.accuracy.count,
            "calibration_error": self.calibration_error,
        }


class Tally:
    """Counts judgements one by one; what it keeps grows with the classes, not with the images."""

    def __init__(self) -> None:
        self.confidently_wrong = 0
        self._hits: Counter[int] = Counter()
        self._counts: Counter[int] = Counter()
        self._confused: Counter[tuple[int, int]] = Counter()
        self._gaps = [0.0] * BINS

    def add(self, one: Judgement) -> None:
        """Count one image."""
        self._counts[one.truth] += 1
        self._hits[one.truth] += one.right
        self._gaps[_bin(one.confidence)] += one.right - one.confidence
        self.confidently_wrong += one.confidently_wrong
        if not one.right:
            self._confused[one.truth, one.predicted] += 1

    def result(self) -> Classification | None:
        """Return what was measured; None if there was no image."""
        count = self._counts.total()
        if not count:
            return None
        shares = [(index, share(self._hits[index], images)) for index, images in self._counts.items()]
        return Classification(
            accuracy=share(self._hits.total(), count),
            by_class=tuple(sorted(shares, key=lambda item: (item[1].value, -item[1].count, item[0]))),
            confused=tuple(sorted(self._confused.items(), key=lambda item: (-item[1], item[0]))),
            confidently_wrong=self.confidently_wrong,
            calibration_error=sum(map(abs, self._gaps)) / count,
        )


def classification(judgements: Iterable[Judgement]) -> Classification | None:
    """Measure over images of known class; None if there is none."""
    tally = Tally()
    for one in judgements:
        tally.add(one)
    return tally.result()


def share(hits: int, count: int) -> Share:
    """Return a share with its Wilson score interval at 95%; raises ValueError if there is no case."""
    if not 0 <= hits <= count or not count:
        raise ValueError(f"{hits} of {count} is no share")
    z2 = _NORMAL_95**2
    p = hits / count
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _NORMAL_95 * math.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Share(hits, count, max(0.0, centre - half), min(1.0, centre + half))


def _bin(confidence: float) -> int:
    """Return the number of the calibration bin of a probability; the bins are (0, 1/15], (1/15, 2/15], ..."""
    return min(max(math.ceil(confidence * BINS) - 1, 0), BINS - 1)
