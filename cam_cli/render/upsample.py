"""A map enlarged to the part of a picture that it covers."""

import numpy as np
from numpy.typing import NDArray

from cam_cli.window import WHOLE, Sides, Window


def upsample(
    saliency: NDArray[np.floating], box: Sides, size: tuple[int, int], window: Window = WHOLE
) -> NDArray[np.float32]:
    """Enlarge a map bilinearly (half-pixel centres, edges clamped) to the part of a picture that it covers.

    Args:
        saliency: (h, w) map, finite, not empty.
        box: left, top, right, bottom of the network's input, in picture pixels; may reach past the picture.
        size: width and height of the picture.
        window: the part of the network's input that the map covers.

    Returns:
        (height, width) float32 in the map's units; NaN at pixels whose centre lies outside the box or the window.
    """
    saliency = window.upright(saliency)
    outer_left, outer_top, outer_right, outer_bottom = box
    left, top, right, bottom = window.within(box)
    if saliency.size == 0 or not (right > left and bottom > top):
        raise ValueError(f"cannot lay a map of shape {saliency.shape} on the box {tuple(box)}")
    columns = np.arange(size[0]) + 0.5
    rows = np.arange(size[1]) + 0.5
    columns_in = (columns >= max(left, outer_left)) & (columns <= min(right, outer_right))
    rows_in = (rows >= max(top, outer_top)) & (rows <= min(bottom, outer_bottom))
    tall = _interpolated(saliency.astype(np.float32), (rows[rows_in] - top) / (bottom - top), axis=0)
    inside = _interpolated(tall, (columns[columns_in] - left) / (right - left), axis=1)
    if inside.shape == (size[1], size[0]):
        return inside
    enlarged = np.full((size[1], size[0]), np.nan, np.float32)
    enlarged[np.ix_(rows_in, columns_in)] = inside
    return enlarged


def _interpolated(values: NDArray[np.float32], at: NDArray[np.floating], axis: int) -> NDArray[np.float32]:
    """Return (h, w) values, interpolated between cell centres along an axis, at positions 0..1 along it.

    A product with a matrix would be one line, but it would wake all threads of NumPy's library.
    """
    cells = values.shape[axis]
    position = np.clip(at * cells - 0.5, 0, cells - 1)
    lower = np.minimum(np.floor(position).astype(np.intp), max(cells - 2, 0))
    weight = np.expand_dims((position - lower).astype(np.float32), 1 - axis)
    found: NDArray[np.float32] = values.take(lower, axis)
    found += weight * (values.take(np.minimum(lower + 1, cells - 1), axis) - found)
    return found
