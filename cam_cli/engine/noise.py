"""Gaussian noise that follows from a seed alone, by the generator Philox and the Box-Muller transform.

`tf.random.stateless_normal` uses the same two, but number by number and with twice as many random bits. The whole-tensor
operations here are vectorised, on a CPU and on a GPU.
"""

import math

import tensorflow as tf

_ANGLE_BITS = 12
_RADIUS_BITS = 32 - _ANGLE_BITS


def sigma(x: tf.Tensor, std_dev: float, scale: str) -> tf.Tensor:
    """Return the standard deviation of the noise for each image, (B,), in preprocessed units.

    Args:
        x: preprocessed images, (B, H, W, C).
        std_dev: the paper's sigma.
        scale: `range` if sigma is a share of the image's value range (as in SmoothGrad), `absolute` if it is in preprocessed
            units.
    """
    if scale == "absolute":
        return tf.fill([tf.shape(x)[0]], tf.constant(std_dev, x.dtype))
    spread = tf.reduce_max(x, axis=(1, 2, 3)) - tf.reduce_min(x, axis=(1, 2, 3))
    return std_dev * spread


def noise(count: int, seed: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Return `count` numbers from N(0, deviation^2), (count,) float32 (the paper, Eq. 1; Box and Muller 1958).

    The seed is (2,) int64. Each pair is r cos t, r sin t with r = deviation sqrt(-2 ln u). u and t are made from 20 and 12 bits
    of one random word, as the middles of their intervals. No number is beyond 5.4 deviations; one in 13 million should be.
    """
    pairs = (count + 1) // 2
    words = tf.random.stateless_uniform((pairs,), seed, None, None, tf.uint32, alg="philox")
    u = _middles(tf.bitwise.right_shift(words, tf.constant(_ANGLE_BITS, tf.uint32))) * 2.0**-_RADIUS_BITS
    t = _middles(tf.bitwise.bitwise_and(words, tf.constant(2**_ANGLE_BITS - 1, tf.uint32))) * (
        2 * math.pi * 2.0**-_ANGLE_BITS
    )
    r = tf.sqrt(tf.math.log(u) * (-2 * deviation**2))
    return tf.concat([r * tf.cos(t), r * tf.sin(t)], axis=0)[:count]


def _middles(numbers: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.bitcast(numbers, tf.int32), tf.float32) + 0.5
