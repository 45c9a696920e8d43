"""One pass through the network: many rows of images and noise at a time, in a graph of fixed shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from cam_cli.engine.tracing import FrozenGraph, PassFunction, Wanted


@dataclass(frozen=True)
class Pass:
    """What one pass found; B images, M samples of each, T targets.

    logits: (B, M, classes) float32. targets: (B, T) int32, every rank resolved to a class index.
    activations: for each layer (B, h, w, K) float32, of each image's first sample.
    derivatives: for each layer, and each target, a list of (B, M, h, w, K) float32: dS/dA, and where they were asked for the
    diagonals of the second and third derivative. The layer INPUT stands for the noisy image itself.
    """

    logits: tf.Tensor
    targets: tf.Tensor
    activations: dict[str, tf.Tensor]
    derivatives: dict[str, list[list[tf.Tensor]]]


class Network:
    """A traced pass, ready to run."""

    def __init__(self, traced: FrozenGraph | PassFunction, wanted: Wanted) -> None:
        self.shape = wanted.shape
        self._wanted = wanted
        self._run = traced.function(wanted) if isinstance(traced, FrozenGraph) else traced

    def __call__(self, x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, targets: tf.Tensor) -> Pass:
        """Run one pass.

        Args:
            x: preprocessed images, (B, H, W, C) float32.
            seeds: one pair of integers for each image and sample, (B, M, 2) int64; the sample's noise follows from it.
            live: (B, M) float32, 1 where noise is added, 0 where the sample is the clean image.
            targets: (B, T) int32, a class index, or -r for the class of rank r in the first sample's scores.
        """
        found = self._run(tf.constant(x), tf.constant(seeds), tf.constant(live), tf.constant(targets))
        logits, chosen, *rest = found
        following: Iterator[tf.Tensor] = iter(rest)
        layers = self._wanted.layers
        return Pass(
            logits,
            chosen,
            {layer: next(following) for layer in layers},
            {
                layer: [[next(following) for _ in range(self._wanted.orders(layer))] for _ in range(self.shape.targets)]
                for layer in layers
            },
        )
