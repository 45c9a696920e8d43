"""Boxes, polygons and run lengths of annotations, to masks of the image's size.

Each shape is one instance of a class. `mask` returns the pixels inside it, (height, width) bool, for the width and height of an
image; it raises ValueError if the shape is damaged or made for an image of another size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Size = tuple[int, int]


def check_size(annotated: Size, image: Size) -> None:
    """Raise ValueError for an annotation of another image, or of this one before it was scaled; sizes are width and height."""
    if annotated != image:
        raise ValueError(
            f"annotated at {annotated[0]} x {annotated[1]} pixels, but the image has {image[0]} x {image[1]}; annotate that "
            "very file"
        )


@dataclass(frozen=True)
class Box:
    """A box: its sides in pixels from the image's top left corner; a pixel is inside if its centre is."""

    left: float
    top: float
    right: float
    bottom: float

    def mask(self, size: Size) -> Mask:
        """Return the pixels inside."""
        columns, rows = (np.arange(side) + 0.5 for side in size)
        across = (columns >= self.left) & (columns < self.right)
        down = (rows >= self.top) & (rows < self.bottom)
        return np.asarray(down[:, None] & across)


@dataclass(frozen=True)
class Polygons:
    """Outlines x1, y1, x2, y2, ..., each filled by the even-odd rule; together, the parts of one instance."""

    outlines: tuple[tuple[float, ...], ...]

    def mask(self, size: Size) -> Mask:
        """Return the pixels inside."""
        filled = np.zeros((size[1], size[0]), np.bool_)
        for outline in self.outlines:
            filled |= _filled(outline, size)
        return filled


@dataclass(frozen=True)
class Runs:
    """COCO's run lengths of 0, 1, 0, ... down the columns, or its string of them; `size` is rows and columns."""

    size: tuple[int, int]
    counts: tuple[int, ...] | str

    def mask(self, size: Size) -> Mask:
        """Return the pixels inside."""
        check_size((self.size[1], self.size[0]), size)
        counts = _unpacked(self.counts) if isinstance(self.counts, str) else list(self.counts)
        if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
            raise ValueError(f"the run lengths sum up to {sum(counts)}, not to {size[0]} x {size[1]} pixels")
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(size).T


Shape = Box | Polygons | Runs


def _filled(outline: tuple[float, ...], size: Size) -> Mask:
    width, height = size
    corners = np.asarray(outline, np.float64).reshape(-1, 2)
    crossings = np.zeros((height, width + 1), np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, last = np.clip(np.ceil(np.sort([y1, y2]) - 0.5), 0, height).astype(np.intp)
        rows = np.arange(first, last)
        if rows.size:
            x = x1 + (rows + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
            crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] ^= True
    return np.logical_xor.accumulate(crossings, axis=1)[:, :width]


def _unpacked(text: str) -> list[int]:
    """Return the run lengths in a string: 5 bits a character, low ones first, 32 for more; from the 4th on, differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("the run lengths are no string that COCO's tools write")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the string of run lengths is cut short")
    return counts
