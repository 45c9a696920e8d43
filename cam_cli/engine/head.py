"""The head of a layer: the operations between the layer and the class score, and how the score depends on the layer."""

from collections.abc import Iterator

import tensorflow as tf

from cam_cli.engine.model_analysis import Head
from cam_cli.errors import UsageError
from cam_cli.graph.operations import operations_between

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
    "ClipByValue", "SelectV2", "Select", "Greater", "GreaterEqual", "Less", "LessEqual", "Sign",
}  # fmt: skip

_CELL_BY_CELL = {
    "AddN", "AddV2", "Add", "Sub", "Mul", "RealDiv", "BiasAdd", "Neg", "Identity", "IdentityN", "Cast", "PreventGradient",
    "EnsureShape", "FusedBatchNormV3", "FusedBatchNormV2", "FusedBatchNorm", "Relu", "Relu6", "LeakyRelu", "Maximum",
    "Minimum", "Abs", "ClipByValue", "Sigmoid", "Tanh", "Erf", "Erfc", "Exp", "Log", "Log1p", "Expm1", "Square", "Sqrt",
    "Rsqrt", "Pow", "Softplus", "Softsign", "Elu", "Selu", "Reciprocal", "SquaredDifference",
}  # fmt: skip


def head_kind(path: str, activations: tf.Tensor, logits: tf.Tensor) -> Head:
    """Classify the head of a layer by its least linear operation.

    `AFFINE` proves that dS/dA is the same for every input: an operation that is not known to be linear counts as `SMOOTH`.
    Raises UsageError if the scores do not depend on the layer.
    """
    kinds = [_kind(op, dependent) for op, dependent in _operations(path, activations, logits)]
    return max(kinds, key=list(Head).index, default=Head.AFFINE)


def is_separable(activations: tf.Tensor, logits: tf.Tensor) -> bool:
    """Return True if d2S/dA2 and d3S/dA3 are diagonal: every smooth operation acts on each cell of the layer by itself.

    An example is an activation function directly above the layer, then pooling, dense layers and ReLUs.
    """
    cell_by_cell = {activations.ref()}
    for op, dependent in _operations("", activations, logits):
        alone = all(op.inputs[i].ref() in cell_by_cell for i in dependent)
        if alone and op.type in _CELL_BY_CELL and op.outputs[0].shape == activations.shape:
            cell_by_cell.add(op.outputs[0].ref())
        elif _kind(op, dependent) is Head.SMOOTH:
            return False
    return True


def _operations(path: str, activations: tf.Tensor, logits: tf.Tensor) -> Iterator[tuple[tf.Operation, list[int]]]:
    """Yield the operations between a layer and the scores in order, each with its inputs that depend on the layer."""
    reached = {activations.ref()}
    for op in operations_between(activations, logits):
        reached.update(out.ref() for out in op.outputs)
        yield op, [i for i, tensor in enumerate(op.inputs) if tensor.ref() in reached]
    if logits.ref() not in reached:
        raise UsageError(
            f"layer '{path}': the class score does not depend on it; choose a layer on the way to the output"
        )


def _kind(op: tf.Operation, dependent: list[int]) -> Head:
    if op.type in _LINEAR_IN_EACH_INPUT:
        return Head.AFFINE
    if op.type in _LINEAR_IN_ONE_INPUT and len(dependent) == 1:
        divides_by_it = op.type == "RealDiv" and dependent != [0]
        normalises_by_it = op.type.startswith("FusedBatchNorm") and (op.get_attr("is_training") or dependent != [0])
        return Head.SMOOTH if divides_by_it or normalises_by_it else Head.AFFINE
    if op.type in _PIECEWISE_LINEAR:
        return Head.PIECEWISE_LINEAR
    return Head.SMOOTH
