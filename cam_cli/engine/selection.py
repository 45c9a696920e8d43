"""Which feature maps and which neurons a map is made of, and the weighted sum that makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import UsageError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Selection:
    """Feature maps (`filters`, 0-based) and neurons (`subset` of (row, column), 0-based) that a map is bounded to.

    `region=True` takes the two coordinates of `subset` as corners of a box, both inclusive; `region=False` takes
    exactly the neurons listed. None stands for all. `top` takes the neurons with the largest values of each map; a
    finished map's selection lists them as its `subset`.
    """

    filters: tuple[int, ...] | None = None
    region: bool = False
    subset: tuple[tuple[int, int], ...] | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        if self.top is not None and (self.region or self.top < 1):
            raise UsageError("the top neurons are at least one, and no region")
        if self.region and (self.subset is None or len(self.subset) != 2):
            raise UsageError("region=True needs a subset of exactly two coordinates, the corners of a box")

    def checked(self, layer: str, grid: Sequence[int]) -> Selection:
        """Return this selection when it fits the layer's grid (h, w, K); raises UsageError naming the grid otherwise."""
        h, w, k = grid
        for index in self.filters or ():
            if not 0 <= index < k:
                raise UsageError(f"filter {index} is past the end: layer '{layer}' has {k} feature maps, 0 to {k - 1}")
        for row, column in self.subset or ():
            if not (0 <= row < h and 0 <= column < w):
                raise UsageError(
                    f"neuron ({row}, {column}) is off the grid: layer '{layer}' has {h} rows and {w} columns, "
                    f"(0, 0) to ({h - 1}, {w - 1})"
                )
        return self

    def settled(self, whole_map: Callable[[], Array]) -> Selection:
        """Return this selection with its `top` neurons found: those of the largest values of the whole map (h, w)."""
        if self.top is None:
            return self
        values = whole_map()
        order = np.argsort(-values, axis=None, kind="stable")[: self.top]
        rows, columns = np.unravel_index(np.sort(order), values.shape)
        return replace(self, subset=tuple(zip(rows.tolist(), columns.tolist(), strict=True)))

    def neurons(self, h: int, w: int) -> NDArray[np.bool_]:
        """Return the neurons taken, as a mask of shape (h, w)."""
        if self.subset is None:
            return np.ones((h, w), np.bool_)
        mask = np.zeros((h, w), np.bool_)
        rows, columns = np.array(self.subset).T
        if self.region:
            mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        else:
            mask[rows, columns] = True
        return mask

    @property
    def channels(self) -> slice | NDArray[np.intp]:
        """The feature maps taken, as an index of their axis."""
        return slice(None) if self.filters is None else np.array(self.filters, np.intp)


def weighted_sum(weights: Array, activations: Array, selection: Selection) -> Array:
    """sum_{k in filters} w_k (A_k * mask): the map before its ReLU (the paper, Eq. 9, with its two selections).

    Every activation outside the chosen neurons counts as zero here; the weights were made from the whole map.

    Args:
        weights: (..., K); activations: (h, w, K).

    Returns:
        (..., h, w).
    """
    h, w, k = activations.shape
    taken = selection.channels
    total = weights[..., taken] @ activations.reshape(h * w, k)[:, taken].T
    return total.reshape(*weights.shape[:-1], h, w) * selection.neurons(h, w)


def summed(contributions: Array, selection: Selection) -> Array:
    """Sum over the chosen feature maps at the chosen neurons: (h, w, K) to (h, w)."""
    h, w, _ = contributions.shape
    total = contributions[..., selection.channels].sum(axis=-1) * selection.neurons(h, w)
    return np.asarray(total, np.float32)
