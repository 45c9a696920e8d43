"""The layers of a model: their description, lookup by name, and the choice of `auto`."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from cam_cli.errors import ModelError, UsageError
from cam_cli.models.calls import Trace
from cam_cli.models.card import Tokens
from cam_cli.models.graph import bottlenecks, operations_between
from cam_cli.models.grid import Grid, grid_of

_NONNEGATIVE = {"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs", "Square"}
_KEEPS_SIGN = {
    "Identity", "MaxPool", "AvgPool", "Mean", "Max", "Reshape", "Cast", "Pad", "ConcatV2", "AddV2", "Add", "Mul", "MirrorPad",
    "ResizeBilinear", "ResizeNearestNeighbor", "Transpose", "Squeeze", "ExpandDims",
}  # fmt: skip
_ACTIVATION_KINDS = {"ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"}


@dataclass(frozen=True)
class LayerInfo:
    """One layer that runs, and whether it suits a saliency map.

    kind: its class. shape: of the output, without the batch. grid: (rows, columns) of feature maps or tokens, else None.
    tokens: the output is tokens. nonnegative: no value can be below zero. activated: the output comes from an activation
    function. bottleneck: all information about the image passes through it. read: the score reads the cells of the grid, not
    only a class token beside them. better: the layer to take instead of a signed one.
    """

    path: str
    kind: str
    shape: tuple[int | None, ...]
    grid: tuple[int, int] | None
    tokens: bool
    nonnegative: bool
    activated: bool
    bottleneck: bool
    read: bool
    better: str | None = None

    @property
    def signed(self) -> bool:
        """True for feature maps of both signs, for which the formula's denominators can cross zero."""
        return self.grid is not None and not (self.nonnegative or self.activated)

    @property
    def suitability(self) -> str:
        """`good`, or a few words of warning."""
        if self.grid is None:
            return "no feature maps"
        if self.grid == (1, 1):
            return "one cell only"
        if not self.read:
            return "not read by the score"
        if self.signed:
            return f"signed: better {self.better}" if self.better else "signed"
        return "good"


def describe_layers(traced: Trace, tokens: Tokens | None = None) -> tuple[LayerInfo, ...]:
    """List the layers that run, in the order in which they finish; `tokens` are those that a transformer's card declares."""
    order = {op.name: position for position, op in enumerate(traced.output.graph.get_operations())}
    narrow = bottlenecks(traced.output.graph.inputs[0], traced.output)
    ran = {path: calls[-1] for path, calls in traced.calls.items() if calls}
    activated: set[Any] = set()
    infos = []

    def when(path: str) -> int:
        tensors = [t for t in tf.nest.flatten(ran[path]) if isinstance(t, tf.Tensor)]
        return order.get(tensors[-1].op.name, -1) if tensors else -1

    for path in sorted(ran, key=when):
        output = ran[path]
        grid = grid_of(output, traced.input_shape, tokens)
        if _is_activated(traced.layers[path], output, activated):
            activated.add(output.ref())
        is_tensor = isinstance(output, tf.Tensor)
        infos.append(
            LayerInfo(
                path=path,
                kind=type(traced.layers[path]).__name__,
                shape=tuple(output.shape[1:]) if is_tensor else (),
                grid=(grid.rows, grid.columns) if grid else None,
                tokens=bool(grid and grid.class_tokens is not None),
                nonnegative=is_tensor and _is_nonnegative(output),
                activated=is_tensor and output.ref() in activated,
                bottleneck=is_tensor and output.op.name in narrow,
                read=grid is not None and _is_read(output, traced.output, grid),
            )
        )
    for i, info in enumerate(infos):
        if info.signed:
            better = next((later.path for later in infos[i + 1 :] if later.activated and later.grid == info.grid), None)
            infos[i] = replace(info, better=better)
    return tuple(infos)


def _is_activated(layer: keras.Layer, output: object, activated: Collection[Any]) -> bool:
    """Return True if an output comes directly from an activation function, or concatenates such outputs."""
    if not isinstance(output, tf.Tensor):
        return False
    if hasattr(layer, "activation"):
        return layer.activation not in (None, keras.activations.linear)
    if type(layer).__name__ in _ACTIVATION_KINDS or output.op.type in _NONNEGATIVE:
        return True
    joined = [source for source in output.op.inputs if source.dtype.is_floating]
    return output.op.type == "ConcatV2" and all(source.ref() in activated for source in joined)


def _is_read(output: tf.Tensor, scores: tf.Tensor, grid: Grid) -> bool:
    """Return True if the score reads a layer's cells; it does not if only the class token is used further on.

    Attention, which contains a softmax, mixes the tokens. Above the last attention, a slice takes the class token alone.
    """
    if grid.class_tokens is None:
        return True
    above = [op.type for op in operations_between(output, scores) if op is not scores.op]
    return "Softmax" in above or "StridedSlice" not in above


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


def choose_layer(infos: Sequence[LayerInfo]) -> LayerInfo:
    """Choose the layer that `auto` stands for.

    It is the last bottleneck with feature maps larger than 1x1 that is the output of an activation function. If there is none,
    it is the last such bottleneck that cannot be negative, then the last one of any sign. In a transformer it is the last
    bottleneck of tokens that the score still reads. Raises ModelError if the model has no feature maps.
    """
    usable = [i for i in infos if i.grid and i.grid != (1, 1) and i.bottleneck and i.read]
    if usable and usable[-1].tokens:
        return usable[-1]
    maps = [i for i in usable if not i.tokens]
    if not maps:
        raise ModelError("the model has no layer with feature maps (rows, columns, channels) to explain")
    return ([i for i in maps if i.activated] or [i for i in maps if i.nonnegative] or maps)[-1]


def choose_scales(infos: Sequence[LayerInfo]) -> tuple[str, str] | None:
    """Choose the two layers of `twoscale`: the one that `auto` takes, and the last activation on the next larger grid.

    On that grid, bottlenecks come before other layers. None if only one grid has activations.
    """
    coarse = choose_layer(infos)
    assert coarse.grid is not None
    larger = [i for i in infos if i.grid and i.activated and i.grid[0] > coarse.grid[0] and i.grid[1] > coarse.grid[1]]
    if not larger:
        return None
    next_size = min(i.grid for i in larger if i.grid)
    fine = [i for i in larger if i.grid == next_size]
    return coarse.path, ([i for i in fine if i.bottleneck] or fine)[-1].path


def find_layer(layers: Collection[str], name: str) -> str:
    """Return the path that a name means: a path such as `backbone/Conv_1`, or the end of one path only.

    Raises UsageError if there is no such layer, or several.
    """
    if name in layers:
        return name
    ends = [path for path in layers if path.endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UsageError(f"layer '{name}' could be any of {', '.join(repr(e) for e in ends)}; give the whole path")
    close = ", ".join(map(repr, difflib.get_close_matches(name, layers, n=3, cutoff=0.6)))
    near = f"; near it: {close}" if close else ""
    raise UsageError(f"no layer '{name}' in this model{near}; `smoothcam layers` lists them all")
