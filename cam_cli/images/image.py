"""A decoded image, and what its readers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import ImageError

MAX_PIXELS = 200_000_000
MOST_SAMPLES_PER_PIXEL = 4
"""An image may have `max_pixels` times so many values; one of more bands must be smaller."""

Values = NDArray[Any]


@dataclass(frozen=True)
class RgbImage:
    """A decoded image.

    pixels: (rows, columns, 3) uint8, RGB, upright, read-only; fewer than the file holds where it was read at reduced size.
    width, height: of the upright image at full size.
    notes: one short sentence for every conversion that changed what the file holds.
    values: (rows, columns, bands), the numbers in a file that is no picture, and `pixels` only shows them; None for a picture.
    prepared: `values` are the network's input as it is.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...]
    values: Values | None = None
    prepared: bool = False


def check_size(width: int, height: int, max_pixels: int, bands: int = 1) -> None:
    """Raise ImageError, stage `decode`, if an image has more pixels, or more values, than a decoder may hold."""
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} = {width * height} pixels, more than max_pixels = {max_pixels}; "
            "shrink the image or raise max_pixels",
            stage="decode",
        )
    if width * height * bands > MOST_SAMPLES_PER_PIXEL * max_pixels:
        raise ImageError(
            f"{width} x {height} pixels of {bands} bands = {width * height * bands} values, more than "
            f"{MOST_SAMPLES_PER_PIXEL} x max_pixels = {MOST_SAMPLES_PER_PIXEL * max_pixels}; "
            "shrink the image or raise max_pixels",
            stage="decode",
        )


def upright(array: Values, orientation: int) -> Values:
    """Return an array, (rows, columns, ...), turned upright by its EXIF orientation; as it is if that is not 2 to 8."""
    if orientation in {5, 6, 7, 8}:
        array = array.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    return array
