"""Trace a model once, and record what its layers return, however deep they are nested. The model is not changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.errors import ModelError
from cam_cli.graph.free_size import any_size
from cam_cli.graph.operations import evaluate
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import reason_of


def walk(model: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield every layer below `model` with its path, outer names first, such as `backbone/Conv_1`.

    In a Functional model, operations that are not layers count too, such as the sum `x + y` that ends a residual block.
    If several layers of one model have the same name, the second gets `#2`, and so on.
    """
    layers = model._flatten_layers(include_self=False, recursive=False)
    operations = [op for op in getattr(model, "operations", ()) if not isinstance(op, keras.Layer)]
    met: Counter[str] = Counter()
    for layer in (*layers, *operations):
        met[layer.name] += 1
        again = f"#{met[layer.name]}" if met[layer.name] > 1 else ""
        path = f"{prefix}{layer.name}{again}"
        yield path, layer
        if isinstance(layer, keras.Layer):
            yield from walk(layer, f"{path}/")


@contextmanager
def watching(layers: Mapping[str, keras.Layer]) -> Iterator[dict[str, list[Any]]]:
    """Record the output of each call of `layers` while the context lasts: by path, a list that grows with the calls."""
    seen: dict[str, list[Any]] = {path: [] for path in layers}
    with ExitStack() as stack:
        for path, layer in layers.items():
            stack.enter_context(_recorded(layer, seen[path]))
        yield seen


