"""The mathematics of Smooth Grad-CAM++ as pure functions of NumPy arrays, in the paper's symbols.

Omeiza et al. 2019 (arXiv 1908.01224) is "the paper", Chattopadhay et al. 2018 (arXiv 1710.11063) "Grad-CAM++".

Symbols: `A` activations of the clean image; `S` the class score (a logit) of each noisy sample; `g = dS/dA`. With Y = exp(S),
and S piecewise linear in A, the n-th derivative of Y is e^S g^n (Grad-CAM++, section 3.2). The last two axes of an array are
the cells (i, j) of a map, or some of them, and the K feature maps.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def derivatives_of_exp(g: Array, second: Array | None = None, third: Array | None = None) -> tuple[Array, Array, Array]:
    """Return the first three derivatives of Y = exp(S) with respect to each cell of A, divided by Y.

    The closed form g, g^2, g^3 holds if S is piecewise linear in A. With the true second and third derivatives of S, if they
    are diagonal, g, g^2 + d2S, g^3 + 3 g d2S + d3S holds for every S (ours; the chain rule for exp).
    """
    square = g * g
    if second is None or third is None:
        return g, square, square * g
    return g, square + second, square * g + 3 * g * second + third


def averaged_derivative(shares: Array, powers: Array) -> Array:
    """Return D1, D2 or D3: the derivatives, averaged over the noisy samples (the paper, Eq. 5 to 8).

    Args:
        shares: weights of the samples, (r, m), a row for each average. They are a softmax of the scores, because the average of
            derivatives of exp(S) weighs sample m by e^S_m, and a common factor only changes the map's scale.
        powers: g, g^2 or g^3 of each sample, (m, cells, K).

    Returns:
        (r, cells, K).
    """
    flat = np.asarray(shares @ powers.reshape(len(powers), -1), np.float32)
    return flat.reshape(len(shares), *powers.shape[1:])


def alpha(D1: Array, D2: Array, D3: Array, area: Array, numerator: str) -> Array:
    """Return the weight of each cell: D2 / (2 D2 + (sum_ab A_ab) D3) (the paper, Eq. 5; Grad-CAM++, Eq. 19).

    It is computed as 1 / (2 + (sum_ab A_ab) D3 / D2). The denominator is signed and can cross zero. If it is below 1, alpha
    would be outside 0..1 and is set to 0. This guard is ours; unlike an epsilon, it does not depend on the scale of S.
    If D2 is 0, alpha is 0.

    Args:
        D1: averaged first derivative, (..., cells, K).
        D2: averaged second derivative, alike.
        D3: averaged third derivative, alike.
        area: sum_ab A_ab of the clean image's activations over all cells, (K,).
        numerator: `second` for D2 (Eq. 5) or `first` for D1 (Eq. 7 as printed, which contradicts the paper's derivation).

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
    """Return how many of the given cells the guard of `alpha` sets to 0, (..., K)."""
    guarded = (D2 != 0) & ~(_bracket(D2, D3, area) >= 1)
    return np.asarray(guarded.sum(axis=-2))


def channel_weights(D1: Array, D2: Array, D3: Array, area: Array, numerator: str) -> Array:
    """Return w_k = sum_ij alpha_ij ReLU(D1_ij) over the given cells, (..., K) (the paper, Eq. 8; Grad-CAM++, Eq. 10)."""
    return np.asarray(np.einsum("...ik,...ik->...k", alpha(D1, D2, D3, area, numerator), np.maximum(D1, 0)))


def _bracket(D2: Array, D3: Array, area: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        bracket = D3 / D2
        bracket *= area
    bracket += 2
    return bracket
