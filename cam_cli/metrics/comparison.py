"""How alike two maps are, and what changed between two runs."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cam_cli.metrics.metric import Metric
from cam_cli.metrics.signals import centre_of_attention

METRICS: Final = (
    Metric("changed_predictions", "share of the images whose most likely class is another one, 0..1", "lower"),
    Metric("map_correlation", "Pearson correlation of each image's least similar map, -1..1", "higher"),
    Metric("map_overlap", "IoU of where these maps reach half of their peak, 0..1", "higher"),
    Metric("centre_shift", "distance of their centres of attention as a share of the diagonal, 0..1", "lower"),
    Metric("new_blank", "share of the images with a map that became blank or not finite, 0..1", "lower"),
    Metric("new_failed", "share of the images that failed in the later run alone, 0..1", "lower"),
)
TRUTH_METRICS: Final = (
    Metric("broke", "share of the images of known class that were right in A and are wrong in B, 0..1", "lower"),
)

Array = NDArray[Any]


def compare_maps(a: Array, b: Array) -> dict[str, float | None]:
    """Compare two maps of one shape (H, W), at least 0, NaN where the network did not look.

    Returns:
        correlation: Pearson, over the pixels that are finite in both; None if a map is constant there.
        overlap: intersection over union of the pixels where each map reaches half of its peak.
        shift: distance of the centres of attention as a share of the diagonal; None for a blank map.
    """
    seen = np.isfinite(a) & np.isfinite(b)
    lit_a, lit_b = (np.nan_to_num(values) >= np.nanmax(values) / 2 for values in (a, b))
    one, other = centre_of_attention(a), centre_of_attention(b)
    shift = None
    if one and other:
        height, width = a.shape
        shift = float(np.hypot((one[0] - other[0]) * width, (one[1] - other[1]) * height) / np.hypot(width, height))
    return {
        "correlation": pearson(a[seen], b[seen]),
        "overlap": float((lit_a & lit_b).sum() / (lit_a | lit_b).sum()),
        "shift": shift,
    }


def pearson(a: Array, b: Array) -> float | None:
    """Return the correlation of two rows of finite values, -1..1; None if there are none or all of a row are equal."""
    if not a.size:
        return None
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / norm, -1, 1)) if norm > 0 else None


def spearman(a: Array, b: Array) -> float | None:
    """Return the rank correlation of two maps of one shape over the cells that are finite in both, -1..1.

    Equal values share their mean rank. None if there are fewer than two cells, or one of the maps has a single value.
    """
    known = np.isfinite(a) & np.isfinite(b)
    return pearson(_ranks(a[known]), _ranks(b[known])) if np.count_nonzero(known) > 1 else None


def _ranks(values: Array) -> NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(middle[group.ravel()], np.float64)
