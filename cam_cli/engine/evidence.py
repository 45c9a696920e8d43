"""Channel weights from noisy samples, by running sums of constant size.

Arrays are processed in blocks of cells that fit into a core's cache, because memory limits the speed of these sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine import formulas
from cam_cli.engine.formulas import Array

_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class ChannelEvidence:
    """The weight of each of a layer's K feature maps for one class of one image.

    weights: (K,). guarded: (K,) cells that the guard of `formulas.alpha` set to 0. clean: (K,) the weights without noise.
    leave_outs: (G, K), the weights with one group of samples left out, for the jackknife; None without noise.
    """

    weights: Array
    guarded: NDArray[np.int64]
    clean: Array
    leave_outs: Array | None = None


class RunningSums:
    """sum_m e^{S_m} g_m^p for p = 1, 2, 3 of one image and class, kept for each of the M samples of a pass.

    Sample m of a run is added to sum m mod M, so that memory does not grow with the number of samples, and the jackknife has M
    groups. The sums are scaled by e^-top with the largest score met so far, so that no score overflows.
    """

    def __init__(self, published_score: bool) -> None:
        self._published_score = published_score
        self._top: NDArray[np.float64] = np.array(-np.inf)
        self._mass: NDArray[np.float64] = np.array(0.0)
        self._only: list[Array] = []
        self._sums: list[Array] = []

    def add(self, scores: Array, derivatives: Sequence[Array], live: Array) -> None:
        """Add one pass.

        Args:
            scores: S of the target class, (M,).
            derivatives: dS/dA, or with its second and third, (M, h, w, K) each.
            live: (M,), 0 for samples that do not count.
        """
        added = [d.reshape(len(d), -1, d.shape[-1]) for d in derivatives]
        told = scores.astype(np.float64) if self._published_score else np.zeros(len(scores))
        top = np.maximum(self._top, np.where(live > 0, told, -np.inf))
        keep, gain = _factors(self._mass > 0, self._top, top), _factors(live > 0, told, top)
        if self._sums or self._only:
            if not self._sums:
                first, *others = formulas.derivatives_of_exp(*self._only)
                self._sums = [first.copy(), *others]  # the first is the caller's array, and the sums change below
            for cells in _blocks(*self._sums[0].shape):
                powers = formulas.derivatives_of_exp(*(d[:, cells] for d in added))
                for total, power in zip(self._sums, powers, strict=True):
                    total[:, cells] = _weighted(keep, total[:, cells]) + _weighted(gain, power)
        self._only = [] if self._sums else added
        self._top, self._mass = top, keep * self._mass + gain

    def mean_gradients(self, shape: Sequence[int]) -> Array:
        """Return D1, the averaged gradient, with the shape of the layer, (h, w, K)."""
        shares = _shares(self._top, self._mass)[:1]
        return formulas.averaged_derivative(shares, (self._sums or self._only)[0]).reshape(shape)

    def evidence(self, clean: ChannelEvidence, activations: Array, numerator: str) -> ChannelEvidence:
        """Return the channel weights of the samples so far; `activations`, (h, w, K), are those of the clean image."""
        shares = _shares(self._top, self._mass)
        weights, guarded = _weights(self._only, self._sums, shares, activations, numerator)
        return ChannelEvidence(weights[0], guarded, clean.weights, weights[1:] if len(weights) > 1 else None)


def clean_evidence(derivatives: Sequence[Array], activations: Array, numerator: str) -> ChannelEvidence:
    """Return the channel weights of Grad-CAM++, the same formulas for the clean image alone (n = 0); all arrays (h, w, K)."""
    alone = [d.reshape(1, -1, d.shape[-1]) for d in derivatives]
    weights, guarded = _weights(alone, [], np.ones((1, 1), np.float32), activations, numerator)
    return ChannelEvidence(weights[0], guarded, weights[0])


def _weights(
    derivatives: Sequence[Array], sums: Sequence[Array], shares: Array, activations: Array, numerator: str
) -> tuple[Array, NDArray[np.int64]]:
    """Return the channel weights of each row of `shares`, (R, K), and the guarded cells of the first, (K,).

    The derivatives of exp(S) come from `sums`, (M, cells, K) each, or if there are none, from the derivatives of S.
    """
    A = activations.reshape(-1, activations.shape[-1])
    area = A.sum(axis=0)
    weights, guarded = np.zeros((len(shares), len(area)), np.float32), np.zeros(len(area), np.int64)
    with np.errstate(all="ignore"):  # a map that is not finite has a state of its own
        for cells in _blocks(len(shares), *A.shape):
            block = [values[:, cells] for values in sums or derivatives]
            powers = block if sums else formulas.derivatives_of_exp(*block)
            D1, D2, D3 = (formulas.averaged_derivative(shares, power) for power in powers)
            weights += formulas.channel_weights(D1, D2, D3, area, numerator)
            guarded += formulas.guarded_cells(D2[0], D3[0], area)
    return weights, guarded


def _blocks(rows: int, cells: int, maps: int) -> Iterator[slice]:
    """Return slices of the cells, each so small that an array with these rows and maps fits into a cache."""
    size = max(1, _BLOCK_BYTES // (4 * rows * maps))
    return (slice(start, start + size) for start in range(0, cells, size))


def _shares(top: NDArray[np.float64], mass: NDArray[np.float64]) -> Array:
    """Return the weights that turn M sums into averages, (R, M): a row for all sums, then one without each sum."""
    filled = mass > 0
    groups = np.flatnonzero(filled)
    taken = np.stack([filled] + [filled & (np.arange(len(filled)) != group) for group in groups if len(groups) > 1])
    rows = _factors(taken, top, np.where(taken, top, -np.inf).max(axis=-1, keepdims=True))
    with np.errstate(invalid="ignore"):
        return np.asarray(rows / (rows * mass).sum(axis=-1, keepdims=True), np.float32)


def _factors(counted: NDArray[np.bool_], scores: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e^(scores - top) where `counted`, else 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(counted, np.exp(scores - top), 0)


def _weighted(factors: NDArray[np.float64], values: Array) -> Array:
    return factors.astype(np.float32)[:, None, None] * values
