"""Lines around the hottest parts of a map."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEVELS: Final = ((0.5, 1.0), (0.8, 2.0))
"""Of each line: the heat that it runs along, 0..1 as drawn, and its width in pixels on a picture of `_NORMAL` pixels."""

_NORMAL = 640
_INK, _HALO = (255, 255, 255), (0, 0, 0)


def with_contours(picture: Image.Image, values: NDArray[np.float32]) -> Image.Image:
    """Draw a thin line where a map is half its peak, and a thick one where it is 80% of it: white with a dark rim.

    Args:
        picture: RGB.
        values: (height, width), as large as the picture, in 0..1; NaN outside the network's input, where no line is.
    """
    scale = max(1.0, max(picture.size) / _NORMAL)
    drawn = picture
    for level, width in LEVELS:
        distance = _distance(values, level)
        for colour, reach in ((_HALO, (width / 2 + 1) * scale), (_INK, width / 2 * scale)):
            shares = np.clip(reach + 0.5 - distance, 0, 1)
            mask = Image.fromarray(np.rint(255 * shares).astype(np.uint8))
            drawn = Image.composite(Image.new("RGB", drawn.size, colour), drawn, mask)
    return drawn


def _distance(values: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Return about how many pixels each pixel is away from where a map crosses a level; infinite where it cannot be told."""
    if min(values.shape) < 2:
        return np.full(values.shape, np.inf, np.float32)
    down, across = np.gradient(values)
    steepness = np.hypot(down, across)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(values - np.float32(level)) / steepness
    return np.where(np.isfinite(away), away, np.float32(np.inf)).astype(np.float32)
