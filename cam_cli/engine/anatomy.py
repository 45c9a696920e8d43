"""What a model looks like from the class score down to a layer, read off the traced graph.

The graph is the one form that every Keras model comes down to, so a softmax is found, and a head proved affine,
whether it was written as an argument of a Dense layer, as a layer of its own or inside a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import keras
import tensorflow as tf

from cam_cli.errors import ModelError, UsageError
from cam_cli.models.calls import Trace, is_map


class Link(StrEnum):
    """How the model's output follows from its logits."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LOGITS = "logits"


class Head(StrEnum):
    """How the score depends on a layer: decides whether noise can matter and whether the closed form is exact."""

    AFFINE = "affine"
    PIECEWISE_LINEAR = "piecewise linear"
    SMOOTH = "smooth"


@dataclass(frozen=True)
class Anatomy:
    """What a model looks like from the score down to the layers that are explained.

    input_shape: (H, W, C). grids: (h, w, K) of each layer by path; heads: what stands above it.
    """

    input_shape: tuple[int, int, int]
    classes: int
    link: Link
    layers: Mapping[str, keras.Layer]
    grids: Mapping[str, tuple[int, int, int]]
    heads: Mapping[str, Head]


def examine(traced: Trace, paths: Sequence[str]) -> Anatomy:
    """Read off a traced model what the engine needs to know of it.

    Args:
        paths: the layers to be explained.

    Raises:
        ModelError: the output is no row of class scores. UsageError: a layer does not run, has no grid of feature maps, or does
            not feed the score.
    """
    logits, link = logits_of(traced.output)
    taps = {path: last_map(path, traced.calls[path], logits.graph) for path in paths}
    return Anatomy(
        input_shape=traced.input_shape,
        classes=int(logits.shape[-1]),
        link=link,
        layers={path: traced.layers[path] for path in paths},
        grids={path: (tap.shape[1], tap.shape[2], tap.shape[3]) for path, tap in taps.items()},
        heads={path: head_kind(path, tap, logits) for path, tap in taps.items()},
    )


def last_map(path: str, calls: list[Any], graph: tf.Graph) -> tf.Tensor:
    """Return the output of a layer's last call, (rows, h, w, K), or raise a UsageError that says what it is instead."""
    if not calls:
        raise UsageError(f"layer '{path}' is not used when the model runs; `smoothcam layers` lists those that are")
    output = calls[-1]
    if not is_map(output):
        shape = str(tuple(output.shape[1:])) if isinstance(output, tf.Tensor) else type(output).__name__
        raise UsageError(f"layer '{path}' gives no feature maps: its output is {shape}, not (rows, columns, channels)")
    if output.graph is not graph:
        raise ModelError(f"layer '{path}' runs inside a compiled function that cannot be looked into")
    return output


_PASSES_ON = {"Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape"}

_LINEAR_IN_EACH_INPUT = {
    "AddN", "AddV2", "Add", "Sub", "BiasAdd", "Neg", "Mean", "Sum", "AvgPool", "AvgPool3D", "Cumsum",
    "Reshape", "Squeeze", "ExpandDims", "Transpose", "Pack", "Unpack", "ConcatV2", "Concat", "Split", "SplitV", "Tile",
    "Slice", "StridedSlice", "GatherV2", "GatherNd", "Pad", "PadV2", "MirrorPad", "ReverseV2", "BroadcastTo", "Roll",
    "SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace", "ResizeBilinear", "ResizeNearestNeighbor",
    "ResizeBicubic", "Identity", "IdentityN", "Cast", "PreventGradient", "EnsureShape",
}  # fmt: skip

_LINEAR_IN_ONE_INPUT = {
    "Mul", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv2D", "Conv3D",
    "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "RealDiv", "FusedBatchNormV3",
    "FusedBatchNormV2", "FusedBatchNorm",
}  # fmt: skip

_PIECEWISE_LINEAR = {
    "Relu", "Relu6", "LeakyRelu", "MaxPool", "MaxPoolV2", "MaxPool3D", "Max", "Min", "Maximum", "Minimum", "Abs",
    "ClipByValue", "SelectV2", "Select",
}  # fmt: skip


def logits_of(output: tf.Tensor) -> tuple[tf.Tensor, Link]:
    """Return the class scores before the final softmax or sigmoid, and which of them it was.

    A single sigmoid unit z becomes two classes with scores (-z, z), so that either side can be explained.

    Args:
        output: the model's output in a graph under construction, (rows, classes).

    Raises:
        ModelError: the output is not one row of class scores for each image.
    """
    if output.shape.rank != 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; a classifier gives one row of scores for each image"
        )
    tensor = output
    while tensor.op.type in _PASSES_ON:
        tensor = tensor.op.inputs[0]
    link = {"Softmax": Link.SOFTMAX, "Sigmoid": Link.SIGMOID}.get(tensor.op.type, Link.LOGITS)
    logits = output if link is Link.LOGITS else tensor.op.inputs[0]
    if logits.shape[-1] == 1:
        return tf.concat([-logits, logits], axis=-1), Link.SIGMOID
    return logits, link


def head_kind(path: str, activations: tf.Tensor, logits: tf.Tensor) -> Head:
    """Classify the path from a layer to the scores by its worst operation.

    `AFFINE` is a proof that dS/dA is the same for every input; an operation that is not known to be linear counts as
    `SMOOTH`, so that the proof errs on the safe side only.

    Raises:
        UsageError: the scores do not depend on the layer.
    """
    needed = _ancestors(logits)
    reached = {activations.ref()}
    pending = [activations]
    kind = Head.AFFINE
    on_path: dict[str, tf.Operation] = {}
    while pending:
        for op in pending.pop().consumers():
            if op.name not in needed:
                continue
            on_path[op.name] = op
            for out in op.outputs:
                if out.dtype.is_floating and out.ref() not in reached:
                    reached.add(out.ref())
                    pending.append(out)
    if logits.ref() not in reached:
        raise UsageError(
            f"layer '{path}': the class score does not depend on it; choose a layer on the way to the output"
        )
    for op in on_path.values():
        if not any(out.ref() in reached for out in op.outputs):
            continue
        dependent = [i for i, tensor in enumerate(op.inputs) if tensor.ref() in reached]
        kind = max(kind, _operation_kind(op, dependent), key=list(Head).index)
    return kind


def _operation_kind(op: tf.Operation, dependent: list[int]) -> Head:
    if op.type in _LINEAR_IN_EACH_INPUT:
        return Head.AFFINE
    if op.type in _LINEAR_IN_ONE_INPUT and len(dependent) == 1:
        divides_by_it = op.type == "RealDiv" and dependent != [0]
        normalises_by_it = op.type.startswith("FusedBatchNorm") and (op.get_attr("is_training") or dependent != [0])
        return Head.SMOOTH if divides_by_it or normalises_by_it else Head.AFFINE
    if op.type in _PIECEWISE_LINEAR:
        return Head.PIECEWISE_LINEAR
    return Head.SMOOTH


def _ancestors(tensor: tf.Tensor) -> set[str]:
    names: set[str] = set()
    pending = [tensor.op]
    while pending:
        op = pending.pop()
        if op.name not in names:
            names.add(op.name)
            pending.extend(source.op for source in op.inputs)
    return names
