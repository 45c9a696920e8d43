"""A Keras model turned into the graph of one pass: images and noise in; scores, activations and gradients out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import keras
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli.engine.anatomy import last_output, logits_of
from cam_cli.engine.folding import GraphDef, folded, optimised
from cam_cli.engine.gradients import mirror
from cam_cli.engine.noise import noise, sigma
from cam_cli.errors import UsageError
from cam_cli.models.calls import run_model, walk, watching
from cam_cli.models.grid import Grid
from cam_cli.quiet import native_chatter_silenced

INPUT = "input"
"""The name under which the network's input is explained, for the maps that live there."""

MOST_FROZEN_PARAMETERS = 250_000_000
"""Freezing makes copies of the weights; those of a larger network might not fit into the memory."""

Tensors = list[tf.Tensor]
PassFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Tensors]


@dataclass(frozen=True)
class Noise:
    """How much noise the samples carry: `std_dev` is a share of each image's value range (`scale` is `range`) or a
    number of preprocessed units (`absolute`).
    """

    std_dev: float = 0.15
    scale: str = "range"


@dataclass(frozen=True)
class Shape:
    """The fixed sizes of a pass: `images` in it, `samples` of each, the first `clean` of them never with noise, and `targets`
    for each image.
    """

    images: int
    samples: int
    targets: int
    input: tuple[int, int, int]
    clean: int = 0


@dataclass(frozen=True)
class Wanted:
    """What a pass is to find out, which with the model decides its graph.

    grids: the layers to explain by path, and how each lies on the image. noise: what is added to the samples marked live.
    exact: layers whose second and third derivatives are wanted too; they must be separable. to_input: also differentiate down
    to the image, which then stands behind the layers under the name INPUT.
    """

    shape: Shape
    grids: Mapping[str, Grid]
    noise: Noise
    exact: tuple[str, ...] = ()
    to_input: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """The places that are explained, in order."""
        return (*self.grids, INPUT) if self.to_input else tuple(self.grids)

    def digest(self) -> str:
        """Return what tells this from everything else that could be wanted of the same model."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def orders(self, layer: str) -> int:
        """How many derivatives are wanted at a layer."""
        return 3 if layer in self.exact else 1

    def arguments(self) -> list[tf.TensorSpec]:
        """Return what a pass takes: images, seeds, live samples, targets (see `Network.__call__`)."""
        shape = self.shape
        return [
            tf.TensorSpec((shape.images, *shape.input), tf.float32, "x"),
            tf.TensorSpec((shape.images, shape.samples, 2), tf.int64, "seeds"),
            tf.TensorSpec((shape.images, shape.samples), tf.float32, "live"),
            tf.TensorSpec((shape.images, shape.targets), tf.int32, "targets"),
        ]


@dataclass(frozen=True)
class FrozenGraph:
    """A pass as a graph of constants, which needs no model any more. inputs, outputs: names of tensors."""

    definition: GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def keepable(self) -> bool:
        """Whether it works in another process, which Python functions inside it would not be part of."""
        return not any("PyFunc" in node.op for node in self.definition.node)

    def to_bytes(self) -> bytes:
        """Return this as the contents of a file."""
        names = json.dumps({"inputs": self.inputs, "outputs": self.outputs})
        graph: bytes = self.definition.SerializeToString()
        return names.encode() + b"\n" + graph

    @classmethod
    def from_bytes(cls, contents: bytes) -> FrozenGraph:
        """Read what `to_bytes` wrote."""
        head, _, body = contents.partition(b"\n")
        names = json.loads(head)
        definition = tf.compat.v1.GraphDef.FromString(body)
        return cls(definition, tuple(names["inputs"]), tuple(names["outputs"]))

    def in_bfloat16(self) -> FrozenGraph:
        """Return the same pass with its matrix products and convolutions in bfloat16, and the rest in float32."""
        kept = (*self.inputs, *self.outputs)
        passes = ["constfold", "auto_mixed_precision_onednn_bfloat16"]
        on = {"auto_mixed_precision_onednn_bfloat16": rewriter_config_pb2.RewriterConfig.ON}
        return replace(self, definition=optimised(self.definition, kept, passes, **on))

    def function(self, wanted: Wanted) -> PassFunction:
        """Return the pass as something to call."""

        @tf.function(autograph=False, input_signature=wanted.arguments())
        def run(*arguments: tf.Tensor) -> Tensors:
            given = dict(zip(self.inputs, arguments, strict=True))
            return list(tf.graph_util.import_graph_def(self.definition, given, list(self.outputs), name=""))

        with native_chatter_silenced():
            called: PassFunction = run.get_concrete_function()
        return called


class Graphs(Protocol):
    """Where the traced passes of one model are kept, by name."""

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name; None where there is nothing."""

    def save(self, name: str, contents: bytes) -> None:
        """Keep something for next time, if that can be done."""


