"""A Keras model turned into one frozen graph: images and noise in, scores, activations and gradients out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli.engine import formulas
from cam_cli.engine.anatomy import last_output, logits_of
from cam_cli.errors import UsageError
from cam_cli.models.calls import run_model, watching
from cam_cli.models.grid import Grid
from cam_cli.quiet import native_chatter_silenced


@dataclass(frozen=True)
class Noise:
    """How much noise the samples carry: `std_dev` is a share of each image's value range (`scale` is `range`) or a
    number of preprocessed units (`absolute`).
    """

    std_dev: float = 0.15
    scale: str = "range"


@dataclass(frozen=True)
class Shape:
    """The fixed sizes a graph is traced for: `images` and `samples` in one pass, and `targets` for each image."""

    images: int
    samples: int
    targets: int
    input: tuple[int, int, int]


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


MOST_FROZEN_PARAMETERS = 250_000_000

ARGUMENTS = 4
"""Of a pass: images, seeds, which samples are live, targets; a function's further inputs are its variables."""

INPUT = "input"
"""The name under which the network's input is explained, for the maps that live there."""


class FrozenNetwork:
    """One pass through the network, traced once with fixed shapes and frozen to constants.

    Only the part between a layer and the score is differentiated, so a pass costs little more than a forward pass.

    Args:
        model: any Keras 3 classifier; it is traced, never changed.
        layers, grids: the layers to explain and how each lies on the image, by path.
        shape: the sizes of a pass.
        noise: what is added to the samples marked live.
        exact: layers whose second and third derivatives are wanted too; they must be separable.
        to_input: also differentiate down to the image.

    Raises:
        ModelError: as `examine` does.
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Mapping[str, keras.Layer],
        grids: Mapping[str, Grid],
        shape: Shape,
        noise: Noise,
        exact: Collection[str] = (),
        to_input: bool = False,
    ) -> None:
        self.shape = shape
        self.layers = (*layers, INPUT) if to_input else tuple(layers)

        @tf.function(autograph=False)
        def run(
            x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, targets: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[list[list[tf.Tensor]]]]:
            samples = _with_noise(x, seeds, live, noise, shape)
            with watching(layers) as seen:
                output = run_model(model, samples)
            logits, _ = logits_of(output)
            taps = [last_output(path, calls, logits.graph) for path, calls in seen.items()]
            if to_input:
                taps.append(samples)

            def spread(i: int, tensor: tf.Tensor) -> tf.Tensor:
                grid = grids.get(self.layers[i])
                return _by_sample(grid.spread(tensor) if grid else tensor, shape)

            orders = [3 if path in exact else 1 for path in self.layers]
            by_sample = tf.reshape(tf.cast(logits, tf.float32), (shape.images, shape.samples, -1))
            chosen = _resolve_ranks(targets, by_sample[:, 0])
            rows = tf.repeat(chosen, shape.samples, axis=0)
            scores = [tf.gather(logits, rows[:, t], batch_dims=1) for t in range(shape.targets)]
            gradients = [self._checked(tf.gradients(score, taps)) for score in scores]
            return (
                by_sample,
                chosen,
                [spread(i, tap)[:, 0] for i, tap in enumerate(taps)],
                [
                    [[spread(i, d) for d in _derivatives(g[i], tap, orders[i])] for g in gradients]
                    for i, tap in enumerate(taps)
                ],
            )

        with native_chatter_silenced():
            concrete = run.get_concrete_function(
                tf.TensorSpec((shape.images, *shape.input), tf.float32, "x"),
                tf.TensorSpec((shape.images, shape.samples, 2), tf.int64, "seeds"),
                tf.TensorSpec((shape.images, shape.samples), tf.float32, "live"),
                tf.TensorSpec((shape.images, shape.targets), tf.int32, "targets"),
            )
            self._frozen = _frozen(concrete, model.count_params())
        self._structure = concrete.structured_outputs

    def _checked(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor]:
        for path, gradient in zip(self.layers, gradients, strict=True):
            if gradient is None:
                raise UsageError(
                    f"layer '{path}': no gradient comes down to it; something above it, such as rounding or stop_gradient, "
                    "holds it back"
                )
        return gradients

    def __call__(self, x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, targets: tf.Tensor) -> Pass:
        """Run one pass.

        Args:
            x: preprocessed images, (B, H, W, C) float32.
            seeds: one pair of integers for each image and sample, (B, M, 2) int64; the sample's noise follows from it.
            live: (B, M) float32, 1 where noise is added, 0 where the sample is the clean image.
            targets: (B, T) int32, a class index, or -r for the class of rank r in the first sample's scores.
        """
        flat = self._frozen(tf.constant(x), tf.constant(seeds), tf.constant(live), tf.constant(targets))
        logits, chosen, activations, derivatives = tf.nest.pack_sequence_as(self._structure, flat)
        return Pass(
            logits,
            chosen,
            dict(zip(self.layers, activations, strict=True)),
            dict(zip(self.layers, derivatives, strict=True)),
        )


def _frozen(concrete: Any, parameters: int) -> Callable[..., list[tf.Tensor]]:
    """Return the function with its variables as constants, which fuses and runs faster.

    Where loops forbid it, or the many copies of the weights that freezing makes would fill the memory, return it as it is.
    """
    run = concrete
    if parameters <= MOST_FROZEN_PARAMETERS:
        with suppress(ValueError):
            run = convert_variables_to_constants_v2(concrete)

    # Called by itself, a frozen function writes out all its arguments for an error message that it then keeps to itself.
    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec(i.shape, i.dtype) for i in concrete.inputs[:ARGUMENTS]]
    )
    def flat(*arguments: tf.Tensor) -> list[tf.Tensor]:
        found: list[tf.Tensor] = tf.nest.flatten(run(*arguments))
        return found

    called: Callable[..., list[tf.Tensor]] = flat.get_concrete_function()
    return called


def _with_noise(x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, noise: Noise, shape: Shape) -> tf.Tensor:
    rows = tf.repeat(x, shape.samples, axis=0)
    if noise.std_dev == 0:
        return rows
    drawn = tf.stack(
        [
            tf.random.stateless_normal(shape.input, seeds[b, m], alg="philox")
            for b in range(shape.images)
            for m in range(shape.samples)
        ]
    )
    amplitude = formulas.sigma(x, noise.std_dev, noise.scale)[:, None] * live
    return rows + tf.reshape(amplitude, (-1, 1, 1, 1)) * drawn


def _derivatives(gradient: tf.Tensor, tap: tf.Tensor, orders: int) -> list[tf.Tensor]:
    """Return the first `orders` derivatives; of a diagonal matrix, the sums over its rows are the diagonal."""
    found = [gradient]
    while len(found) < orders:
        (further,) = tf.gradients(found[-1], [tap], unconnected_gradients="zero")
        found.append(further)
    return found


def _resolve_ranks(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    by_rank = tf.argsort(logits, direction="DESCENDING", stable=True)
    ranked = tf.gather(by_rank, tf.maximum(-targets - 1, 0), batch_dims=1)
    return tf.where(targets < 0, ranked, targets)


def _by_sample(tensor: tf.Tensor, shape: Shape) -> tf.Tensor:
    cast = tf.cast(tensor, tf.float32)
    return tf.reshape(cast, (shape.images, shape.samples, *tensor.shape[1:]))
