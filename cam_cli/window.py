"""Which part of a network's input a layer's grid covers, and which way round. Without TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Sides = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True)
class Window:
    """The rectangle of a network's input that a grid covers.

    top, left, bottom, right: shares of the input's height and width; below 0 or above 1 where a network pads its input.
    transposed: rows of the grid run along columns of the input. upside_down, mirrored: the grid, after it is transposed, has
    its first row at the bottom, its first column at the right.

    Raises:
        ValueError: a rectangle that is empty or not finite.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0
    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def __post_init__(self) -> None:
        sides = (self.top, self.left, self.bottom, self.right)
        if not all(map(math.isfinite, sides)) or self.bottom <= self.top or self.right <= self.left:
            raise ValueError(f"a window must have an area, not {sides} (top, left, bottom, right)")

    def within(self, box: Sides) -> Sides:
        """Return where the window lies if the network's input lies in `box`."""
        left, top, right, bottom = box
        return (
            left * (1 - self.left) + right * self.left,
            top * (1 - self.top) + bottom * self.top,
            left * (1 - self.right) + right * self.right,
            top * (1 - self.bottom) + bottom * self.bottom,
        )

    def inside(self, outer: Window) -> Window:
        """Return the window of a grid whose input is not the whole but the part `outer` of it, which lies as the input does."""
        left, top, right, bottom = self.within((outer.left, outer.top, outer.right, outer.bottom))
        return replace(self, top=top, left=left, bottom=bottom, right=right)

    def upright(self, values: NDArray[_Kind]) -> NDArray[_Kind]:
        """Return a map (rows, columns) of the grid turned so that it lies as the input does."""
        turned = values.T if self.transposed else values
        return turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]

    def as_grid(self, upright: NDArray[_Kind]) -> NDArray[_Kind]:
        """Return a map that lies as the input does in the order of the grid; the inverse of `upright`."""
        turned = upright[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return turned.T if self.transposed else turned


WHOLE: Final = Window()
"""All of the input, as it is."""


@dataclass(frozen=True)
class Grid:
    """Rows, columns and channels of a layer's output for one image.

    class_tokens: for tokens, (batch, tokens, channels), how many come before the grid; None for feature maps. window: the part
    of the input that the grid covers. lost_by: the operation after which that part cannot be told; empty if it can.
    """

    rows: int
    columns: int
    channels: int
    class_tokens: int | None = None
    window: Window = WHOLE
    lost_by: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, K)."""
        return self.rows, self.columns, self.channels


def part_of(box: Sides, whole: Sides) -> Window:
    """Return which part of one rectangle another is, both in the same pixels."""
    if box == whole:
        return WHOLE
    left, top, right, bottom = whole
    across, down = right - left, bottom - top
    return Window(
        top=(box[1] - top) / down,
        left=(box[0] - left) / across,
        bottom=(box[3] - top) / down,
        right=(box[2] - left) / across,
    )
