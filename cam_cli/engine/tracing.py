"""Turns a Keras model into the graph of one pass: images in; scores, activations and gradients out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import keras
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli.engine.analysis import last_output
from cam_cli.engine.contrast import contrast_weights, resolved
from cam_cli.engine.folding import GraphDef, folded, optimised
from cam_cli.engine.gradients import drop_custom_gradients, mirror
from cam_cli.engine.passes import PassSpec
from cam_cli.engine.scores import scores_of
from cam_cli.errors import UsageError
from cam_cli.graph.grid import spread
from cam_cli.graph.grouped import runnable
from cam_cli.graph.operations import part_of, random_operations
from cam_cli.graph.trace import run_model, walk, watching
from cam_cli.quiet import native_chatter_silenced

MOST_FROZEN_PARAMETERS = 250_000_000
"""Freezing copies the weights; those of a larger network might not fit into the memory."""

_CONTROL_FLOW = {"Enter", "Switch", "Merge", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}

Tensors = list[tf.Tensor]
TracedPass = Callable[..., Tensors]
"""A `passes.PassFunction` on tensors."""

Forward = Callable[[tf.Tensor], tuple[tf.Tensor, Tensors]]
"""Rows of images to the logits and the outputs of the layers."""


@dataclass(frozen=True)
class FrozenGraph:
    """A pass as a graph of constants, which no longer needs the model. inputs, outputs: names of tensors."""

    definition: GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def calls_python(self) -> bool:
        """Whether it calls functions of this process, which no other process has."""
        return any("PyFunc" in node.op for node in self.definition.node)

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

    def function(self, spec: PassSpec) -> TracedPass:
        """Return the pass as a function."""

        @tf.function(autograph=False, input_signature=_arguments(spec))
        def run(*arguments: tf.Tensor) -> Tensors:
            given = dict(zip(self.inputs, arguments, strict=True))
            return list(tf.graph_util.import_graph_def(self.definition, given, list(self.outputs), name=""))

        with native_chatter_silenced():
            return runnable(run.get_concrete_function())


def trace_pass(model: keras.Model, spec: PassSpec) -> FrozenGraph | TracedPass:
    """Trace one pass with fixed shapes, and freeze it to constants.

    The network is first frozen and its batch norms are folded into convolutions. Then it is differentiated, only between the
    layers and the score. A network with loops is differentiated first. If the weights are too large to copy, or a loop
    forbids freezing, the pass stays a function of the model's variables.

    Raises:
        ModelError: as `analyse` does. UsageError: the score has no gradient at a layer.
    """
    with native_chatter_silenced():
        forward = _frozen_forward(model, spec) or _forward(model, spec)

        @tf.function(autograph=False, input_signature=_arguments(spec))
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


def _arguments(spec: PassSpec) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec((spec.rows, *spec.input), tf.float32, "rows"),
        tf.TensorSpec((spec.images, spec.targets), tf.int32, "targets"),
        *([tf.TensorSpec((spec.images, spec.targets, spec.against), tf.int32, "against")] if spec.against else []),
    ]


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
    rows = tf.TensorSpec((spec.rows, *spec.input), tf.float32)
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
    forward: Forward, spec: PassSpec, rows: tf.Tensor, targets: tf.Tensor, against: tf.Tensor | None = None
) -> Tensors:
    """Return what a pass computes, in the order of `PassSpec.output_shapes`."""
    logits, outputs = forward(rows)
    if spec.to_input:
        outputs = [*outputs, rows]

    def by_sample(tensor: tf.Tensor, *tail: int) -> tf.Tensor:
        return tf.reshape(tf.cast(tensor, tf.float32), (spec.images, spec.samples, *tail))

    def as_grid(layer: str, tensor: tf.Tensor) -> tf.Tensor:
        grid = spec.grids.get(layer)
        return by_sample(spread(grid, tensor), *grid.shape) if grid else by_sample(tensor, *spec.input)

    all_logits = by_sample(logits, -1)
    # Classes are told by products with rows of 0 and 1: OpenVINO 2026.4 reads outside its memory when it gathers.
    by_rank = tf.argsort(all_logits[:, 0], direction="DESCENDING", stable=True)
    is_of_rank = tf.one_hot(-targets - 1, spec.classes, dtype=tf.int32)
    chosen = tf.where(targets < 0, tf.reduce_sum(is_of_rank * by_rank[:, None], axis=-1), targets)
    others = [] if against is None else [resolved(all_logits[:, 0], chosen, against)]
    weights = tf.one_hot(chosen, spec.classes, dtype=logits.dtype)
    for of_targets in others:
        weights = contrast_weights(chosen, of_targets, spec.classes, logits.dtype)
    of_rows = tf.repeat(weights, spec.samples, axis=0)
    gradients = [tf.gradients(logits, outputs, of_rows[:, t]) for t in range(spec.targets)]
    for path, gradient in zip(spec.layers, gradients[0], strict=True):
        if gradient is None:
            raise UsageError(
                f"layer '{path}': no gradient comes down to it; something above it, such as rounding or stop_gradient, "
                "blocks it"
            )
    derivatives = [
        as_grid(layer, derivative)
        for i, (layer, output) in enumerate(zip(spec.layers, outputs, strict=True))
        for gradient in gradients
        for derivative in _derivatives(gradient[i], output, spec.orders(layer))
    ]
    activations = [as_grid(layer, output)[:, 0] for layer, output in zip(spec.layers, outputs, strict=True)]
    return [all_logits, chosen, *others, *activations, *derivatives]


def _derivatives(gradient: tf.Tensor, output: tf.Tensor, orders: int) -> Tensors:
    """Return the first `orders` derivatives; they are diagonal, so that the sum over each row is the diagonal."""
    found = [gradient]
    while len(found) < orders:
        (further,) = tf.gradients(found[-1], [output], unconnected_gradients="zero")
        found.append(further)
    return found
