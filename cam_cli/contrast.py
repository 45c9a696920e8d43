"""Which classes a class is explained against, as numbers that are resolved on the image's scores. Without TensorFlow.

A class index, or -r for the class of rank r in the clean image's scores, is what it is for a target. Further numbers, far below
any rank, follow the target.
"""

from collections.abc import Iterable
from typing import Final

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
