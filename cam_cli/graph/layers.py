"""The layers of a model: their description, and the choice of `auto`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from cam_cli.errors import ModelError
from cam_cli.graph.activations import is_activated, is_nonnegative
from cam_cli.graph.grid import grid_of, laid
from cam_cli.graph.operations import bottlenecks, is_learned, operations_between
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import Trace
from cam_cli.graph.window.follow import Windows
from cam_cli.window import Grid

_POOLING = {"MaxPool", "MaxPoolV2", "AvgPool", "Pad", "PadV2", "MirrorPad", "ResizeBilinear", "ResizeNearestNeighbor"}
_CHANNEL_BY_CHANNEL = {"Identity", "Cast", "FusedBatchNormV3", "BiasAdd", "Mul", "AddV2", "Add", "Sub", "RealDiv"}
_JOINS = {"AddV2", "Add", "AddN", "Sub", "ConcatV2", "Maximum"}


@dataclass(frozen=True)
class LayerInfo:
    """One layer that runs, and whether it suits a saliency map.

    kind: its class. shape: of the output, without the batch. grid: (rows, columns) of feature maps or tokens, else None.
    tokens: the output is tokens. nonnegative: no value can be below zero. activated: the output comes from an activation
    function. bottleneck: all information about the image passes through it. read: the score reads the cells of the grid, not
    only a class token beside them. features: it holds what the network computes with weights on the way to the scores; the
    image, the scores themselves and a pooled copy of an earlier layer do not. class_maps: it has one map a class, and weights
    come no more after it. joins: it adds or concatenates several paths. better: the layer to take instead of a signed one.
    lost_by: the operation after which it cannot be told which part of the image the grid covers; empty if it can.
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
    features: bool = True
    class_maps: bool = False
    joins: bool = False
    better: str | None = None
    lost_by: str = ""

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
        if self.lost_by:
            return "position unknown"
        if not self.read:
            return "not read by the score"
        if self.signed:
            return f"signed: better {self.better}" if self.better else "signed"
        return "good"


def describe_layers(traced: Trace, tokens: Tokens | None = None) -> tuple[LayerInfo, ...]:
    """List the layers that run, in the order in which they finish; `tokens` are those that a transformer's card declares."""
    order = {op.name: position for position, op in enumerate(traced.output.graph.get_operations())}
    narrow = bottlenecks(traced.input, traced.output)
    weights, windows = _Weights(traced), Windows(traced.input)
    ran = {path: calls[-1] for path, calls in traced.calls.items() if calls}
    infos: list[LayerInfo] = []
    recorded = {output.ref() for output in ran.values() if isinstance(output, tf.Tensor)}

    def when(path: str) -> int:
        tensors = [t for t in tf.nest.flatten(ran[path]) if isinstance(t, tf.Tensor)]
        return order.get(tensors[-1].op.name, -1) if tensors else -1

    for path in sorted(ran, key=when):
        output = ran[path]
        grid = grid_of(output, traced.input_shape, tokens)
        is_tensor = isinstance(output, tf.Tensor)
        infos.append(
            LayerInfo(
                path=path,
                kind=type(traced.layers[path]).__name__,
                shape=tuple(output.shape[1:]) if is_tensor else (),
                grid=(grid.rows, grid.columns) if grid else None,
                tokens=bool(grid and grid.class_tokens is not None),
                nonnegative=is_tensor and is_nonnegative(output),
                activated=is_tensor and is_activated(output),
                bottleneck=is_tensor and output.ref() in narrow,
                read=grid is not None and _is_read(output, traced.output, grid),
                features=grid is not None and weights.below(output) and not weights.is_copy(output, recorded),
                class_maps=grid is not None and grid.channels == traced.output.shape[-1] and not weights.above(output),
                joins=grid is not None and weights.joins(output),
                lost_by=laid(grid, output, windows).lost_by if grid else "",
            )
        )
    for i, info in enumerate(infos):
        if info.signed:
            better = next((later.path for later in infos[i + 1 :] if _is_better(later, info)), None)
            infos[i] = replace(info, better=better)
    return tuple(infos)


def _is_better(later: LayerInfo, signed: LayerInfo) -> bool:
    """Return True for an activation that can be explained instead of a signed layer, with no less information."""
    explainable = later.activated and later.read and not later.lost_by
    return explainable and later.grid == signed.grid and (later.bottleneck or not signed.bottleneck)


def _is_read(output: tf.Tensor, scores: tf.Tensor, grid: Grid) -> bool:
    """Return True if the score reads a layer's cells; it does not if only the class token is used further on.

    Attention, which contains a softmax, mixes the tokens. Above the last attention, a slice takes the class token alone.
    """
    if grid.class_tokens is None:
        return True
    above = [op.type for op in operations_between(output, scores) if op is not scores.op]
    return "Softmax" in above or "StridedSlice" not in above


