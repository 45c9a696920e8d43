"""The mathematics of Smooth Grad-CAM++ as pure functions of arrays, to be read beside the paper.

Omeiza et al. 2019 (arXiv 1908.01224) is "the paper", Chattopadhay et al. 2018 (arXiv 1710.11063) "Grad-CAM++".

Symbols: `A` activations of the clean image, (h, w, K); `S` the class score (a logit) of each noisy sample;
`g = dS/dA`. With Y = exp(S), and S piecewise linear in A, the n-th derivative of Y is e^S g^n (Grad-CAM++, section 3.2).
Leading axes are free: each function works on one map or on a stack of them.
"""

from __future__ import annotations

import tensorflow as tf


def sigma(x: tf.Tensor, std_dev: float, scale: str) -> tf.Tensor:
    """Standard deviation of the noise for each image.

    Args:
        x: preprocessed images, (B, H, W, C).
        std_dev: the paper's sigma; a share of the image's value range (`range`, SmoothGrad's convention) or a number
            of preprocessed units (`absolute`).
        scale: `range` or `absolute`.

    Returns:
        (B,), in preprocessed units.
    """
    if scale == "absolute":
        return tf.fill([tf.shape(x)[0]], tf.constant(std_dev, x.dtype))
    spread = tf.reduce_max(x, axis=(1, 2, 3)) - tf.reduce_min(x, axis=(1, 2, 3))
    return std_dev * spread


def derivatives_of_exp(
    g: tf.Tensor, second: tf.Tensor | None = None, third: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """First three derivatives of Y = exp(S) with respect to each cell of A, over Y.

    The closed form g, g^2, g^3 holds where S is piecewise linear in A. With the true second and third derivatives of S, where
    they are diagonal, it is g, g^2 + d2S, g^3 + 3 g d2S + d3S everywhere (ours; the chain rule for exp).
    """
    if second is None or third is None:
        return g, g**2, g**3
    return g, g**2 + second, g**3 + 3 * g * second + third


def averaged_derivative(shares: tf.Tensor, powers: tf.Tensor) -> tf.Tensor:
    """One of D1, D2, D3: the noisy samples' derivatives, averaged (the paper, Eq. 5 to 8).

    Args:
        shares: weight of each sample, (..., r, m), a row for each average that is wanted; a softmax of the scores, because
            averaging derivatives of exp(S) weighs sample m by e^S_m and a common factor cancels in alpha * ReLU(D1) up to the
            map's scale.
        powers: g, g^2 or g^3 of each sample, (..., m, h, w, K).

    Returns:
        (..., r, h, w, K).
    """
    return tf.einsum("...rm,...mhwk->...rhwk", shares, powers)


def alpha(D1: tf.Tensor, D2: tf.Tensor, D3: tf.Tensor, A: tf.Tensor, numerator: str) -> tf.Tensor:
    """Weight of each cell: D2 / (2 D2 + (sum_ab A_ab) D3) (the paper, Eq. 5; Grad-CAM++, Eq. 19).

    Computed as 1 / (2 + (sum_ab A_ab) D3 / D2). The sum over A is taken first and multiplied with D3 of the cell, never summed
    as a product. The denominator is signed and can cross zero; where alpha would leave 0..1, that is where 2 + ... falls
    below 1, alpha is 0. This guard, ours, does not change when S is rescaled, as an epsilon would. Where D2 is 0, so is
    alpha; what is not finite stays so.

    Args:
        D1: averaged first derivative, (..., h, w, K); D2 and D3 alike.
        A: the clean image's activations, (..., h, w, K).
        numerator: `second` for D2 (Eq. 5) or `first` for D1 (Eq. 7 as printed, against the paper's own derivation).

    Returns:
        alpha, (..., h, w, K).
    """
    reciprocal = _reciprocal(D2, D3, A)
    cells = D1 / (D2 * reciprocal) if numerator == "first" else 1 / reciprocal
    return tf.where(reciprocal >= 1, cells, 0 * D2)


def guarded_cells(D2: tf.Tensor, D3: tf.Tensor, A: tf.Tensor) -> tf.Tensor:
    """How many cells of each map the guard of `alpha` sets to 0, (..., K) int32."""
    guarded = tf.not_equal(D2, 0) & ~(_reciprocal(D2, D3, A) >= 1)
    return tf.reduce_sum(tf.cast(guarded, tf.int32), axis=(-3, -2))


def channel_weights(D1: tf.Tensor, D2: tf.Tensor, D3: tf.Tensor, A: tf.Tensor, numerator: str) -> tf.Tensor:
    """w_k = sum_ij alpha_ij ReLU(D1_ij) (the paper, Eq. 8; Grad-CAM++, Eq. 10), (..., K)."""
    return tf.reduce_sum(alpha(D1, D2, D3, A, numerator) * tf.nn.relu(D1), axis=(-3, -2))


def _reciprocal(D2: tf.Tensor, D3: tf.Tensor, A: tf.Tensor) -> tf.Tensor:
    area = tf.reduce_sum(A, axis=(-3, -2), keepdims=True)
    return 2 + area * (D3 / D2)
