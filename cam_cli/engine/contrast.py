"""The score of a class against others: S_c minus the mean of theirs (Finer-CAM, Zhang et al. 2025, arXiv 2501.11309).

Finer-CAM's own code weighs the other classes by their probabilities and scales their scores by a factor alpha. Here all count
alike, with a factor of 1: the maps of linear methods before their ReLU are then the difference of the classes' own maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.contrast import NO_CLASS, SECOND
from cam_cli.engine.formulas import Array

if TYPE_CHECKING:
    from cam_cli.engine.request import Subject


def resolved(scores: tf.Tensor, targets: tf.Tensor, asked: tf.Tensor) -> tf.Tensor:
    """Return the classes that targets are explained against, (B, T, R) int32, -1 for none.

    The target itself is none of them, and a class that is met twice counts once.

    Args:
        scores: of the clean images, (B, classes).
        targets: class indices, (B, T) int32.
        asked: class indices or the numbers of `cam_cli.contrast`, (B, T, R) int32.
    """
    all_classes = scores[:, None, :]
    own = tf.gather(scores, targets, batch_dims=1)[..., None]
    is_own = tf.one_hot(targets, scores.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    infinite = tf.fill(tf.shape(is_own), tf.constant(np.inf, scores.dtype))
    by_rank = tf.broadcast_to(_order(-all_classes), tf.shape(is_own))
    others = _order(tf.where(is_own, infinite, -all_classes))
    nearest = _order(tf.where(is_own, infinite, tf.abs(all_classes - own)))

    def at(order: tf.Tensor, ranks: tf.Tensor) -> tf.Tensor:
        return tf.gather(order, tf.clip_by_value(ranks, 0, order.shape[-1] - 1), batch_dims=2)

    last = scores.shape[-1] - 1
    follows = [asked == SECOND, (asked < SECOND) & (asked >= SECOND - last), (asked < 0) & (asked >= -last - 1)]
    found = tf.where(asked >= 0, asked, -1)
    found = tf.where(follows[0], at(others, tf.zeros_like(asked)), found)
    found = tf.where(follows[1], at(nearest, SECOND - 1 - asked), found)
    found = tf.where(follows[2], at(by_rank, -asked - 1), found)
    earlier = tf.linalg.band_part(found[..., :, None] == found[..., None, :], -1, 0)
    again = tf.reduce_any(tf.linalg.set_diag(earlier, tf.zeros_like(found, tf.bool)), axis=-1)
    return tf.where((found == targets[..., None]) | again, -1, found)


def contrasted(logits: tf.Tensor, targets: tf.Tensor, against: tf.Tensor) -> tf.Tensor:
    """Return S_c minus the mean of the others' scores, (rows,); S_c where there are none.

    Args:
        logits: (rows, classes).
        targets: class indices, (rows,).
        against: class indices, (rows, R), -1 for none.
    """
    counts = tf.cast(against >= 0, logits.dtype)
    others = tf.gather(logits, tf.maximum(against, 0), batch_dims=1)
    mean = tf.math.divide_no_nan(tf.reduce_sum(others * counts, axis=-1), tf.reduce_sum(counts, axis=-1))
    return tf.gather(logits, targets, batch_dims=1) - mean


def contrasted_scores(logits: Array, target: int, against: NDArray[np.int32]) -> Array:
    """Return the same of scores that are known: (..., classes) to (...)."""
    others = against[against >= 0]
    own = logits[..., target]
    return np.asarray(own - logits[..., others].mean(axis=-1) if len(others) else own)


def asked_of(subjects: Sequence[Subject], targets: int, count: int) -> NDArray[np.int32] | None:
    """Return what a pass is asked, (B, targets, count), for images with so many classes or fewer; None for a count of 0."""
    rows = [[(subject.against + (NO_CLASS,) * count)[:count]] * targets for subject in subjects]
    return np.array(rows, np.int32) if count else None


def settled(against: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """Return classes that are decided on, as `resolved` takes them; None if there are none."""
    return np.where(against < 0, NO_CLASS, against) if against.size else None


def classes_of(against: NDArray[np.int32]) -> tuple[int, ...]:
    """Return the classes among (R,) numbers of which -1 is none."""
    return tuple(int(index) for index in against if index >= 0)


def _order(scores: tf.Tensor) -> tf.Tensor:
    return tf.argsort(scores, stable=True)
