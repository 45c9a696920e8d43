"""What a map gives away about itself without annotations: energy at the border, entropy, spread and centre.

Energy is the positive part of a map: values below 0 and NaN have none. A map without energy is blank.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric(
        "border_energy",
        "share of the positive map in the outer tenth of the image, 0..1; 0.36 is chance; watermarks and frames",
        title="energy at the border",
        suspicious_above=0.4,
    ),
    Metric("entropy", "Shannon entropy of the map's cells, as a share of the logarithm of their number, 0..1"),
    Metric("spread", "root mean square distance from the centre of attention, in half diagonals, 0..1"),
    Metric("centre_x", "centre of attention, 0 (left) to 1 (right)", bounded=False),
    Metric("centre_y", "centre of attention, 0 (top) to 1 (bottom)", bounded=False),
    Metric(
        "flatness",
        "mean of the positive map as a share of its peak, 0..1; 1 is the same everywhere",
        "lower",
        suspicious_above=0.75,
    ),
    Metric("class_distance", "distance of the centres of the maps of an image's first two classes, 0..1.4", "higher"),
    Metric(
        "blank_for_first",
        "1 if the map of the predicted class is blank and that of the second is not, else 0",
        "lower",
        title="blank for the predicted class alone",
        suspicious_above=0.5,
    ),
)
CLASS_METRICS: Final = (
    Metric(
        "class_reversal",
        "minus the correlation with the mean map of the class, -1..1; 1 is the mean map reversed",
        "lower",
        title="like the mean map of its class reversed",
        suspicious_above=0.5,
    ),
    Metric(
        "strategy_distance",
        "distance to the nearest way of looking of its class, as a multiple of the median of the class, at least 0",
        "lower",
        title="distance to the usual ways of looking",
        suspicious_above=2.5,
    ),
)
"""What the maps of a whole class tell of one of them."""
NOISE_METRICS: Final = (
    Metric("noise_effect", "correlation with the map without noise, -1..1", title="correlation without noise"),
    Metric("standard_error", "over the noise, as a share of the map's peak, at least 0", "lower", suspicious_above=0.1),
)
"""What `explain` measures and every manifest has."""

BORDER = 0.1
"""The width of the border on each side, as a share of the image's width or height."""

Array = NDArray[np.float32]
Point = tuple[float, float]


def signals(values: Array, upsampled: Array) -> dict[str, float | None]:
    """Compute all signals of one map, `values` (h, w) on its own grid and `upsampled` (H, W) over its image.

    Returns all of `METRICS` but class_distance and blank_for_first, which take two maps; None for those of a blank map.
    """
    centre_x, centre_y = centre_of_attention(upsampled) or (None, None)
    return {
        "border_energy": border_energy(upsampled),
        "entropy": entropy(values),
        "spread": spread(upsampled),
        "centre_x": centre_x,
        "centre_y": centre_y,
        "flatness": flatness(upsampled),
    }


def border_energy(saliency: Array) -> float | None:
    """Return the share of the energy in the outer tenth on each side of a map (H, W), 0..1; None for a blank map.

    Pixels that the border cuts count by their area. A map that is the same everywhere has 0.36 of its energy there.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    inner = _inside(energy.shape[0]) @ energy @ _inside(energy.shape[1])
    return float(np.clip(1 - inner, 0, 1))


def entropy(saliency: Array) -> float | None:
    """Return the Shannon entropy of a map (h, w) on its own grid, as a share of the logarithm of the number of cells.

    0: all energy in one cell; 1: the same everywhere; None for a blank map. Only maps of one layer can be compared.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    shares = energy[energy > 0]
    return float(np.clip(-(shares @ np.log(shares)) / np.log(energy.size), 0, 1)) if energy.size > 1 else 0.0


def centre_of_attention(saliency: Array) -> Point | None:
    """Return the mean position of the energy of a map (H, W): x, 0 (left) to 1, and y, 0 (top) to 1; None if blank."""
    energy = _energy(saliency)
    if energy is None:
        return None
    (x, _), (y, _) = _moments(energy.sum(axis=0)), _moments(energy.sum(axis=1))
    return x / energy.shape[1], y / energy.shape[0]


def spread(saliency: Array) -> float | None:
    """Return the root mean square distance of the energy of a map (H, W) from its centre, in half diagonals.

    0: all in one pixel; 1: in two opposite corners; 0.58 if the map is the same everywhere; None for a blank map.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    (_, across), (_, down) = _moments(energy.sum(axis=0)), _moments(energy.sum(axis=1))
    return float(np.sqrt(across + down) / (np.hypot(*energy.shape) / 2))


def flatness(saliency: Array) -> float | None:
    """Return the mean of the energy of a map (H, W) as a share of its peak, 0..1; None if blank.

    1: the same everywhere. Pixels at which the network did not look (NaN) do not count.
    """
    looked_at = saliency[~np.isnan(saliency)]
    peak = float(looked_at.max(initial=0))
    return float(np.maximum(looked_at, 0).mean(dtype=np.float64) / peak) if peak > 0 else None


def class_distance(one: Point, other: Point) -> float:
    """Return the distance of two centres of attention, 0..1.4, as when the image were a square of side 1."""
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))


def _energy(saliency: Array) -> NDArray[np.float64] | None:
    positive = np.where(saliency > 0, saliency, 0).astype(np.float64)
    total = positive.sum()
    return positive / total if total > 0 else None


def _inside(cells: int) -> NDArray[np.float64]:
    """Return how much of each of a row of cells lies between the borders, 0..1."""
    left = np.arange(cells)
    ends = np.minimum(left + 1, (1 - BORDER) * cells)
    return np.asarray(np.clip(ends - np.maximum(left, BORDER * cells), 0, 1), np.float64)


def _moments(shares: NDArray[np.float64]) -> Point:
    """Return the mean and the variance of the position, in cells, of what is distributed over a row of them."""
    at = np.arange(shares.size) + 0.5
    mean = float(shares @ at)
    return mean, float(shares @ (at - mean) ** 2)
