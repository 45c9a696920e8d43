"""How right a multi-label network is: precision and recall of its labels, each predicted at a probability of 0.5 or more."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cam_cli.metrics.classification import Share, share
from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("label_precision", "share of the predicted labels that are true, over all classes, 0..1", "higher"),
    Metric("label_recall", "share of the true labels that are predicted, over all classes, 0..1", "higher"),
)


@dataclass(frozen=True)
class LabelCount:
    """How often a label is true, how often it is predicted, and how often both."""

    true: int
    predicted: int
    both: int

    @property
    def precision(self) -> Share | None:
        """The share of the predicted ones that are true; None if it is never predicted."""
        return share(self.both, self.predicted) if self.predicted else None

    @property
    def found(self) -> Share | None:
        """The share of the true ones that are predicted (`label_recall`); None if it is never true."""
        return share(self.both, self.true) if self.true else None


class LabelTally:
    """Counts the labels of images one by one."""

    def __init__(self) -> None:
        self._true: Counter[int] = Counter()
        self._predicted: Counter[int] = Counter()
        self._both: Counter[int] = Counter()

    def add(self, true: Collection[int], predicted: Collection[int]) -> None:
        """Count one image by its true and its predicted classes."""
        self._true.update(true)
        self._predicted.update(predicted)
        self._both.update(set(true) & set(predicted))

    @property
    def total(self) -> LabelCount:
        """The counts over all classes (micro average)."""
        return LabelCount(self._true.total(), self._predicted.total(), self._both.total())

    def by_class(self) -> dict[int, LabelCount]:
        """Return the counts of each class that is true or predicted at least once."""
        return {
            i: LabelCount(self._true[i], self._predicted[i], self._both[i])
            for i in sorted(self._true | self._predicted)
        }

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound, by the names of `METRICS`."""
        total = self.total
        shares = {"label_precision": total.precision, "label_recall": total.found}
        return {name: one.value for name, one in shares.items() if one is not None}
