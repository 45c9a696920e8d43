"""How sure a mean over images is: percentile bootstrap (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife")."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 1 << 20
"""The most values that are drawn at once, 8 MB of them."""


@dataclass(frozen=True)
class Interval:
    """The mean of `count` values, and the ends of the interval around it, in the values' unit."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float], seed: int = 0, draws: int = 2000, level: float = 0.95) -> Interval:
    """Estimate the mean with the percentile bootstrap: quantiles of the means of samples drawn with replacement.

    The same values in the same order give the same interval. Few values give too narrow an interval.

    Args:
        values: one number per image; raises ValueError if there is none, or one is not finite.
        level: the share of the means inside, 0 to 1.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise ValueError("the bootstrap needs at least one value, and finite ones")
    random = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // numbers.size)
    sizes = [(min(step, draws - start), numbers.size) for start in range(0, draws, step)]
    means = np.concatenate([numbers[random.integers(numbers.size, size=size)].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers.mean()), float(low), float(high), numbers.size)
