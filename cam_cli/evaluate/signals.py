"""What a map gives away about itself without annotations: energy at the border, entropy, spread and centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BORDER = 0.1
"""The width of the border on each side, as a share of the photo's width or height."""


def signals(values: Array, placed: Array) -> dict[str, float | None]:
    """Compute all signals of a map.

    Args:
        values: (h, w), the map on its own grid. placed: (H, W), the same map laid over its photo.

    Returns:
        border_energy, entropy, spread, centre_x and centre_y, as the functions of this module define them.
    """
    centre = centre_of_attention(placed)
    return {
        "border_energy": border_energy(placed),
        "entropy": entropy(values),
        "spread": spread(placed),
        "centre_x": centre and centre[0],
        "centre_y": centre and centre[1],
    }


def border_energy(saliency: Array) -> float | None:
    """Return the share of the energy in the outer tenth on each side; pixels that the border cuts count by their area.

    A map that is the same everywhere has 0.36 of it there.

    Args:
        saliency: (H, W); only values above 0 are energy, NaN is none.

    Returns:
        0..1; None for a blank map.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    inner = _inside(energy.shape[0]) @ energy @ _inside(energy.shape[1])
    return float(np.clip(1 - inner, 0, 1))


def entropy(saliency: Array) -> float | None:
    """Return the Shannon entropy of the map as a distribution over cells, as a share of the logarithm of their number.

    It depends on the grid, so that only maps of one layer can be compared.

    Args:
        saliency: (h, w), on its own grid; only values above 0 are energy, NaN is none.

    Returns:
        0 (all in one cell) to 1 (the same everywhere); None for a blank map.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    shares = energy[energy > 0]
    return float(np.clip(-(shares @ np.log(shares)) / np.log(energy.size), 0, 1)) if energy.size > 1 else 0.0


def centre_of_attention(saliency: Array) -> tuple[float, float] | None:
    """Return the mean position of the energy.

    Args:
        saliency: (H, W); only values above 0 are energy, NaN is none.

    Returns:
        x (0 left, 1 right) and y (0 top, 1 bottom); None for a blank map.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    (x, _), (y, _) = _moments(energy.sum(axis=0)), _moments(energy.sum(axis=1))
    return x / energy.shape[1], y / energy.shape[0]


def spread(saliency: Array) -> float | None:
    """Return the root mean square distance of the energy from its centre, in half diagonals of the photo.

    Args:
        saliency: (H, W); only values above 0 are energy, NaN is none.

    Returns:
        0 (all in one pixel) to 1 (in two opposite corners); a map that is the same everywhere has 0.58. None for a blank map.
    """
    energy = _energy(saliency)
    if energy is None:
        return None
    (_, across), (_, down) = _moments(energy.sum(axis=0)), _moments(energy.sum(axis=1))
    return float(np.sqrt(across + down) / (np.hypot(*energy.shape) / 2))


def _energy(saliency: Array) -> NDArray[np.float64] | None:
    positive = np.where(saliency > 0, saliency, 0).astype(np.float64)
    total = positive.sum()
    return positive / total if total > 0 else None


def _inside(cells: int) -> NDArray[np.float64]:
    """Return how much of each of a row of cells lies between the borders, 0..1."""
    left = np.arange(cells)
    ends = np.minimum(left + 1, (1 - BORDER) * cells)
    covered: NDArray[np.float64] = np.clip(ends - np.maximum(left, BORDER * cells), 0, 1)
    return covered


def _moments(shares: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and the variance of the position, in cells, of what is distributed over a row of them."""
    at = np.arange(shares.size) + 0.5
    mean = float(shares @ at)
    return mean, float(shares @ (at - mean) ** 2)