@contextmanager
def _recorded(layer: keras.Layer, outputs: list[Any]) -> Iterator[None]:
    attributes = vars(layer)  # past Keras's own __setattr__, which would track what is set
    own, call = attributes.get("call"), layer.call

    def recording(*args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        outputs.append(output)
        return output

    attributes["call"] = recording
    try:
        yield
    finally:
        del attributes["call"]
        if own is not None:
            attributes["call"] = own


def run_model(model: keras.Model, x: tf.Tensor) -> Any:
    """Call the model for inference with its one input in the structure (tensor, list, dict) that it takes.

    Returns:
        Its output; of several outputs, the one that is a row of scores for each image.

    Raises:
        ModelError: the model has several inputs, or several outputs that could be meant.
    """
    structure = getattr(model, "_inputs_struct", None)
    inputs: Any = x
    if structure is not None:
        count = len(tf.nest.flatten(structure))
        if count != 1:
            raise ModelError(f"the model has {count} inputs; smoothcam explains classifiers of one image")
        inputs = tf.nest.pack_sequence_as(structure, [_without_channels(x, tf.nest.flatten(structure)[0])])
    with _undisturbed(model), _floating_inputs(model), any_size(_parts(model)):
        return _as_rows(choose_output(model, model(inputs, training=False))[1])


def _without_channels(images: tf.Tensor, declared: Any) -> tf.Tensor:
    """Return grey images (N, H, W, 1) as the (N, H, W) that a model declares; any others as they are."""
    return tf.squeeze(images, -1) if len(declared.shape) == 3 else images


def _parts(model: keras.Model) -> list[keras.Layer]:
    return [model, *(layer for _, layer in walk(model))]


@contextmanager
def _floating_inputs(model: keras.Model) -> Iterator[None]:
    """Let inputs of whole numbers, such as uint8, take floating-point numbers, so that noise and gradients pass them."""
    parts: list[Any] = _parts(model)
    parts += [part._functional for part in parts if getattr(part, "_functional", None) is not None]
    declared = [part for part in parts if isinstance(part, keras.layers.InputLayer)]
    declared += [tensor for part in parts for tensor in getattr(part, "_inputs", None) or ()]
    whole = [(owner, owner._dtype) for owner in declared if is_whole_numbers(owner.dtype)]
    for owner, _ in whole:
        vars(owner)["_dtype"] = "float32"
    try:
        yield
    finally:
        for owner, dtype in whole:
            vars(owner)["_dtype"] = dtype


def is_whole_numbers(dtype: Any) -> bool:
    """Return True for a type of whole numbers, or for its name."""
    return str(getattr(dtype, "name", dtype)).startswith(("int", "uint"))


def is_random_outside_predict(model: keras.Model) -> bool:
    """Return True if a layer such as dropout is called with training=True, which only `model(x)` obeys.

    `model.predict` and a call with training=False leave its randomness out.
    """
    drawing = (layer for _, layer in walk(model) if getattr(layer, "seed_generator", None) is not None)
    nodes = (node for layer in drawing for node in getattr(layer, "_inbound_nodes", ()))
    return any(node.arguments.kwargs.get("training") is True for node in nodes)


def predict(model: keras.Model, x: NDArray[Any]) -> NDArray[Any]:
    """Return what the model itself computes for images (N, H, W, C): the output that `run_model` traces, as float64."""
    structure = getattr(model, "_inputs_struct", None)
    inputs: Any = tf.constant(x, tf.float32)
    if structure is not None:
        (declared,) = tf.nest.flatten(structure)
        inputs = tf.nest.pack_sequence_as(structure, [tf.cast(_without_channels(inputs, declared), declared.dtype)])
    with _without_losses(model), any_size(_parts(model)), native_chatter_silenced():
        output = _as_rows(choose_output(model, model(inputs, training=False))[1])
    return np.asarray(tf.cast(output, tf.float64))


@contextmanager
def _undisturbed(model: keras.Model) -> Iterator[None]:
    """Trace through functions that were compiled before, and leave no symbolic losses behind."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with _without_losses(model):
            yield
    finally:
        tf.config.run_functions_eagerly(eager)


@contextmanager
def _without_losses(model: keras.Model) -> Iterator[None]:
    losses = [(layer, list(layer._losses)) for layer in _parts(model) if hasattr(layer, "_losses")]
    try:
        yield
    finally:
        for layer, kept in losses:
            layer._losses.clear()
            layer._losses.extend(kept)


def choose_output(model: keras.Model, outputs: Any) -> tuple[str, Any]:
    """Return the name and the tensor of a model's only output, or of the only one that is a row of scores for each image.

    A row has shape (batch, scores). Only if no output has it, (batch, 1, 1, scores) counts too, and (batch,), one score.

    Raises:
        ModelError: there is none or more than one such output; the message lists them.
    """
    named = named_outputs(model, outputs)
    rows = list(named) if len(named) == 1 else [name for name, tensor in named.items() if len(tensor.shape) == 2]
    rows = rows or [name for name, tensor in named.items() if _holds_a_row(tensor)]
    if len(rows) == 1:
        return rows[0], named[rows[0]]
    listed = ", ".join(f"'{name}' {tuple(tensor.shape[1:])}" for name, tensor in named.items())
    raise ModelError(
        f"the model has {len(named)} outputs ({listed}), and {len(rows)} of them are rows of class scores; name the one you "
        "mean with --model-output (in Python: explain a model of that one output)"
    )


def _holds_a_row(tensor: Any) -> bool:
    return all(side == 1 for side in tuple(tensor.shape)[1:-1])


def _as_rows(tensor: tf.Tensor) -> tf.Tensor:
    """Return an output of shape (batch, 1, 1, scores) or (batch,) as rows, (batch, scores); any other one as it is."""
    if len(tensor.shape) == 2 or not _holds_a_row(tensor):
        return tensor
    return tf.reshape(tensor, (-1, classes_of(tensor)))


def classes_of(output: Any) -> int | None:
    """Return how many scores an output has for each image, None if it leaves that open; one of shape (batch,) has one."""
    return output.shape[-1] if len(output.shape) > 1 else 1


def named_outputs(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """Return what a model returned by the keys that its author gave them, or by the names of its outputs, or by numbers."""
    paths, tensors = zip(*keras.tree.flatten_with_path(outputs), strict=True)
    own = list(getattr(model, "output_names", None) or ())
    has_keys = all(any(isinstance(part, str) for part in path) for path in paths)
    is_named = not has_keys and len(set(own)) == len(tensors)
    names = own if is_named else ["/".join(map(str, path)) or "output" for path in paths]
    return dict(zip(names, tensors, strict=True))


@dataclass(frozen=True)
class Trace:
    """One symbolic run of a model for one image.

    input_shape: (H, W, C). layers: every layer by path. output: of the model. calls: the outputs of each layer's calls in
    order, by path; a layer that does not run has none. function: what was traced, a function of one image.
    """

    input_shape: tuple[int, int, int]
    layers: dict[str, keras.Layer]
    output: Any
    calls: dict[str, list[Any]]
    function: Any = None

    @property
    def input(self) -> tf.Tensor:
        """The symbolic image, (1, H, W, C)."""
        return self.output.graph.inputs[0]

    def evaluate(self, tensors: Sequence[tf.Tensor], images: Iterable[NDArray[Any]]) -> list[list[NDArray[Any]]]:
        """Return for each image, (H, W, C), the values of tensors of the graph, for a batch of one."""
        with native_chatter_silenced():
            return evaluate(self.function, tensors, images)


def trace(model: keras.Model, input_shape: tuple[int, int, int]) -> Trace:
    """Trace the model once for an input of shape (H, W, C), without running it; raises ModelError if it does not take one."""
    layers = dict(walk(model))
    found: list[Trace] = []

    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> Any:
        with watching(layers) as seen:
            output = run_model(model, x)
        found.append(Trace(input_shape, layers, output, seen))
        return output

    signature = tf.TensorSpec((1, *input_shape), tf.float32)
    function = concrete_function(run, f"an image of shape {input_shape}", signature)
    return replace(found[-1], function=function)


def concrete_function(function: Any, images: str, *arguments: tf.TensorSpec) -> Any:
    """Trace a tf.function that calls a model; raises ModelError if the model does not take `images`, as the message says."""
    try:
        with native_chatter_silenced():
            return function.get_concrete_function(*arguments)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the model does not take {images}: {reason_of(error)}") from error
