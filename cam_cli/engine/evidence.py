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
        self._only: tuple[tf.Tensor, list[tf.Tensor], tf.Tensor] | None = None
        self._sums: tuple[tf.Tensor, ...] = ()
        self._places: tuple[int, ...] = ()

    def add(self, scores: tf.Tensor, derivatives: Sequence[tf.Tensor], live: Array) -> None:
        """Add one pass.

        Args:
            scores: S of the target class, (B, M).
            derivatives: dS/dA, or with its second and third, (B, M, h, w, K) each.
            live: (B, M), 0 for what does not count; the same for all images.
        """
        scores = scores if self._published_score else tf.zeros_like(scores)
        added = (scores, list(derivatives), tf.constant(live))
        if self._only:
            self._sums = _sums(*self._only)
        self._only = None if self._sums else added
        if self._sums:
            self._sums = _continued(*self._sums, *added)
        self._places = tuple(sorted({*self._places, *np.flatnonzero(live[0]).tolist()}))

    def mean_gradients(self) -> Array:
        """Return D1 of every image of the batch, (B, h, w, K): the averaged gradient."""
        top, mass, first, *_ = self._sums or _sums(*self._only)  # type: ignore[misc]
        return np.asarray(_mean(top, mass, first, self._places))

    def evidence(
        self, clean: Sequence[tf.Tensor], activations: tf.Tensor, numerator: str
    ) -> list[tuple[ChannelEvidence, ChannelEvidence]]:
        """Return what is known about each image of the batch without noise, and with the samples so far.

        Args:
            clean: the derivatives of the clean images, (B, h, w, K) each. activations: theirs, (B, h, w, K).
        """
        weights_of, known = (_weights_of_a_pass, self._only) if self._only else (_weights, self._sums)
        found = weights_of(*known, list(clean), activations, self._places, numerator)
        return [
            (
                ChannelEvidence(without, cells_without, without),
                ChannelEvidence(every[0], cells, without, every[1:] if len(every) > 1 else None),
            )
            for every, cells, without, cells_without in zip(*(values.numpy() for values in found), strict=True)
        ]


def clean_evidence(
    derivatives: Sequence[tf.Tensor], activations: tf.Tensor, numerator: str
) -> list[tuple[ChannelEvidence, None]]:
    """Grad-CAM++: the same formulas for each clean image alone (n = 0); all arrays (B, h, w, K)."""
    weights, guarded = _clean_weights(list(derivatives), activations, numerator)
    return [(ChannelEvidence(w, cells, w), None) for w, cells in zip(weights.numpy(), guarded.numpy(), strict=True)]


def _shares(top: tf.Tensor, mass: tf.Tensor, taken: NDArray[np.bool_]) -> tf.Tensor:
    """Weights that turn the places' sums into averages over the places taken: (B, M) and (R, M) to (B, R, M)."""
    scores = tf.where(taken, top[:, None], -np.inf)
    rows = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    return rows / tf.reduce_sum(rows * mass[:, None], axis=-1, keepdims=True)


def _all_and_leave_outs(places: tuple[int, ...], of: int) -> NDArray[np.bool_]:
    """Which places are taken, (R, M): all that hold samples, then, if there are several, these without each."""
    filled = np.isin(np.arange(of), places)
    without = [filled & (np.arange(of) != place) for place in places if len(places) > 1]
    return np.stack([filled, *without])


def _begun(scores: tf.Tensor, derivatives: list[tf.Tensor], live: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """What is not live has no mass, so that its powers never count."""
    return tf.where(live > 0, scores, -np.inf), live, *formulas.derivatives_of_exp(*derivatives)


_sums = tf.function(_begun, autograph=False, reduce_retracing=True)


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
def _mean(top: tf.Tensor, mass: tf.Tensor, first: tf.Tensor, places: tuple[int, ...]) -> tf.Tensor:
    shares = _shares(top, mass, _all_and_leave_outs(places, top.shape[1])[:1])
    return formulas.averaged_derivative(shares, first)[:, 0]


def _weights_of_sums(
    top: tf.Tensor,
    mass: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    third: tf.Tensor,
    clean: list[tf.Tensor],
    A: tf.Tensor,
    places: tuple[int, ...],
    numerator: str,
) -> tuple[tf.Tensor, ...]:
    """Return channel weights and guarded cells, with noise and without.

    The weights with noise are (B, R, K), of all samples and of all but each; the rest is (B, K).
    """
    shares = _shares(top, mass, _all_and_leave_outs(places, top.shape[1]))
    D1, D2, D3 = (formulas.averaged_derivative(shares, power) for power in (first, second, third))
    weights = formulas.channel_weights(D1, D2, D3, A[:, None], numerator)
    return weights, formulas.guarded_cells(D2[:, 0], D3[:, 0], A), *_weights_of_clean(clean, A, numerator)


def _weights_of_clean(derivatives: list[tf.Tensor], A: tf.Tensor, numerator: str) -> tuple[tf.Tensor, tf.Tensor]:
    D1, D2, D3 = formulas.derivatives_of_exp(*derivatives)
    return formulas.channel_weights(D1, D2, D3, A, numerator), formulas.guarded_cells(D2, D3, A)


def _weights_of_a_single_pass(
    scores: tf.Tensor,
    derivatives: list[tf.Tensor],
    live: tf.Tensor,
    clean: list[tf.Tensor],
    A: tf.Tensor,
    places: tuple[int, ...],
    numerator: str,
) -> tuple[tf.Tensor, ...]:
    top, mass, first, second, third = _begun(scores, derivatives, live)
    return _weights_of_sums(top, mass, first, second, third, clean, A, places, numerator)


_weights, _weights_of_a_pass, _clean_weights = (
    tf.function(function, autograph=False, reduce_retracing=True)
    for function in (_weights_of_sums, _weights_of_a_single_pass, _weights_of_clean)
)
