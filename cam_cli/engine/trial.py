"""Whether bfloat16 pays on this machine, found out by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cam_cli.engine.explain import Explainer, Explanation, Subject
from cam_cli.engine.maps import correlation
from cam_cli.errors import UsageError

LEAST_GAIN = 1.2
"""bfloat16 must be so many times as fast as float32,"""

LEAST_AGREEMENT = 0.99
"""and each of its maps correlate so well with float32's."""

_ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """What came of comparing bfloat16 with float32.

    gain: how many times as fast it is. agreement: the lowest correlation of two maps; 0 where the classes differ.
    """

    gain: float
    agreement: float

    @property
    def precision(self) -> str:
        """The one to take."""
        return "bfloat16" if self.gain >= LEAST_GAIN and self.agreement >= LEAST_AGREEMENT else "float32"


def try_bfloat16(build: Callable[[str], Explainer], subjects: Sequence[Subject]) -> Trial:
    """Explain the same images in both precisions, in turn, and compare times and maps.

    Args:
        build: makes an Explainer of the precision it is given.
    """
    try:
        explainers = [build("float32"), build("bfloat16")]
    except UsageError:
        return Trial(0, 0)
    found = [explainer.explain(subjects) for explainer in explainers]
    seconds: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for explainer, spent in zip(explainers, seconds, strict=True):
            started = time.perf_counter()
            explainer.explain(subjects[: explainer.images_in_a_pass])
            spent.append(time.perf_counter() - started)
    agreement = min(_agreement(*pair) for pair in zip(*found, strict=True))
    return Trial(median(seconds[0]) / median(seconds[1]), agreement)


def _agreement(one: Explanation, other: Explanation) -> float:
    if one.targets != other.targets:
        return 0
    pairs = zip(one.maps, other.maps, strict=True)
    return min((_alike(a.values, b.values) for a, b in pairs if a.state == "ok"), default=1)


def _alike(*values: Any) -> float:
    found = correlation(*values)
    return 0 if found is None else found
