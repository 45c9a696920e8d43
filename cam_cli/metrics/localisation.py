"""Whether a map lies on the objects of its class.

In this module `heat` is a map (H, W) laid over its image, at least 0 and finite, a `mask` (H, W) is True on one instance of the
class, and `union` (H, W) on any. Every metric of a blank map is 0.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("pointing_game", "1 if the peak lies on the object or at most 15 pixels beside it, else 0", "higher"),
    Metric(
        "energy_inside",
        "share of the positive map on objects, 0..1 (Wang et al. 2020, Score-CAM)",
        "higher",
        "energy inside the object",
    ),
    Metric("iou_best", "intersection over union at the best threshold, 0..1", "higher", "IoU, best threshold"),
    Metric("iou_half", "intersection over union at half of the peak, 0..1", "higher", "IoU at half the peak"),
    Metric(
        "instance_coverage",
        "share of the instances on which the map reaches half of its peak, 0..1; Omeiza et al. 2019",
        "higher",
    ),
)

TOLERANCE = 15
THRESHOLDS = (np.arange(1, 101) / 100).astype(np.float32)
"""Where maps are cut for the best IoU, as shares of their peak."""
HALF = 0.5

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def localise(upsampled: Array, masks: Sequence[Mask]) -> dict[str, float]:
    """Compute all `METRICS` of a map (H, W) over its image; NaN is no heat. Raises ValueError for masks of other shapes."""
    if not masks or any(mask.shape != upsampled.shape for mask in masks):
        raise ValueError(
            f"a map of {upsampled.shape} needs masks of the same shape, got {[mask.shape for mask in masks]}"
        )
    heat = np.where(upsampled > 0, upsampled, np.float32(0))
    if heat.max() <= 0:
        return dict.fromkeys((metric.name for metric in METRICS), 0.0)
    union = np.logical_or.reduce(masks)
    best, half = overlaps(heat, union)
    lit = heat >= heat.max() * np.float32(HALF)
    return {
        "pointing_game": pointing_game(heat, union),
        "energy_inside": float(heat[union].sum(dtype=np.float64) / heat.sum(dtype=np.float64)),
        "iou_best": best,
        "iou_half": half,
        "instance_coverage": float(np.mean([np.any(lit & mask) for mask in masks])),
    }


def pointing_game(heat: Array, union: Mask, tolerance: float = TOLERANCE) -> float:
    """Return 1 if the peak lies on the object or at most `tolerance` pixels (Euclidean) beside it, else 0.

    The pointing game of Zhang et al. 2018 (Top-Down Neural Attention by Excitation Backprop), with its tolerance of 15 pixels.
    Of several equal peaks the first in reading order counts.
    """
    row, column = map(int, np.unravel_index(np.argmax(heat), heat.shape))
    if heat[row, column] <= 0:
        return 0.0
    reach = int(tolerance)
    top, left = max(row - reach, 0), max(column - reach, 0)
    rows, columns = np.nonzero(union[top : row + reach + 1, left : column + reach + 1])
    return float(np.any((rows + top - row) ** 2 + (columns + left - column) ** 2 <= tolerance**2))


def overlaps(heat: Array, union: Mask) -> tuple[float, float]:
    """Return the intersection over union with the objects at the best threshold and at half of the peak.

    Cut at the threshold t, a map is the pixels with at least t times its peak. The thresholds are 0.01, 0.02, ... 1.
    """
    passed = np.searchsorted(THRESHOLDS, heat / heat.max(), side="right")
    bins = THRESHOLDS.size + 1
    inside = np.bincount(passed[union], minlength=bins)[::-1].cumsum()[::-1][1:]
    cut = np.bincount(passed.ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    iou = inside / (cut + np.count_nonzero(union) - inside)
    return float(iou.max()), float(iou[np.searchsorted(THRESHOLDS, HALF)])
