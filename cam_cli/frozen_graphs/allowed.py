"""Which operations may lie between an image and the scores: those that only compute. All others are refused.

That an operation is stateless is no test: ReadFile, MatchingFiles, ImmutableConst and PyFuncStateless are stateless too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from cam_cli.frozen_graphs.description import UnreadableError

COMPUTES = frozenset({
    "Const", "Placeholder", "PlaceholderWithDefault", "Identity", "IdentityN", "StopGradient", "PreventGradient",
    "Snapshot", "EnsureShape", "CheckNumerics", "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan",
    "FloorDiv", "FloorMod", "Neg", "Abs", "Sign", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Inv", "Exp", "Expm1", "Log",
    "Log1p", "Pow", "Maximum", "Minimum", "SquaredDifference", "Floor", "Ceil", "Round", "Rint", "Erf", "Erfc", "Sin",
    "Cos", "Tanh", "Sigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu",
    "BiasAdd", "BiasAddV1", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv2D", "Conv3D",
    "DepthwiseConv2dNative", "Conv2DBackpropInput", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "LRN",
    "L2Loss", "MaxPool", "MaxPoolV2", "AvgPool", "Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin",
    "TopKV2", "Cumsum", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Pack", "Unpack", "Concat", "ConcatV2", "Split",
    "SplitV", "Tile", "Slice", "StridedSlice", "Gather", "GatherV2", "GatherNd", "Pad", "PadV2", "MirrorPad", "ReverseV2",
    "BroadcastTo", "BroadcastArgs", "Roll", "SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace",
    "ExtractImagePatches", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "CropAndResize",
    "ScaleAndTranslate", "AdjustContrastv2", "Shape", "ShapeN", "Size", "Rank", "Fill", "Range", "ZerosLike", "OnesLike",
    "OneHot", "Cast", "Bitcast", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd",
    "LogicalOr", "LogicalNot", "Select", "SelectV2", "ClipByValue", "InvertPermutation", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel",
})  # fmt: skip
"""Operations that take tensors and give tensors, and do nothing else."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})

LEARNED = frozenset({
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2",
    "BatchMatMulV3", "Einsum",
})  # fmt: skip
"""Operations that multiply by learned weights."""

PASSES_ON = frozenset({
    "Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape", "CheckNumerics", "Snapshot",
})  # fmt: skip
"""Operations that give what they take, up to its type."""

_LOOPS = frozenset({
    "Enter", "Exit", "NextIteration", "LoopCond", "While", "StatelessWhile", "TensorArrayV3", "TensorListReserve",
})  # fmt: skip
_LISTS = ("TensorList", "TensorArray")
"""What the steps of a loop are collected in."""

_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "Switch", "Merge"})
_RANDOM = ("Random", "Multinomial")
_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def refuse_all_but_computing(nodes: list[Any], replaced: dict[str, str]) -> None:
    """Hold the nodes between image and scores against the list.

    Args:
        nodes: NodeDefs.
        replaced: the operation that a placeholder stands for, by the placeholder's name.

    Raises:
        UnreadableError: one of them does something else; the message names the operations.
    """
    odd = Counter(replaced.get(node.name, node.op) for node in nodes)
    for operation in COMPUTES & odd.keys():
        del odd[operation]
    if any(
        node.op in _BATCH_NORMS and (node.attr["is_training"].b or "is_training" not in node.attr) for node in nodes
    ):
        raise UnreadableError(
            "is a training graph: it normalises each image by the others of its batch; export it again for inference"
        )
    if not odd:
        return
    listed = ", ".join(sorted(odd)[:6])
    if any(operation.startswith(_RANDOM) or "Random" in operation for operation in odd):
        raise UnreadableError(
            f"is a training graph: something random, such as dropout, is left in it ({listed}); export it again for inference"
        )
    if odd.keys() & _LOOPS or any(operation.startswith(_LISTS) for operation in odd):
        raise UnreadableError(
            f"has a loop (LSTM, GRU) between image and scores ({listed}), which is not read; give the .keras or .h5 file"
        )
    if odd.keys() & _BRANCHES:
        raise UnreadableError(
            f"decides while it runs which part of it counts ({listed}); export it again for inference alone"
        )
    raise UnreadableError(
        f"has operations between image and scores that no image classifier needs, so they are not run: {listed}"
    )
