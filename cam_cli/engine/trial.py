"""A trial of whether bfloat16 is worth using on this machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from cam_cli.engine.explain import Explainer
from cam_cli.engine.maps import correlation
from cam_cli.engine.request import Explanation, Subject
from cam_cli.errors import UsageError

LEAST_GAIN = 1.2
"""bfloat16 is taken if it is so many times as fast as float32,"""

LEAST_AGREEMENT = 0.99
"""and the correlation of each of its maps with float32's is at least this."""

_ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """The result of comparing bfloat16 with float32.

    gain: how many times as fast it is. agreement: the lowest correlation of two maps; 0 if the classes differ.
    """

    gain: float
    agreement: float

    @property
    def precision(self) -> str:
        """The precision to use."""
        return "bfloat16" if self.gain >= LEAST_GAIN and self.agreement >= LEAST_AGREEMENT else "float32"


def try_bfloat16(build: Callable[[str], Explainer], subjects: Sequence[Subject]) -> Trial:
    """Explain images in both precisions by turns, and compare times and maps; `build` makes an Explainer of a precision."""
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
    agreement = min(map(_agreement, *found))
    return Trial(median(seconds[0]) / median(seconds[1]), agreement)


def _agreement(one: Explanation, other: Explanation) -> float:
    if one.targets != other.targets:
        return 0
    pairs = zip(one.maps, other.maps, strict=True)
    return min((correlation(a.values, b.values) or 0 for a, b in pairs if a.state == "ok"), default=1)
