"""What is known of the true classes: on an image's row, in total and class by class."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from cam_cli.evaluate.records import finite
from cam_cli.metrics.classification import CONFIDENT, share
from cam_cli.report.numbering import ClassNumbering
from cam_cli.results.manifest import Manifest

UNSURE: Final = 0.5
"""A right prediction of less than this probability is unsure."""

DOUBTFUL: Final = 0.8
"""A label is doubtful where another class is more probable by this much: a normalized margin below 0.1."""

THRESHOLDS: Final = {"confident": CONFIDENT, "unsure": UNSURE}


def row_of_truth(manifest: Manifest, classes: ClassNumbering) -> dict[str, Any] | None:
    """Return what an image's row says of its truth; None where nothing is known.

    truth: [class, probability, rank] of each true class. unknown: what a label says that names no class. correct: true,
    false, or none where it cannot be told.
    """
    known = [one for one in (manifest.truth, *manifest.also_true) if one is not None]
    if not known and manifest.unknown_truth is None and manifest.correct is None:
        return None
    truth = [[classes.number(one), finite(one.probability), one.rank] for one in known]
    return {"truth": truth, "unknown": manifest.unknown_truth, "correct": manifest.correct}


@dataclass
class TruthTotals:
    """Counts right and wrong images as they come by."""

    _images: Counter[int] = field(default_factory=Counter)
    _right: Counter[int] = field(default_factory=Counter)
    _doubtful: list[int] = field(default_factory=list)
    _all: int = 0
    _all_right: int = 0

    def add(self, number: int, manifest: Manifest, classes: ClassNumbering) -> None:
        """Count one image, the row of this number."""
        if manifest.correct is None:
            return
        self._all += 1
        self._all_right += manifest.correct
        for one in (manifest.truth, *manifest.also_true):
            if one is not None:
                self._images[classes.number(one)] += 1
                self._right[classes.number(one)] += manifest.correct
        if _is_doubtful(manifest):
            self._doubtful.append(number)

    def closing(self) -> dict[str, Any]:
        """Return the totals for the page; intervals are 95% (Wilson).

        accuracy: of all images whose truth is known. by_class: [class, right, images, low, high]. doubtful: numbers of rows.
        """
        by_class = []
        for number, images in self._images.items():
            found = share(self._right[number], images)
            by_class.append([number, found.hits, images, found.low, found.high])
        accuracy = None
        if self._all:
            every = share(self._all_right, self._all)
            accuracy = {"right": every.hits, "images": every.count, "low": every.low, "high": every.high}
        return {"accuracy": accuracy, "by_class": by_class, "doubtful": self._doubtful, "thresholds": THRESHOLDS}


def _is_doubtful(manifest: Manifest) -> bool:
    """Return True if the network prefers another class to the only label by far (Northcutt et al. 2021)."""
    if manifest.correct is not False or manifest.truth is None or manifest.also_true or manifest.model.multi_label:
        return False
    of_the_label = manifest.truth.probability or 0.0
    return manifest.predictions[0].probability - of_the_label > DOUBTFUL
