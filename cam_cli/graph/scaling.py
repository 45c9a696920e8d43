"""How a network scales the values of its input before its first convolution, found by trying.

It does not matter how the scaling is written: as a layer, as operations, inside a nested model or in a subclass's `call`. The
tensors that enter the first operations with weights are computed for images whose values are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.graph.operations import entries
from cam_cli.graph.trace import Trace
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.images.natural_noise import natural_noise

_LEVELS = (0.2, 0.4, 0.8)
"""The grey levels of even images, as shares of the largest value; of 255 they are whole numbers."""

_LARGEST = 20.0
"""The largest magnitude, and the largest span, of values that a network is trained on after scaling."""

_SMALLEST_SPAN = 0.05
_LONGEST_SIDE = 256
"""Images for trials are made no larger than this, and repeated to fill the input."""

Top = Literal[1, 255]
Array = NDArray[Any]


@dataclass(frozen=True)
class Scaling:
    """What a network does to the values of its input.

    top: the largest value of the images that it is made for; None if the graph does not tell. steps: what it computes, in
    words that follow "it"; empty if nothing.
    """

    top: Top | None
    steps: str = ""


UNKNOWN = Scaling(None)


def scaling_of(traced: Trace) -> Scaling:
    """Return how a network scales its input: by the first of its convolutions whose input is not the image as it is."""
    tensors = entries(traced.input, traced.output)
    found = (_scaling_at(traced, tensor) for tensor in tensors)
    return next((scaling for scaling in found if scaling != UNKNOWN), UNKNOWN)


def natural_images(shape: tuple[int, int, int]) -> Iterator[NDArray[np.float32]]:
    """Yield images with the spectrum of natural ones, (H, W, C) of values from 0 to 255; the same every time.

    There are four of them; one, if it is so large that trials with more would cost too much.
    """
    rows, columns, channels = shape
    small = min(rows, _LONGEST_SIDE), min(columns, _LONGEST_SIDE)
    repeats = -(-rows // small[0]), -(-columns // small[1])
    pick = [channel % 3 for channel in range(channels)]
    for image in islice(natural_noise(*small), 1 if is_large(shape) else None):
        tiled = np.tile(image.pixels, (*repeats, 1))[:rows, :columns]
        yield np.ascontiguousarray(tiled[..., pick], np.float32)


def fitted_images(shape: tuple[int, int, int], how: Preprocessing) -> Iterator[NDArray[np.float32]]:
    """Yield two images with the spectrum of natural ones as a network gets them, (H, W, C); one, if it is large."""
    rows, columns, channels = shape
    small = min(rows, _LONGEST_SIDE), min(columns, _LONGEST_SIDE)
    images = natural_noise(*small, channels if how.channels == "bands" else 3)
    for image in islice(images, 1 if is_large(shape) else 2):
        yield fit(image, (rows, columns), how, channels)[0]


def is_large(shape: tuple[int, int, int]) -> bool:
    """Return True for inputs of more than a million pixels."""
    return shape[0] * shape[1] > 2**20


@dataclass(frozen=True)
class _Line:
    """A tensor that is `slope` x + `offset` of the value x of an even image: each a number, or one a channel."""

    slope: Array
    offset: Array

    @property
    def zero(self) -> Array:
        """The value that becomes 0."""
        return -self.offset / self.slope

    def agrees_with(self, other: _Line) -> bool:
        """Return True if another line is the same."""
        alike = self.slope.shape == other.slope.shape
        return (
            alike
            and np.allclose(self.slope, other.slope, rtol=0.02)
            and np.allclose(self.offset, other.offset, atol=0.02)
        )

    @property
    def top(self) -> Top | None:
        """The largest value of the images that it is made for, if that can be told."""
        slope, offset = float(np.median(np.abs(self.slope))), float(np.median(np.abs(self.offset)))
        zero = float(np.median(self.zero))
        if abs(slope - 1) < 0.05 and offset < 0.02:
            return None
        if 0.5 < slope < 1.9:  # a shift, or a batch norm that hardly changes its input
            return None if offset < 0.3 else 255 if zero > 1 else 1 if zero > 0 else None
        if zero > 5:
            return 255
        return 255 if 255 * slope <= _LARGEST else 1

    def steps(self, reverses: bool) -> str:
        """Return what it computes, in words."""
        parts = ["reverses the channels"] if reverses else []
        if np.any(np.abs(self.offset) > 1e-3 * np.abs(self.slope)):
            parts.append(f"subtracts {_listed(self.zero)}")
        if np.any(np.abs(self.slope - 1) > 0.01):
            small = np.abs(self.slope).max() <= 1
            parts.append(f"divides by {_listed(1 / self.slope)}" if small else f"multiplies by {_listed(self.slope)}")
        return " and ".join(parts)


def _scaling_at(traced: Trace, tensor: tf.Tensor) -> Scaling:
    shape = traced.input_shape

    def values(images: Iterable[Array]) -> list[Array]:
        return [np.asarray(found[0][0], np.float64) for found in traced.evaluate([tensor], images)]

    even = [np.full(shape, level, np.float32) for level in _LEVELS]
    natural = [image / np.float32(255) for image in islice(natural_images(shape), 2)]
    natural += [1 - natural[0]] if len(natural) == 1 else []
    try:
        of_bytes, of_shares = (values([np.float32(top) * image for image in (*even, *natural)]) for top in (255, 1))
    except tf.errors.OpError:  # it does not take such images
        return UNKNOWN
    line, low_line = _line(255, of_bytes), _line(1, of_shares)
    if isinstance(line, _Line) and isinstance(low_line, _Line) and line.agrees_with(low_line):
        return Scaling(line.top, line.steps(_reverses(line, shape, values))) if line.top else UNKNOWN
    if isinstance(line, _Line) and low_line == "flat":  # whole numbers inside, or a threshold above 1
        return Scaling(255, line.steps(reverses=False) or "rounds them to whole numbers")
    if isinstance(low_line, _Line) and line == "flat":
        return Scaling(1, low_line.steps(reverses=False) or "bounds them to 1")
    if _is_plausible(of_bytes[len(even) :]):
        return Scaling(255, "normalises each image" if line == "flat" else "transforms them")
    return Scaling(1, "transforms them") if _is_plausible(of_shares[len(even) :]) else UNKNOWN


def _line(top: float, found: Sequence[Array]) -> _Line | Literal["flat", "curved"]:
    """Return the line that even images of three levels lie on; `flat` if no value depends on the level.

    The values of two natural images follow. Beside their difference, rounding does not count as a dependence.
    """
    low, middle, high, *natural = found
    rise = np.abs(high - low)
    live = rise > np.maximum(1e-6, 0.2 * np.abs(natural[1] - natural[0]))
    if np.mean(live) < 0.1 or not live.any():
        return "flat"
    share = (_LEVELS[1] - _LEVELS[0]) / (_LEVELS[2] - _LEVELS[0])
    if np.median(np.abs(middle - low - share * (high - low))[live] / rise[live]) > 0.01:
        return "curved"
    slope = (high - low) / (top * (_LEVELS[2] - _LEVELS[0]))
    offset = low - slope * top * _LEVELS[0]
    channels = low.shape[-1] if low.ndim > 1 and low.shape[-1] <= 4 else 1
    by_channel = zip(*(x.reshape(-1, channels).T for x in (slope, offset, live)), strict=True)
    medians = np.array([(np.median(a[alive]), np.median(b[alive])) for a, b, alive in by_channel if alive.any()])
    return _Line(medians[:, 0], medians[:, 1])


def _reverses(line: _Line, shape: tuple[int, int, int], values: Any) -> bool:
    """Return True if the channels of an image come out in reverse."""
    if shape[-1] != 3 or line.slope.shape != (3,):
        return False
    colour = np.array([51.0, 102.0, 204.0], np.float32)
    (found,) = values([np.broadcast_to(colour, shape)])
    channels = np.median(found.reshape(-1, 3), axis=0)
    expected = [line.slope * order + line.offset for order in (colour, colour[::-1])]
    straight, reverse = (float(np.abs(channels - one).max()) for one in expected)
    return reverse < 0.01 * straight


def _is_plausible(found: Sequence[Array]) -> bool:
    low, high = np.quantile(np.concatenate([values.ravel() for values in found]), (0.005, 0.995))
    return bool(max(abs(low), abs(high)) <= _LARGEST and high - low >= _SMALLEST_SPAN)


def _listed(numbers: Array) -> str:
    texts = [f"{number:.4g}" for number in np.atleast_1d(numbers)]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)
