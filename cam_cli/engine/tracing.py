"""Turns a Keras model into the graph of one pass: images and noise in; scores, activations and gradients out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import keras
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli.engine.analysis import last_output
from cam_cli.engine.checks import check_choice, check_number
from cam_cli.engine.contrast import contrasted, resolved
from cam_cli.engine.folding import GraphDef, folded, optimised
from cam_cli.engine.gradients import drop_custom_gradients, mirror
from cam_cli.engine.noise import noise, sigma
from cam_cli.engine.scores import Link, scores_of
from cam_cli.errors import UsageError
from cam_cli.graph.grid import Grid
from cam_cli.graph.grouped import runnable
from cam_cli.graph.operations import part_of, random_operations
from cam_cli.graph.trace import run_model, walk, watching
from cam_cli.quiet import native_chatter_silenced

INPUT = "input"
"""The layer name under which the network's input is explained."""

MOST_FROZEN_PARAMETERS = 250_000_000
"""Freezing copies the weights; those of a larger network might not fit into the memory."""

_CONTROL_FLOW = {"Enter", "Switch", "Merge", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}

Tensors = list[tf.Tensor]
PassFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Tensors]
Forward = Callable[[tf.Tensor], tuple[tf.Tensor, Tensors]]
"""Rows of images to the logits and the outputs of the layers."""


@dataclass(frozen=True)
class Noise:
    """The noise of the samples; `std_dev` is a share of each image's value range (scale `range`) or a number of preprocessed
    units (scale `absolute`). Raises UsageError for anything else.
    """

    std_dev: float = 0.15
    scale: str = "range"

    def __post_init__(self) -> None:
        check_number("std_dev", self.std_dev)
        check_choice("the scale of the noise", self.scale, ("range", "absolute"))


@dataclass(frozen=True)
class PassSpec:
    """What a pass computes, with all its sizes. Together with the model it decides the graph.

    images: in a pass. samples: of each image; the first `clean` of them never have noise. targets: of each image. input:
    (H, W, C). link: from the model's output to the scores. grids: of the layers to explain, by path. noise: added to the
    samples marked live. exact: layers whose second and third derivatives are computed too; they must be separable. to_input:
    also differentiate with respect to the image, which then follows the layers under the name INPUT. against: how many
    classes each target is explained against, at the most.
    """

    images: int
    samples: int
    targets: int
    input: tuple[int, int, int]
    link: Link
    clean: int = 0
    grids: Mapping[str, Grid] = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)
    exact: tuple[str, ...] = ()
    to_input: bool = False
    against: int = 0

    @property
    def layers(self) -> tuple[str, ...]:
        """The explained layers, in order."""
        return (*self.grids, INPUT) if self.to_input else tuple(self.grids)

    def orders(self, layer: str) -> int:
        """Return how many derivatives are computed at a layer."""
        return 3 if layer in self.exact else 1

    def arguments(self) -> list[tf.TensorSpec]:
        """Return the arguments of a pass; see `PassRunner.__call__`."""
        others = (self.images, self.targets, self.against)
        return [
            tf.TensorSpec((self.images, *self.input), tf.float32, "x"),
            tf.TensorSpec((self.images, self.samples, 2), tf.int64, "seeds"),
            tf.TensorSpec((self.images, self.samples), tf.float32, "live"),
            tf.TensorSpec((self.images, self.targets), tf.int32, "targets"),
            *([tf.TensorSpec(others, tf.int32, "against")] if self.against else []),
        ]


