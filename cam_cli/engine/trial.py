"""Trials of whether another precision, or another runtime, is worth using on this machine."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from cam_cli.engine.explain import Explainer
from cam_cli.engine.maps import correlation
from cam_cli.engine.passes import RuntimeName
from cam_cli.engine.request import Explanation, Subject
from cam_cli.errors import UnsupportedError, UsageError

LEAST_GAIN = 1.2
"""bfloat16 is taken if it is so many times as fast as float32,"""

LEAST_AGREEMENT = 0.99
"""and the correlation of each of its maps with float32's is at least this."""

MOST_DIFFERENCE = 1e-4
"""OpenVINO is taken if no map in float32 differs by more than this share of its peak,"""

NOT_SLOWER = 0.95
"""and it is so many times as fast as TensorFlow, or more: it starts in a fraction of the time."""

SAME = 1e-6
"""Maps that differ by no more than this share of their peak count as the same; images are then not explained again.

It is a tenth of what maps of one runtime may differ by, because a trial sees few images: where a value lies at the edge of a
ReLU6, rounding decides on its gradient, which changed one map of ten by 6e-5.
"""

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
    except (UsageError, UnsupportedError):
        return Trial(0, 0)
    found, gain = _compared(explainers, subjects, _ROUNDS)
    return Trial(gain, min(map(_agreement, *found)))


@dataclass(frozen=True)
class RuntimeTrial:
    """The result of comparing OpenVINO with TensorFlow.

    gain: how many times as fast it is. difference: the largest difference of two maps as a share of the map's peak, infinite
    if the classes or the states differ. agreement: the lowest correlation of two maps; 0 if the classes differ.
    """

    gain: float
    difference: float
    agreement: float

    @property
    def is_the_same(self) -> bool:
        """Whether its maps count as those of TensorFlow."""
        return self.difference <= SAME

    def problem(self, precision: str, *, speed_counts: bool) -> str | None:
        """Return why OpenVINO is not to be used with this precision; None if it is.

        speed_counts: it is not to be used either if it is slower.
        """
        if precision == "float32" and self.difference > MOST_DIFFERENCE:
            return f"OpenVINO's maps differ from TensorFlow's by {self.difference:.0e} of the peak"
        if precision != "float32" and self.agreement < LEAST_AGREEMENT:
            return f"OpenVINO's maps correlate only {self.agreement:.3f} with TensorFlow's"
        if speed_counts and self.gain < NOT_SLOWER:
            return f"OpenVINO is slower with this model, {self.gain:.2f} times as fast"
        return None


def try_openvino(build: Callable[[RuntimeName], Explainer], subjects: Sequence[Subject]) -> RuntimeTrial:
    """Explain images with both runtimes by turns, and compare times and maps; `build` makes an Explainer of a runtime.

    Raises UnsupportedError if OpenVINO cannot run the model.
    """
    other = build("openvino")  # first, as it may be impossible
    explainers = [build("tensorflow"), other]
    found, gain = _compared(explainers, subjects, _ROUNDS)
    return RuntimeTrial(gain, max(map(_difference, *found)), min(map(_agreement, *found)))


def _compared(
    explainers: Sequence[Explainer], subjects: Sequence[Subject], rounds: int
) -> tuple[list[list[Explanation]], float]:
    """Return the explanations of two explainers, and how many times as fast as the first one the second one is."""
    found = [explainer.explain(subjects) for explainer in explainers]
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for explainer, spent in zip(explainers, seconds, strict=True):
            started = time.perf_counter()
            explainer.explain(subjects[: explainer.images_in_a_pass])
            spent.append(time.perf_counter() - started)
    return found, median(seconds[0]) / median(seconds[1])


def _difference(one: Explanation, other: Explanation) -> float:
    """Return the largest difference of two maps as a share of the first one's peak."""
    if one.targets != other.targets:
        return math.inf
    worst = 0.0
    for a, b in zip(one.maps, other.maps, strict=True):
        peak = float(np.abs(a.values).max())
        if a.state == "nonfinite" or b.state == "nonfinite" or not peak:
            worst = max(worst, 0.0 if np.array_equal(a.values, b.values, equal_nan=True) else math.inf)
        else:
            worst = max(worst, float(np.abs(a.values - b.values).max()) / peak)
    return worst


def _agreement(one: Explanation, other: Explanation) -> float:
    if one.targets != other.targets:
        return 0
    pairs = zip(one.maps, other.maps, strict=True)
    return min((correlation(a.values, b.values) or 0 for a, b in pairs if a.state == "ok"), default=1)
