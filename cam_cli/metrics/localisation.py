"""Whether a map lies on the objects of its class.

In this module `heat` is a map (H, W) laid over its image, at least 0 and finite, a `mask` (H, W) is True on one instance of the
class, and `union` (H, W) on any. Every metric of a blank map is 0.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("pointing_game", "1 if the peak lies on the object or close to it (15 of 224 pixels), else 0", "higher"),
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

TOLERANCE: Final = 15
"""How far beside the object the peak may lie, in pixels of the image, as published."""
SIDE: Final = 224
"""`TOLERANCE` pixels of an image of so many are the share of its width and height that counts by default."""
Tolerance = Literal["share", "pixels"]
CENTRE_WIDTH: Final = 0.25
"""The standard deviation of the centred Gaussian, as a share of the image's width and height."""
THRESHOLDS = (np.arange(1, 101) / 100).astype(np.float32)
"""Where maps are cut for the best IoU, as shares of their peak."""
HALF = 0.5

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def localise(upsampled: Array, masks: Sequence[Mask], tolerance: Tolerance = "share") -> dict[str, float]:
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
        "pointing_game": pointing_game(heat, union, reach_of(heat.shape, tolerance)),
        "energy_inside": float(heat[union].sum(dtype=np.float64) / heat.sum(dtype=np.float64)),
        "iou_best": best,
        "iou_half": half,
        "instance_coverage": float(np.mean([np.any(lit & mask) for mask in masks])),
    }


def reach_of(shape: tuple[int, ...], tolerance: Tolerance) -> tuple[float, float]:
    """Return how many rows and columns beside the object the peak may lie, on an image (H, W)."""
    if tolerance == "pixels":
        return TOLERANCE, TOLERANCE
    return TOLERANCE / SIDE * shape[0], TOLERANCE / SIDE * shape[1]


def pointing_game(heat: Array, union: Mask, reach: tuple[float, float]) -> float:
    """Return 1 if the peak lies on the object, or beside it within an ellipse whose half axes are `reach`, else 0.

    The pointing game of Zhang et al. 2018 (Top-Down Neural Attention by Excitation Backprop), with a circle of 15 pixels. Of
    several equal peaks the first in reading order counts.
    """
    row, column = map(int, np.unravel_index(np.argmax(heat), heat.shape))
    if heat[row, column] <= 0:
        return 0.0
    down, across = int(reach[0]), int(reach[1])
    top, left = max(row - down, 0), max(column - across, 0)
    rows, columns = np.nonzero(union[top : row + down + 1, left : column + across + 1])
    return float(np.any(_beside(rows + top - row, reach[0]) + _beside(columns + left - column, reach[1]) <= 1))


def pointing_by_chance(union: Mask, reach: tuple[float, float]) -> float:
    """Return how often a peak anywhere on the image is a hit of the pointing game, 0..1: what a flat map is worth."""
    height, width = union.shape
    filled = np.zeros((height, width + 1), np.int32)
    np.cumsum(union, axis=1, out=filled[:, 1:])
    columns, hit = np.arange(width), np.zeros((height, width), np.bool_)
    for step in range(-int(min(reach[0], height - 1)), int(min(reach[0], height - 1)) + 1):
        wide = int(reach[1] * np.sqrt(max(0.0, 1 - float(_beside(np.array(step), reach[0])))))
        ends = np.minimum(columns + wide + 1, width), np.maximum(columns - wide, 0)
        near = filled[:, ends[0]] > filled[:, ends[1]]
        hit[max(0, -step) : height - max(0, step)] |= near[max(0, step) : height + min(0, step)]
    return float(hit.mean())


def _beside(steps: NDArray[np.integer], reach: float) -> NDArray[np.float64]:
    """Return the square of a distance in units of `reach`; a reach of 0 is no step."""
    return (steps / reach) ** 2 if reach > 0 else np.where(steps == 0, 0.0, np.inf)


def baselines(
    shape: tuple[int, int], masks: Sequence[Mask], tolerance: Tolerance = "share"
) -> dict[str, dict[str, float]]:
    """Compute all `METRICS` of two maps (H, W) that cost nothing, and that a method has to beat, by their names.

    A Gaussian in the centre of the image, as photographers put objects there (`CENTRE_WIDTH`), and a map that is the same
    everywhere, whose peak may be any pixel.
    """
    down, across = (np.exp(-(((np.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * CENTRE_WIDTH**2)) for side in shape)
    flat = localise(np.ones(shape, np.float32), masks, tolerance)
    chance = pointing_by_chance(np.logical_or.reduce(masks), reach_of(shape, tolerance))
    return {
        "centred gaussian": localise(np.outer(down, across).astype(np.float32), masks, tolerance),
        "flat": flat | {"pointing_game": chance},
    }


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
