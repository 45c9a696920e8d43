"""The layers of a model: what they are, which one a name means, and which one to take when nobody says."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from cam_cli.errors import ModelError, UsageError
from cam_cli.models.calls import Trace, is_map

_NONNEGATIVE = {"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs", "Square"}
_KEEPS_SIGN = {
    "Identity", "MaxPool", "AvgPool", "Mean", "Max", "Reshape", "Cast", "Pad", "ConcatV2", "AddV2", "Add", "Mul", "MirrorPad",
    "ResizeBilinear", "ResizeNearestNeighbor", "Transpose", "Squeeze", "ExpandDims",
}  # fmt: skip
_ACTIVATION_KINDS = {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"}


@dataclass(frozen=True)
class LayerInfo:
    """One layer as it runs: its path, its class, its output shape without the batch, and whether it suits a saliency map.

    grid: (rows, columns) where the output is feature maps, else None. nonnegative: no value can be below zero.
    activated: the output is that of an activation function. better: the layer to take instead of a signed one.
    """

    path: str
    kind: str
    shape: tuple[int | None, ...]
    grid: tuple[int, int] | None
    nonnegative: bool
    activated: bool
    better: str | None = None

    @property
    def signed(self) -> bool:
        """Say whether this is feature maps of both signs, where the formula's denominators can cross zero."""
        return self.grid is not None and not (self.nonnegative or self.activated)

    @property
    def suitability(self) -> str:
        """Say `good`, or in a few words what to know before taking this layer."""
        if self.grid is None:
            return "no feature maps"
        if self.grid == (1, 1):
            return "one cell only"
        if self.signed:
            return f"signed: better {self.better}" if self.better else "signed"
        return "good"


def describe_layers(traced: Trace) -> tuple[LayerInfo, ...]:
    """List the layers that run, in the order in which they finish."""
    order = {op.name: position for position, op in enumerate(traced.output.graph.get_operations())}
    ran = {path: calls[-1] for path, calls in traced.calls.items() if calls}
    finished = sorted(ran, key=lambda path: order.get(_last_operation(ran[path]), -1))
    infos = [_info(path, traced.layers[path], ran[path]) for path in finished]
    return tuple(_with_better(info, infos[i + 1 :]) for i, info in enumerate(infos))


def choose_layer(infos: Sequence[LayerInfo]) -> LayerInfo:
    """Choose the layer `auto` stands for: the last map larger than 1x1 that is the output of an activation function.

    Raises:
        ModelError: the model has no feature maps.
    """
    maps = [info for info in infos if info.grid and info.grid != (1, 1)]
    for fits in (lambda i: i.activated, lambda i: i.nonnegative, lambda _: True):
        if found := [info for info in maps if fits(info)]:
            return found[-1]
    raise ModelError("the model has no layer with feature maps (rows, columns, channels) to explain")


def find_layer(layers: Collection[str], name: str) -> str:
    """Find the path a name means: a path such as `backbone/Conv_1`, or any end of one that only one layer has.

    Raises:
        UsageError: no such layer, or several.
    """
    if name in layers:
        return name
    ends = [path for path in layers if path.endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UsageError(f"layer '{name}' could be any of {', '.join(repr(e) for e in ends)}; give the whole path")
    raise UsageError(f"no layer '{name}' in this model{_near(name, layers)}; `smoothcam layers` lists them all")


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; near it: {', '.join(repr(path) for path in close)}" if close else ""


def _last_operation(output: object) -> str:
    tensors = [t for t in tf.nest.flatten(output) if isinstance(t, tf.Tensor)]
    return str(tensors[-1].op.name) if tensors else ""


def _with_better(info: LayerInfo, later: Sequence[LayerInfo]) -> LayerInfo:
    usable = [other.path for other in later if other.activated and other.grid == info.grid]
    return replace(info, better=usable[0]) if info.signed and usable else info


def _info(path: str, layer: keras.Layer, output: object) -> LayerInfo:
    shape = tuple(output.shape[1:]) if isinstance(output, tf.Tensor) else ()
    grid = (shape[0], shape[1]) if is_map(output) else None
    nonnegative = isinstance(output, tf.Tensor) and _is_nonnegative(output)
    return LayerInfo(path, type(layer).__name__, shape, grid, nonnegative, _is_activated(layer, output))


def _is_activated(layer: keras.Layer, output: object) -> bool:
    if type(layer).__name__ in _ACTIVATION_KINDS:
        return True
    if getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return True
    return isinstance(output, tf.Tensor) and output.op.type in _NONNEGATIVE


def _is_nonnegative(tensor: tf.Tensor) -> bool:
    pending, met = [tensor], set()
    while pending:
        op = pending.pop().op
        if op.name in met or op.type in _NONNEGATIVE:
            continue
        met.add(op.name)
        inputs = [source for source in op.inputs if source.dtype.is_floating]
        if op.type not in _KEEPS_SIGN or not inputs:
            return False
        pending.extend(inputs)
    return True