class _Weights:
    """Where the operations with weights lie between the image and the scores."""

    def __init__(self, traced: Trace) -> None:
        between = operations_between(traced.input, traced.output)
        learned = {op.name for op in between if is_learned(op)}
        self._reached = {traced.input.ref()} | {out.ref() for op in between for out in op.outputs}
        self._below, self._above = set[Any](), set[Any]()
        for op in between:
            if op.name in learned or any(source.ref() in self._below for source in op.inputs):
                self._below.update(out.ref() for out in op.outputs)
        for op in reversed(between):
            if op.name in learned or any(out.ref() in self._above for out in op.outputs):
                self._above.update(source.ref() for source in op.inputs)
        self._scores = _flattened(traced.output)

    def below(self, tensor: tf.Tensor) -> bool:
        """Return True for what is computed with weights, feeds the scores, and is not the scores themselves."""
        return tensor.ref() in self._below and tensor.ref() not in self._scores

    def above(self, tensor: tf.Tensor) -> bool:
        """Return True if weights come between a tensor and the scores."""
        return tensor.ref() in self._above

    def is_copy(self, tensor: tf.Tensor, recorded: Collection[Any]) -> bool:
        """Return True for an earlier layer's feature maps that were pooled, and at most scaled and shifted."""
        pooled = False
        if tensor.shape.rank != 4:
            return False
        while not (pooled and tensor.ref() in recorded):
            inputs = [source for source in tensor.op.inputs if source.ref() in self._reached]
            if len(inputs) != 1 or tensor.op.type not in _POOLING | _CHANNEL_BY_CHANNEL:
                return False
            pooled = pooled or tensor.op.type in _POOLING
            (tensor,) = inputs
        return True

    def joins(self, tensor: tf.Tensor) -> bool:
        """Return True if a tensor adds or concatenates paths, and is at most scaled and shifted after that."""
        while True:
            inputs = {source.ref(): source for source in tensor.op.inputs if source.ref() in self._reached}
            if len(inputs) > 1:
                return tensor.op.type in _JOINS
            if not inputs or tensor.op.type not in _CHANNEL_BY_CHANNEL:
                return False
            (tensor,) = inputs.values()


def _flattened(output: tf.Tensor) -> set[Any]:
    """Return the tensors that hold the output's values, one for each, in another shape or before a softmax or sigmoid."""
    found, count = set(), output.shape[1:].num_elements()
    tensor = output
    while tensor.shape[1:].num_elements() == count:
        found.add(tensor.ref())
        inputs = [source for source in tensor.op.inputs if source.dtype.is_floating]
        if len(inputs) != 1 or is_learned(tensor.op):
            break
        (tensor,) = inputs
    return found


def choose_layer(infos: Sequence[LayerInfo]) -> LayerInfo:
    """Choose the layer that `auto` stands for.

    It lies on the deepest grid, larger than 1x1, that all information goes through. On this grid it is the last activation, if
    no paths are joined after it; then the last layer that cannot be negative; then the last one. Maps of the classes, which
    are only pooled after that, come behind the features that they are made of. In a transformer it is the last bottleneck of
    tokens that the score still reads. Where no layer has all information, as in an ensemble, it is the last activation of a
    part. Layers are left out if it cannot be told what part of the image they cover.

    Raises:
        ModelError: the model has no such layer.
    """
    usable = [i for i in infos if i.grid and i.grid != (1, 1) and i.features and i.read and not i.lost_by]
    through = [i for i in usable if i.bottleneck]
    if through and through[-1].tokens:
        return through[-1]
    maps = [i for i in through if not i.tokens]
    if not maps:
        parts = [i for i in usable if not i.class_maps] or usable
        if not parts:
            lost = next((i for i in reversed(infos) if i.lost_by), None)
            reason = f"; which part of the image '{lost.path}' covers cannot be told" if lost else ""
            raise ModelError(
                f"the model has no layer with feature maps (rows, columns, channels) to explain{reason}; take a method that "
                "explains the input, such as --method gradient"
            )
        return ([i for i in parts if i.activated] or parts)[-1]
    deepest = [i for i in maps if i.grid == maps[-1].grid]
    deepest = [i for i in deepest if not i.class_maps] or deepest
    joined = [number for number, info in enumerate(deepest) if info.joins]
    last = deepest[joined[-1] :] if joined else deepest
    return ([i for i in last if i.activated] or [i for i in last if i.nonnegative] or last)[-1]


def choose_scales(infos: Sequence[LayerInfo]) -> tuple[str, str] | None:
    """Choose the two layers of `twoscale`: the one that `auto` takes, and the last activation on the next larger grid.

    On that grid, bottlenecks come before other layers. None if only one grid has activations.
    """
    coarse = choose_layer(infos)
    assert coarse.grid is not None
    larger = [
        i
        for i in infos
        if i.grid
        and i.activated
        and i.features
        and not i.lost_by
        and i.grid[0] > coarse.grid[0]
        and i.grid[1] > coarse.grid[1]
    ]
    if not larger:
        return None
    next_size = min(i.grid for i in larger if i.grid)
    fine = [i for i in larger if i.grid == next_size]
    return coarse.path, ([i for i in fine if i.bottleneck] or fine)[-1].path
