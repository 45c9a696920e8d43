"""Channel weights out of noisy samples: running sums of constant size, and what they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine import formulas

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ChannelEvidence:
    """The weight of each of a layer's K feature maps for one class of one image.

    weights: (K,). guarded: (K,) cells the guard of `formulas.alpha` set to 0. clean: (K,) the same weights without
    noise. leave_outs: (G, K), the weights with one group of samples left out, for the jackknife; None where there is
    no noise to speak of.
    """

    weights: Array
    guarded: NDArray[np.int32]
    clean: Array
    leave_outs: Array | None = None


class RunningSums:
    """sum_m e^{S_m} g_m^p for p = 1, 2, 3, kept for each image (B) and each place in a pass (M).

    Sample m of a run lands in place m mod M, so that M also is the number of groups for the jackknife, and memory does
    not grow with the number of samples. The sums are scaled by e^-top with the largest score met so far, so that
    no score can overflow.
    """

    def __init__(self, published_score: bool) -> None:
        self._published_score = published_score
        self._state: tuple[tf.Tensor, ...] = ()

    def add(self, scores: tf.Tensor, derivatives: Sequence[tf.Tensor], live: tf.Tensor) -> None:
        """Add one pass.

        Args:
            scores: S of the target class, (B, M).
            derivatives: dS/dA, or with its second and third, (B, M, h, w, K) each.
            live: (B, M), 0 for what does not count.
        """
        scores = scores if self._published_score else tf.zeros_like(scores)
        if self._state:
            self._state = _continued(*self._state, scores, list(derivatives), live)
        else:
            self._state = _begun(scores, list(derivatives), live)

    def mean_gradients(self) -> Array:
        """Return D1 of every image of the batch, (B, h, w, K): the averaged gradient."""
        top, mass, first, *_ = self._state
        shares = _shares(top.numpy(), mass.numpy())[:, :1]
        return np.asarray(formulas.averaged_derivative(shares, first))[:, 0]

    def evidence(
        self, clean: Sequence[ChannelEvidence], activations: tf.Tensor, numerator: str
    ) -> list[ChannelEvidence]:
        """Return what the samples so far say about each image of the batch; `activations` are its clean (B, h, w, K)."""
        top, mass, *powers = self._state
        weights, guarded = _weights(_shares(top.numpy(), mass.numpy()), *powers, activations, numerator)
        every, cells = weights.numpy(), guarded.numpy()
        return [
            ChannelEvidence(w[0], g, without.weights, w[1:] if len(w) > 2 else None)
            for w, g, without in zip(every, cells, clean, strict=True)
        ]


def clean_evidence(derivatives: Sequence[tf.Tensor], activations: tf.Tensor, numerator: str) -> list[ChannelEvidence]:
    """Grad-CAM++: the same formulas for each clean image alone (n = 0); all arrays (B, h, w, K)."""
    weights, guarded = _clean_weights(list(derivatives), activations, numerator)
    return [ChannelEvidence(w, cells, w) for w, cells in zip(weights.numpy(), guarded.numpy(), strict=True)]


def _shares(top: Array, mass: Array) -> Array:
    """Weights that turn the places' sums into averages, (B, R, M): a row for all samples, then one without each place.

    The places that hold samples are the same for all images of a batch.
    """
    filled = mass[0] > 0
    places = np.flatnonzero(filled)
    taken = np.stack([filled] + [filled & (np.arange(len(filled)) != place) for place in places if len(places) > 1])
    scores = np.where(taken, top[:, None], -np.inf)
    rows = np.where(taken, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0)
    return np.asarray(rows / (rows * mass[:, None]).sum(axis=-1, keepdims=True), np.float32)


@tf.function(autograph=False, reduce_retracing=True)
def _begun(scores: tf.Tensor, derivatives: list[tf.Tensor], live: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """What is not live has no mass, so that its powers never count."""
    return tf.where(live > 0, scores, -np.inf), live, *formulas.derivatives_of_exp(*derivatives)


@tf.function(autograph=False, reduce_retracing=True)
def _continued(
    top: tf.Tensor,
    mass: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    third: tf.Tensor,
    scores: tf.Tensor,
    derivatives: list[tf.Tensor],
    live: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    higher = tf.where(live > 0, tf.maximum(top, scores), top)
    keep = tf.where(mass > 0, tf.exp(top - higher), 0)
    gain = tf.where(live > 0, tf.exp(scores - higher), 0)
    k, a = keep[..., None, None, None], gain[..., None, None, None]
    powers = formulas.derivatives_of_exp(*derivatives)
    sums = (k * total + a * power for total, power in zip((first, second, third), powers, strict=True))
    return higher, keep * mass + gain, *sums


@tf.function(autograph=False, reduce_retracing=True)
def _weights(
    shares: tf.Tensor, first: tf.Tensor, second: tf.Tensor, third: tf.Tensor, A: tf.Tensor, numerator: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the channel weights of each row of `shares`, (B, R, K), and the guarded cells of the first, (B, K)."""

    def averaged_with(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        D1, D2, D3 = (formulas.averaged_derivative(rows, power) for power in (first, second, third))
        return formulas.channel_weights(D1, D2, D3, A[:, None], numerator)

    every, guarded = averaged_with(shares[:, :1])
    leave_outs, _ = averaged_with(shares[:, 1:])
    return tf.concat([every, leave_outs], axis=1), guarded[:, 0]


@tf.function(autograph=False, reduce_retracing=True)
def _clean_weights(derivatives: list[tf.Tensor], A: tf.Tensor, numerator: str) -> tuple[tf.Tensor, tf.Tensor]:
    return formulas.channel_weights(*formulas.derivatives_of_exp(*derivatives), A, numerator)
