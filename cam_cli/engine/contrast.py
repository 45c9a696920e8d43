"""The score of a class against others: S_c minus the mean of theirs (Finer-CAM, Zhang et al. 2025, arXiv 2501.11309).

Finer-CAM's own code weighs the other classes by their probabilities and scales their scores by a factor alpha. Here all count
alike, with a factor of 1: the maps of linear methods before their ReLU are then the difference of the classes' own maps.

Classes are picked by products with rows of 0 and 1, because OpenVINO 2026.4 reads outside its memory when it gathers.
"""

import numpy as np
import tensorflow as tf

from cam_cli.contrast import SECOND


def resolved(scores: tf.Tensor, targets: tf.Tensor, asked: tf.Tensor) -> tf.Tensor:
    """Return the classes that targets are explained against, (B, T, R) int32, -1 for none.

    The target itself is none of them, and a class that is met twice counts once.

    Args:
        scores: of the clean images, (B, classes).
        targets: class indices, (B, T) int32.
        asked: class indices or the numbers of `cam_cli.contrast`, (B, T, R) int32.
    """
    classes = scores.shape[-1]
    all_classes = scores[:, None, :]
    is_own = tf.one_hot(targets, classes, on_value=True, off_value=False, dtype=tf.bool)
    own = tf.reduce_sum(tf.where(is_own, all_classes, tf.zeros_like(all_classes)), axis=-1, keepdims=True)
    infinite = tf.fill(tf.shape(is_own), tf.constant(np.inf, scores.dtype))
    by_rank = tf.broadcast_to(_order(-all_classes), tf.shape(is_own))
    others = _order(tf.where(is_own, infinite, -all_classes))
    nearest = _order(tf.where(is_own, infinite, tf.abs(all_classes - own)))

    def at(order: tf.Tensor, ranks: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.one_hot(ranks, classes, dtype=tf.int32) * order[..., None, :], axis=-1)

    last = classes - 1
    follows = [asked == SECOND, (asked < SECOND) & (asked >= SECOND - last), (asked < 0) & (asked >= -last - 1)]
    found = tf.where(asked >= 0, asked, -1)
    found = tf.where(follows[0], at(others, tf.zeros_like(asked)), found)
    found = tf.where(follows[1], at(nearest, SECOND - 1 - asked), found)
    found = tf.where(follows[2], at(by_rank, -asked - 1), found)
    before = np.tril(np.ones((asked.shape[-1],) * 2, bool), -1)
    again = tf.reduce_any((found[..., :, None] == found[..., None, :]) & before, axis=-1)
    return tf.where((found == targets[..., None]) | again, -1, found)


def contrast_weights(targets: tf.Tensor, against: tf.Tensor, classes: int, dtype: tf.DType) -> tf.Tensor:
    """Return what each class's score counts in the score of a target, (B, T, classes): 1 for itself, -1/n for each of n others.

    Args:
        targets: class indices, (B, T).
        against: class indices, (B, T, R), -1 for none.
    """
    others = tf.reduce_sum(tf.one_hot(against, classes, dtype=dtype), axis=2)  # a row of zeros for -1
    counts = tf.maximum(tf.reduce_sum(others, axis=-1, keepdims=True), 1)
    return tf.one_hot(targets, classes, dtype=dtype) - others / counts


def _order(scores: tf.Tensor) -> tf.Tensor:
    return tf.argsort(scores, stable=True)
