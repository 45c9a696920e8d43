"""Which classes a class is explained against, as numbers that are resolved on the image's scores. Without TensorFlow.

A class index, or -r for the class of rank r in the clean image's scores, is what it is for a target. Further numbers, far below
any rank, follow the target.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NO_CLASS: Final = -(2**30)
"""No class; it fills up the classes of an image that has fewer than others."""

SECOND: Final = -(2**20)
"""The class with the highest score beside the target."""


def similar(number: int) -> tuple[int, ...]:
    """Return the classes whose scores are nearest to the target's, above it or below, the nearest first."""
    return tuple(SECOND - 1 - rank for rank in range(number))


def named(against: Iterable[int]) -> list[int]:
    """Return the classes, or ranks of classes, that do not follow the target."""
    return [index for index in against if index > SECOND]


def asked_of(images: Sequence[tuple[int, ...]], targets: int, count: int) -> NDArray[np.int32] | None:
    """Return what a pass is asked, (B, targets, count), for images with so many classes or fewer; None for a count of 0."""
    rows = [[(against + (NO_CLASS,) * count)[:count]] * targets for against in images]
    return np.array(rows, np.int32) if count else None


def settled(against: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """Return classes that are decided on, (B, T, R) with -1 for none, as a pass is asked for them; None if there are none."""
    return np.where(against < 0, NO_CLASS, against) if against.size else None


def classes_of(against: NDArray[np.int32]) -> tuple[int, ...]:
    """Return the classes among (R,) numbers of which -1 is none."""
    return tuple(int(index) for index in against if index >= 0)


def contrasted_scores(logits: NDArray[Any], target: int, against: NDArray[np.int32]) -> NDArray[Any]:
    """Return the score of a class minus the mean of the others' scores: (..., classes) to (...).

    Args:
        logits: the scores of all classes.
        target: the class.
        against: class indices, (R,), -1 for none; where there are none, it is the class's own score.
    """
    others = against[against >= 0]
    own = logits[..., target]
    return np.asarray(own - logits[..., others].mean(axis=-1) if len(others) else own)
