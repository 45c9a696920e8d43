"""The feature maps and neurons that a saliency map is made of, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.checks import check_sequence, check_whole
from cam_cli.engine.formulas import Array
from cam_cli.errors import UsageError


@dataclass(frozen=True)
class Selection:
    """The feature maps (`filters`, 0-based) and neurons (`subset` of (row, column), 0-based) of a map. None means all.

    region: the two coordinates of `subset` are corners of a box, both inclusive. top: take so many neurons, those with the
    largest values of each map; a finished map's selection lists them as its `subset`.
    """

    filters: tuple[int, ...] | None = None
    region: bool = False
    subset: tuple[tuple[int, int], ...] | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        if self.filters is not None:
            for index in check_sequence("filters", self.filters, "feature maps", "(0, 3)"):
                check_whole("a filter", index, 0)
        if self.subset is not None:
            for pair in check_sequence("subset", self.subset, "neurons", "((0, 10), (12, 12))"):
                if len(check_sequence("a neuron", pair, "numbers", "(0, 10)")) != 2:
                    raise UsageError(f"a neuron is {pair!r}; it must be a (row, column), such as (0, 10)")
                for number in pair:
                    check_whole("a row or column", number, 0)
        if self.top is not None:
            check_whole("top", self.top)
        if self.top is not None and (self.region or self.top < 1):
            raise UsageError("the top neurons are at least one, and no region")
        if self.region and (self.subset is None or len(self.subset) != 2):
            raise UsageError("region=True needs a subset of exactly two coordinates, the corners of a box")

    def checked(self, layer: str, grid: Sequence[int]) -> Selection:
        """Return this selection; raises UsageError, naming the grid (h, w, K), if it does not fit the layer."""
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
        """Return this selection with `top` replaced by the neurons that have the largest values of the whole map (h, w)."""
        if self.top is None:
            return self
        values = whole_map()
        order = np.argsort(-values, axis=None, kind="stable")[: self.top]
        rows, columns = np.unravel_index(np.sort(order), values.shape)
        return replace(self, subset=tuple(zip(rows.tolist(), columns.tolist(), strict=True)))

    def neurons(self, h: int, w: int) -> NDArray[np.bool_]:
        """Return the selected neurons as a mask, (h, w)."""
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
        """The selected feature maps, as an index of their axis."""
        return slice(None) if self.filters is None else np.array(self.filters, np.intp)


def weighted_sum(weights: Array, activations: Array, selection: Selection) -> Array:
    """sum_{k in filters} w_k (A_k * mask): the map before its ReLU (the paper, Eq. 9, with its two selections).

    Activations of other neurons count as zero; the weights were made from the whole map.

    Args:
        weights: (..., K).
        activations: (h, w, K).

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