def trace_pass(model: keras.Model, wanted: Wanted) -> FrozenGraph | PassFunction:
    """Trace one pass with fixed shapes, and freeze it to constants.

    The network is frozen first, and its batch norms folded into convolutions; only then it is differentiated, and only
    between a layer and the score, so that a pass costs little more than a forward pass. A network with loops is differentiated
    first. Where the many copies of the weights would fill the memory, or a loop forbids freezing, the pass is a function
    of the model's own variables.

    Raises:
        ModelError: as `examine` does. UsageError: no gradient comes down to a layer.
    """
    with native_chatter_silenced():
        forward = _frozen_forward(model, wanted) or _forward(model, wanted)

        @tf.function(autograph=False, input_signature=wanted.arguments())
        def run(x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, targets: tf.Tensor) -> Tensors:
            return _pass(forward, wanted, x, seeds, live, targets)

        concrete = run.get_concrete_function()
        if concrete.captured_inputs and model.count_params() <= MOST_FROZEN_PARAMETERS:
            with suppress(ValueError):
                concrete = convert_variables_to_constants_v2(concrete)
    if concrete.captured_inputs:
        function: PassFunction = concrete
        return function
    inputs, outputs = (tuple(tensor.name for tensor in tensors) for tensors in (concrete.inputs, concrete.outputs))
    return FrozenGraph(concrete.graph.as_graph_def(), inputs, outputs)


Forward = Callable[[tf.Tensor], tuple[tf.Tensor, Tensors]]
"""Rows of images to the logits and the outputs of the layers."""


def _forward(model: keras.Model, wanted: Wanted) -> Forward:
    everything = dict(walk(model))
    layers = {path: everything[path] for path in wanted.grids}

    def run(rows: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        with watching(layers) as seen:
            output = run_model(model, rows)
        logits, _ = logits_of(output)
        return logits, [last_output(path, calls, logits.graph) for path, calls in seen.items()]

    return run


def _frozen_forward(model: keras.Model, wanted: Wanted) -> Forward | None:
    if model.count_params() > MOST_FROZEN_PARAMETERS:
        return None
    run = tf.function(_forward(model, wanted), autograph=False)
    shape = wanted.shape
    concrete = run.get_concrete_function(tf.TensorSpec((shape.images * shape.samples, *shape.input), tf.float32))
    with suppress(ValueError):
        frozen = convert_variables_to_constants_v2(concrete)
        if len(frozen.inputs) == 1 and not any(_branches(op) for op in frozen.graph.get_operations()):
            outputs = [_on_the_way(tensor) for tensor in frozen.outputs]
            kept = [frozen.inputs[0].name, *(tensor.name for tensor in outputs)]
            definition = folded(frozen.graph.as_graph_def(), kept)
            mirror(definition)
            source, names = frozen.inputs[0].name, [tensor.name for tensor in outputs]

            def imported(rows: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
                logits, *taps = tf.graph_util.import_graph_def(definition, {source: rows}, names, name="network")
                return logits, taps

            return imported
    return None


def _branches(operation: tf.Operation) -> bool:
    """Say whether an operation belongs to a loop or a condition, or calls a function that might hold one."""
    kinds = ("Enter", "Switch", "Merge", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase")
    return operation.type in kinds or "PartitionedCall" in operation.type


def _on_the_way(output: tf.Tensor) -> tf.Tensor:
    """Return what the network itself goes on with, behind the copy that a function hands out."""
    while output.op.type == "Identity":
        output = output.op.inputs[0]
    return output


def _pass(
    forward: Forward, wanted: Wanted, x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, targets: tf.Tensor
) -> Tensors:
    """Return logits, targets, the activations of each layer, and its derivatives for each target, in a row."""
    shape = wanted.shape
    samples = _with_noise(x, seeds, live, wanted)
    logits, taps = forward(samples)
    if wanted.to_input:
        taps = [*taps, samples]

    def by_sample(tensor: tf.Tensor, *tail: int) -> tf.Tensor:
        return tf.reshape(tf.cast(tensor, tf.float32), (shape.images, shape.samples, *tail))

    def spread(layer: str, tensor: tf.Tensor) -> tf.Tensor:
        grid = wanted.grids.get(layer)
        return by_sample(grid.spread(tensor), *grid.shape) if grid else by_sample(tensor, *shape.input)

    all_logits = by_sample(logits, -1)
    chosen = _resolve_ranks(targets, all_logits[:, 0])
    rows = tf.repeat(chosen, shape.samples, axis=0)
    scores = [tf.gather(logits, rows[:, t], batch_dims=1) for t in range(shape.targets)]
    gradients = [_checked(wanted.layers, tf.gradients(score, taps)) for score in scores]
    derivatives = [
        spread(layer, d)
        for i, (layer, tap) in enumerate(zip(wanted.layers, taps, strict=True))
        for gradient in gradients
        for d in _derivatives(gradient[i], tap, wanted.orders(layer))
    ]
    activations = [spread(layer, tap)[:, 0] for layer, tap in zip(wanted.layers, taps, strict=True)]
    return [all_logits, chosen, *activations, *derivatives]


def _checked(layers: Sequence[str], gradients: Sequence[tf.Tensor | None]) -> Tensors:
    for path, gradient in zip(layers, gradients, strict=True):
        if gradient is None:
            raise UsageError(
                f"layer '{path}': no gradient comes down to it; something above it, such as rounding or stop_gradient, "
                "holds it back"
            )
    return list(gradients)


def _with_noise(x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, wanted: Wanted) -> tf.Tensor:
    """Return the rows of a pass, sample by sample of each image."""
    shape, spread = wanted.shape, wanted.noise
    noisy = range(shape.clean, shape.samples) if spread.std_dev else range(0)
    amplitude = sigma(x, spread.std_dev, spread.scale)[:, None] * live
    rows = [
        x[b] + tf.reshape(noise(math.prod(shape.input), seeds[b, m], amplitude[b, m]), shape.input)
        if m in noisy
        else x[b]
        for b in range(shape.images)
        for m in range(shape.samples)
    ]
    return tf.stack(rows)


def _derivatives(gradient: tf.Tensor, tap: tf.Tensor, orders: int) -> Tensors:
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
