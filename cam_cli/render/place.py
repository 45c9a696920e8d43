"""A map laid where it belongs on a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sides = tuple[float, float, float, float]


def place(saliency: NDArray[np.floating], box: Sides, size: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge a map bilinearly (half-pixel centres, edges clamped) to where it lies on a picture.

    Args:
        saliency: (h, w) map, finite.
        box: left, top, right, bottom of the area the map covers, in picture pixels; may reach past it.
        size: width and height of the picture.

    Returns:
        (height, width) float32 in the map's units; NaN at pixels whose centre lies outside the box.

    Raises:
        ValueError: an empty map or box.
    """
    left, top, right, bottom = box
    if saliency.size == 0 or not (right > left and bottom > top):
        raise ValueError(f"cannot place a map of shape {saliency.shape} on the box {box}")
    columns = np.arange(size[0]) + 0.5
    rows = np.arange(size[1]) + 0.5
    columns_in = (columns >= left) & (columns <= right)
    rows_in = (rows >= top) & (rows <= bottom)
    down = _interpolation((rows[rows_in] - top) / (bottom - top), saliency.shape[0])
    across = _interpolation((columns[columns_in] - left) / (right - left), saliency.shape[1])
    placed = np.full((size[1], size[0]), np.nan, np.float32)
    placed[np.ix_(rows_in, columns_in)] = down @ saliency.astype(np.float32) @ across.T
    return placed


def _interpolation(at: NDArray[np.floating], cells: int) -> NDArray[np.float32]:
    """Return the (len(at), cells) matrix that interpolates cell centres at `at`, 0..1 along the map."""
    position = np.clip(at * cells - 0.5, 0, cells - 1)
    lower = np.minimum(np.floor(position).astype(np.intp), max(cells - 2, 0))
    upper = np.minimum(lower + 1, cells - 1)
    weight = position - lower
    matrix = np.zeros((len(at), cells), np.float32)
    pixels = np.arange(len(at))
    matrix[pixels, lower] = 1 - weight
    matrix[pixels, upper] += weight
    return matrix
