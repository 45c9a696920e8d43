"""Whether a map lies on the objects of its class: pointing game, energy inside, IoU, and how many instances it lights up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("pointing_game", "1 if the peak lies on the object or at most 15 pixels beside it, else 0", "higher"),
    Metric("energy_inside", "share of the positive map on objects, 0..1", "higher", "energy inside the object"),
    Metric("iou_best", "intersection over union at the best threshold, 0..1", "higher", "IoU, best threshold"),
    Metric("iou_half", "intersection over union at half of the peak, 0..1", "higher", "IoU at half the peak"),
    Metric("instance_coverage", "share of the instances on which the map reaches half of its peak, 0..1", "higher"),
)

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

TOLERANCE = 15
THRESHOLDS = (np.arange(1, 101) / 100).astype(np.float32)
"""Where maps are cut for the best IoU, as shares of their peak."""
HALF = 0.5


def localise(placed: Array, masks: Sequence[Mask]) -> dict[str, float]:
    """Compute all `METRICS` of localisation; each is 0 for a blank map.

    Args:
        placed: (H, W), the map laid over its image; NaN where the network did not look. NaN and values below 0 are no heat.
        masks: (H, W) each, the instances of the map's class.

    Raises:
        ValueError: no masks, or one whose shape is not the map's.
    """
    if not masks or any(mask.shape != placed.shape for mask in masks):
        raise ValueError(f"a map of {placed.shape} needs masks of the same shape, got {[mask.shape for mask in masks]}")
    heat = np.where(placed > 0, placed, np.float32(0))
    union = np.logical_or.reduce(masks)
    best, half = overlaps(heat, union)
    return {
        "pointing_game": pointing_game(heat, union),
        "energy_inside": energy_inside(heat, union),
        "iou_best": best,
        "iou_half": half,
        "instance_coverage": instance_coverage(heat, masks),
    }


def pointing_game(heat: Array, union: Mask, tolerance: float = TOLERANCE) -> float:
    """Return 1 if the peak lies on the object or at most `tolerance` pixels beside it, else 0.

    The pointing game of Zhang et al. 2018 (Top-Down Neural Attention by Excitation Backprop), where the tolerance is 15 pixels.
    Of several equal peaks the first in reading order counts.

    Args:
        heat: (H, W), at least 0, finite.
        union: (H, W), where the objects are.
        tolerance: Euclidean, between pixel centres.
    """
    row, column = np.unravel_index(np.argmax(heat), heat.shape)
    if heat[row, column] <= 0:
        return 0.0
    reach = int(tolerance)
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    rows, columns = np.nonzero(union[top : int(row) + reach + 1, left : int(column) + reach + 1])
    return float(np.any((rows + top - row) ** 2 + (columns + left - column) ** 2 <= tolerance**2))


def energy_inside(heat: Array, union: Mask) -> float:
    """Return the share of the map's energy on the objects.

    The energy-based pointing game of Wang et al. 2020 (Score-CAM), over masks instead of boxes where there are any.

    Args:
        heat: (H, W), at least 0, finite.
        union: (H, W), where the objects are.
    """
    total = heat.sum(dtype=np.float64)
    return float(heat[union].sum(dtype=np.float64) / total) if total > 0 else 0.0


def overlaps(heat: Array, union: Mask) -> tuple[float, float]:
    """Return the intersection over union with the objects at the best threshold and at half of the peak.

    Cut at the threshold t, a map is the pixels with at least t times its peak. The thresholds are 0.01, 0.02, ... 1.

    Args:
        heat: (H, W), at least 0, finite.
        union: (H, W), where the objects are.
    """
    peak = heat.max()
    if peak <= 0:
        return 0.0, 0.0
    passed = np.searchsorted(THRESHOLDS, heat / peak, side="right")
    bins = THRESHOLDS.size + 1
    inside = np.bincount(passed[union], minlength=bins)[::-1].cumsum()[::-1][1:]
    cut = np.bincount(passed.ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    iou = inside / (cut + np.count_nonzero(union) - inside)
    return float(iou.max()), float(iou[np.searchsorted(THRESHOLDS, HALF)])


def instance_coverage(heat: Array, masks: Sequence[Mask]) -> float:
    """Return the share of the instances that the map lights up.

    An instance is lit if at least one pixel of its mask has at least half of the map's peak; one hot pixel lights all instances
    that overlap there. It measures the claim of Omeiza et al. 2019 (Smooth Grad-CAM++) that their maps show several
    occurrences of a class.

    Args:
        heat: (H, W), at least 0, finite.
        masks: (H, W) each, one for every instance.
    """
    peak = heat.max()
    if peak <= 0:
        return 0.0
    lit = heat >= peak * np.float32(HALF)
    return float(np.mean([np.any(lit & mask) for mask in masks]))
