"""The mathematics of Smooth Grad-CAM++ as pure functions of NumPy arrays, to be read beside the paper.

Omeiza et al. 2019 (arXiv 1908.01224) is "the paper", Chattopadhay et al. 2018 (arXiv 1710.11063) "Grad-CAM++".

Symbols: `A` activations of the clean image; `S` the class score (a logit) of each noisy sample; `g = dS/dA`. With Y = exp(S),
and S piecewise linear in A, the n-th derivative of Y is e^S g^n (Grad-CAM++, section 3.2). The last two axes of an array are
the cells (i, j) of a map, or a part of them, and the K feature maps; leading axes are free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def derivatives_of_exp(g: Array, second: Array | None = None, third: Array | None = None) -> tuple[Array, Array, Array]:
    """First three derivatives of Y = exp(S) with respect to each cell of A, over Y.

    The closed form g, g^2, g^3 holds where S is piecewise linear in A. With the true second and third derivatives of S, where
    they are diagonal, it is g, g^2 + d2S, g^3 + 3 g d2S + d3S everywhere (ours; the chain rule for exp).
    """
    square = g * g
    if second is None or third is None:
        return g, square, square * g
    return g, square + second, square * g + 3 * g * second + third


def averaged_derivative(shares: Array, powers: Array) -> Array:
    """One of D1, D2, D3: the noisy samples' derivatives, averaged (the paper, Eq. 5 to 8).

    Args:
        shares: weight of each sample, (r, m), a row for each average that is wanted; a softmax of the scores, because
            averaging derivatives of exp(S) weighs sample m by e^S_m and a common factor cancels in alpha * ReLU(D1) up to the
            map's scale.
        powers: g, g^2 or g^3 of each sample, (m, cells, K); any part of the cells.

    Returns:
        (r, cells, K).
    """
    flat = np.asarray(shares @ powers.reshape(len(powers), -1), np.float32)
    return flat.reshape(len(shares), *powers.shape[1:])


def alpha(D1: Array, D2: Array, D3: Array, area: Array, numerator: str) -> Array:
    """Weight of each cell: D2 / (2 D2 + (sum_ab A_ab) D3) (the paper, Eq. 5; Grad-CAM++, Eq. 19).

    Computed as 1 / (2 + (sum_ab A_ab) D3 / D2). The sum over A is taken first and multiplied with D3 of the cell, never summed
    as a product. The denominator is signed and can cross zero; where alpha would leave 0..1, that is where 2 + ... falls
    below 1, alpha is 0. This guard, ours, does not change when S is rescaled, as an epsilon would. Where D2 is 0, so is
    alpha.

    Args:
        D1: averaged first derivative, (..., cells, K), of any part of the cells; D2 and D3 alike.
        area: sum_ab A_ab of the clean image's activations over all cells, (K,).
        numerator: `second` for D2 (Eq. 5) or `first` for D1 (Eq. 7 as printed, against the paper's own derivation).

    Returns:
        alpha, (..., cells, K).
    """
    bracket = _bracket(D2, D3, area)
    within = bracket >= 1
    cells = np.asarray(within / np.fmax(bracket, 1), np.float32)
    if numerator == "first":
        np.divide(D1, D2 * bracket, out=cells, where=within)
    return cells


def guarded_cells(D2: Array, D3: Array, area: Array) -> NDArray[np.int64]:
    """How many of the cells given the guard of `alpha` sets to 0, (..., K)."""
    guarded = (D2 != 0) & ~(_bracket(D2, D3, area) >= 1)
    return np.asarray(guarded.sum(axis=-2))


def channel_weights(D1: Array, D2: Array, D3: Array, area: Array, numerator: str) -> Array:
    """w_k = sum_ij alpha_ij ReLU(D1_ij) (the paper, Eq. 8; Grad-CAM++, Eq. 10) over the cells given, (..., K)."""
    return np.asarray(np.einsum("...ik,...ik->...k", alpha(D1, D2, D3, area, numerator), np.maximum(D1, 0)))


def _bracket(D2: Array, D3: Array, area: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        bracket = D3 / D2
        bracket *= area
    bracket += 2
    return bracket
