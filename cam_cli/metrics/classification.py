"""Whether a network is right: accuracy, calibration, confusion, and labels that are probably wrong.

A `Judgement` is one image of known class. Its prediction is right if the most likely class is the true one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

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

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Classification:
    """What is measured over images of known class.

    accuracy: over all. by_class: of each true class, the lowest first. confused: pairs (true class, predicted class) with the
    number of images, the most frequent first. confidently_wrong: number of images. calibration_error: see `METRICS`.
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


def classification(judgements: Iterable[Judgement]) -> Classification | None:
    """Measure over images of known class; None if there is none."""
    by_class: defaultdict[int, list[bool]] = defaultdict(list)
    confused: Counter[tuple[int, int]] = Counter()
    confidences: list[float] = []
    right: list[bool] = []
    confidently_wrong = 0
    for one in judgements:
        by_class[one.truth].append(one.right)
        confidences.append(one.confidence)
        right.append(one.right)
        confidently_wrong += one.confidently_wrong
        if not one.right:
            confused[one.truth, one.predicted] += 1
    if not right:
        return None
    shares = [(index, share(sum(hits), len(hits))) for index, hits in by_class.items()]
    return Classification(
        accuracy=share(sum(right), len(right)),
        by_class=tuple(sorted(shares, key=lambda item: (item[1].value, -item[1].count, item[0]))),
        confused=tuple(sorted(confused.items(), key=lambda item: (-item[1], item[0]))),
        confidently_wrong=confidently_wrong,
        calibration_error=calibration_error(confidences, right),
    )


def share(hits: int, count: int) -> Share:
    """Return a share with its Wilson score interval at 95%; raises ValueError if there is no case."""
    if not 0 <= hits <= count or not count:
        raise ValueError(f"{hits} of {count} is no share")
    z2 = _NORMAL_95**2
    p = hits / count
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _NORMAL_95 * np.sqrt(p * (1 - p) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Share(hits, count, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """Return the expected calibration error, 0..1: Eq. 3 of Guo et al. 2017 (arXiv 1706.04599).

    The bins are (0, 1/bins], (1/bins, 2/bins], ... Each counts by its share of the images.

    Args:
        confidences: probability of each image's predicted class, 0..1; at least one.
        right: whether that class is the true one.
    """
    p, hit = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    number = np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1)
    gaps = np.bincount(number, hit - p, minlength=bins)
    return float(np.abs(gaps).sum() / p.size)
