"""Gaussian noise that follows from a seed alone: random words of SFC64, each turned into a normal number by a table.

The stream of NumPy's bit generators is the same in all its versions and on all machines, so that the noise is, too.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from cam_cli.engine.checks import check_choice, check_number
from cam_cli.engine.formulas import Array

_WORDS = 2**16
"""So many words have an equal share of the probability each; the table has the quantile at the middle of each share."""


@dataclass(frozen=True)
class Noise:
    """The noise of the samples; `std_dev` is a share of each image's value range (scale `range`) or a number of preprocessed
    units (scale `absolute`). Raises UsageError for anything else.
    """

    std_dev: float = 0.15
    scale: str = "range"

    def __post_init__(self) -> None:
        check_number("std_dev", self.std_dev)
        check_choice("the scale of the noise", self.scale, ("range", "absolute"))

    def sigma(self, x: Array) -> float:
        """Return the standard deviation of the noise for one preprocessed image (H, W, C), in its units (the paper, Eq. 1)."""
        if self.scale == "absolute" or not self.std_dev:
            return self.std_dev
        return self.std_dev * (float(x.max()) - float(x.min()))


def noise(count: int, seed: bytes, deviation: float) -> Array:
    """Return `count` numbers from N(0, deviation^2), (count,) float32.

    Each is the quantile of a random 16-bit word. The outermost words stand for 1/32768 of the probability; a number there is
    the quantile of 16 further bits, so that the tails reach to 6.3 deviations.

    Args:
        count: how many.
        seed: any bytes; the same ones give the same numbers, and others give numbers that are independent of these.
        deviation: the standard deviation, 0 or more.
    """
    draw = np.random.SFC64(np.frombuffer(seed, "u1").tolist())
    words = draw.random_raw(-(-count // 4)).view(np.uint16)[:count]
    found = np.take(_quantiles() * np.float32(deviation), words)
    outermost = np.flatnonzero(words + np.uint16(1) < 2)  # 65535 + 1 is 0
    if len(outermost):
        further = draw.random_raw(len(outermost)) >> np.uint64(48)
        inner = [_quantile((word + 0.5) / _WORDS**2) for word in further.tolist()]
        found[outermost] = np.where(words[outermost] == 0, inner, np.negative(inner)) * deviation
    return np.asarray(found, np.float32)


_quantile = NormalDist().inv_cdf


@cache
def _quantiles() -> Array:
    lower = np.array([_quantile((word + 0.5) / _WORDS) for word in range(_WORDS // 2)], np.float32)
    return np.concatenate([lower, -lower[::-1]])