@dataclass(frozen=True)
class FrozenGraph:
    """A pass as a graph of constants, which no longer needs the model. inputs, outputs: names of tensors."""

    definition: GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return this as the contents of a file."""
        names = json.dumps({"inputs": self.inputs, "outputs": self.outputs})
        graph: bytes = self.definition.SerializeToString()
        return names.encode() + b"\n" + graph

    @classmethod
    def from_bytes(cls, contents: bytes) -> FrozenGraph:
        """Read the result of `to_bytes`."""
        head, _, body = contents.partition(b"\n")
        names = json.loads(head)
        return cls(tf.compat.v1.GraphDef.FromString(body), tuple(names["inputs"]), tuple(names["outputs"]))

    def in_bfloat16(self) -> FrozenGraph:
        """Return the same pass with matrix products and convolutions in bfloat16, and the rest in float32."""
        kept = (*self.inputs, *self.outputs)
        passes = ["constfold", "auto_mixed_precision_onednn_bfloat16"]
        on = {"auto_mixed_precision_onednn_bfloat16": rewriter_config_pb2.RewriterConfig.ON}
        return replace(self, definition=optimised(self.definition, kept, passes, **on))

    def function(self, spec: PassSpec) -> PassFunction:
        """Return the pass as a function."""

        @tf.function(autograph=False, input_signature=spec.arguments())
        def run(*arguments: tf.Tensor) -> Tensors:
            given = dict(zip(self.inputs, arguments, strict=True))
            return list(tf.graph_util.import_graph_def(self.definition, given, list(self.outputs), name=""))

        with native_chatter_silenced():
            return runnable(run.get_concrete_function())


def trace_pass(model: keras.Model, spec: PassSpec) -> FrozenGraph | PassFunction:
    """Trace one pass with fixed shapes, and freeze it to constants.

    The network is first frozen and its batch norms are folded into convolutions. Then it is differentiated, only between the
    layers and the score. A network with loops is differentiated first. If the weights are too large to copy, or a loop
    forbids freezing, the pass stays a function of the model's variables.

    Raises:
        ModelError: as `analyse` does. UsageError: the score has no gradient at a layer.
    """
    with native_chatter_silenced():
        forward = _frozen_forward(model, spec) or _forward(model, spec)

        @tf.function(autograph=False, input_signature=spec.arguments())
        def run(*arguments: tf.Tensor) -> Tensors:
            return _pass(forward, spec, *arguments)

        concrete = run.get_concrete_function()
        if concrete.captured_inputs and model.count_params() <= MOST_FROZEN_PARAMETERS:
            with suppress(ValueError):
                concrete = convert_variables_to_constants_v2(concrete)
    if concrete.captured_inputs:
        return runnable(concrete)
    inputs, outputs = (tuple(tensor.name for tensor in tensors) for tensors in (concrete.inputs, concrete.outputs))
    return FrozenGraph(concrete.graph.as_graph_def(), inputs, outputs)


def _forward(model: keras.Model, spec: PassSpec) -> Forward:
    everything = dict(walk(model))
    layers = {path: everything[path] for path in spec.grids}

    def run(rows: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        with watching(layers) as seen:
            output = run_model(model, rows)
        scores = scores_of(output, spec.link)
        return scores, [last_output(path, calls, scores.graph) for path, calls in seen.items()]

    return run


def _frozen_forward(model: keras.Model, spec: PassSpec) -> Forward | None:
    if model.count_params() > MOST_FROZEN_PARAMETERS:
        return None
    run = tf.function(_forward(model, spec), autograph=False)
    rows = tf.TensorSpec((spec.images * spec.samples, *spec.input), tf.float32)
    concrete = run.get_concrete_function(rows)
    if any(random_operations(output) for output in concrete.outputs):
        concrete = part_of(concrete, concrete.outputs, rows)  # without what moves the seeds on
    with suppress(ValueError):
        frozen = convert_variables_to_constants_v2(concrete)
        operations = [op.type for op in frozen.graph.get_operations()]
        if len(frozen.inputs) != 1 or any(kind in _CONTROL_FLOW or "PartitionedCall" in kind for kind in operations):
            return None
        source, names = frozen.inputs[0].name, []
        for output in frozen.outputs:
            while output.op.type == "Identity":  # a function returns copies of the network's own tensors
                output = output.op.inputs[0]
            names.append(output.name)
        definition = frozen.graph.as_graph_def()
        drop_custom_gradients(definition)
        definition = folded(definition, [source, *names])
        mirror(definition)

        def imported(rows: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
            logits, *outputs = tf.graph_util.import_graph_def(definition, {source: rows}, names, name="network")
            return logits, outputs

        return imported
    return None


def _pass(
    forward: Forward,
    spec: PassSpec,
    x: tf.Tensor,
    seeds: tf.Tensor,
    live: tf.Tensor,
    targets: tf.Tensor,
    against: tf.Tensor | None = None,
) -> Tensors:
    """Return logits, targets, the classes against them if any are asked for, the activations of each layer, and its
    derivatives for each target, in this order.
    """
    samples = _with_noise(x, seeds, live, spec)
    logits, outputs = forward(samples)
    if spec.to_input:
        outputs = [*outputs, samples]

    def by_sample(tensor: tf.Tensor, *tail: int) -> tf.Tensor:
        return tf.reshape(tf.cast(tensor, tf.float32), (spec.images, spec.samples, *tail))

    def spread(layer: str, tensor: tf.Tensor) -> tf.Tensor:
        grid = spec.grids.get(layer)
        return by_sample(grid.spread(tensor), *grid.shape) if grid else by_sample(tensor, *spec.input)

    all_logits = by_sample(logits, -1)
    by_rank = tf.argsort(all_logits[:, 0], direction="DESCENDING", stable=True)
    ranked = tf.gather(by_rank, tf.maximum(-targets - 1, 0), batch_dims=1)
    chosen = tf.where(targets < 0, ranked, targets)
    rows = tf.repeat(chosen, spec.samples, axis=0)
    others = [] if against is None else [resolved(all_logits[:, 0], chosen, against)]
    scores = [tf.gather(logits, rows[:, t], batch_dims=1) for t in range(spec.targets)]
    for of_targets in others:
        of_rows = tf.repeat(of_targets, spec.samples, axis=0)
        scores = [contrasted(logits, rows[:, t], of_rows[:, t]) for t in range(spec.targets)]
    gradients = [tf.gradients(score, outputs) for score in scores]
    for path, gradient in zip(spec.layers, gradients[0], strict=True):
        if gradient is None:
            raise UsageError(
                f"layer '{path}': no gradient comes down to it; something above it, such as rounding or stop_gradient, "
                "blocks it"
            )
    derivatives = [
        spread(layer, derivative)
        for i, (layer, output) in enumerate(zip(spec.layers, outputs, strict=True))
        for gradient in gradients
        for derivative in _derivatives(gradient[i], output, spec.orders(layer))
    ]
    activations = [spread(layer, output)[:, 0] for layer, output in zip(spec.layers, outputs, strict=True)]
    return [all_logits, chosen, *others, *activations, *derivatives]


def _with_noise(x: tf.Tensor, seeds: tf.Tensor, live: tf.Tensor, spec: PassSpec) -> tf.Tensor:
    """Return the rows of a pass: all samples of the first image, then of the next."""
    noisy = range(spec.clean, spec.samples) if spec.noise.std_dev else range(0)
    amplitude = sigma(x, spec.noise.std_dev, spec.noise.scale)[:, None] * live
    rows = [
        x[b] + tf.reshape(noise(math.prod(spec.input), seeds[b, m], amplitude[b, m]), spec.input)
        if m in noisy
        else x[b]
        for b in range(spec.images)
        for m in range(spec.samples)
    ]
    return tf.stack(rows)


def _derivatives(gradient: tf.Tensor, output: tf.Tensor, orders: int) -> Tensors:
    """Return the first `orders` derivatives; they are diagonal, so that the sum over each row is the diagonal."""
    found = [gradient]
    while len(found) < orders:
        (further,) = tf.gradients(found[-1], [output], unconnected_gradients="zero")
        found.append(further)
    return found
