"""Values in a traced graph that do not depend on the image, such as the corner of a crop that is computed from a shape."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
_COMPUTE = {
    "Abs", "Add", "AddV2", "All", "Any", "BroadcastTo", "Cast", "Ceil", "ClipByValue", "Concat", "ConcatV2", "Const", "Div",
    "Equal", "ExpandDims", "Fill", "Floor", "FloorDiv", "FloorMod", "GatherV2", "Greater", "GreaterEqual", "Identity", "Less",
    "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Max", "Maximum", "Mean", "Min", "Minimum", "Mod", "Mul", "Neg",
    "NotEqual", "OnesLike", "Pack", "Prod", "Range", "RealDiv", "Reshape", "ReverseV2", "Rint", "Round", "Select", "SelectV2",
    "Slice", "Split", "SplitV", "Sqrt", "Square", "Squeeze", "StopGradient", "StridedSlice", "Sub", "Sum", "Tile", "Transpose",
    "TruncateDiv", "TruncateMod", "Unpack", "ZerosLike",
}  # fmt: skip
"""Operations that are run to learn such a value: each does nothing but compute."""

_MOST_OPERATIONS = 500
_MOST_NUMBERS = 100_000


def constant_value(tensor: tf.Tensor, known: Mapping[Any, NDArray[Any]] | None = None) -> NDArray[Any] | None:
    """Return the value of a tensor that follows from constants and static shapes alone; None if it does not, or is large.

    known: values of other tensors of its graph, by their references, such as arguments of a function.
    """
    known = known or {}
    if tensor.ref() in known:
        return known[tensor.ref()]
    value = tf.get_static_value(tensor)
    if value is not None:
        return np.asarray(value)
    needed: list[tf.Operation] = []
    given: dict[str, NDArray[Any]] = {}
    pending, met = [tensor.op], set[str]()
    while pending:
        op = pending.pop()
        if op.name in met:
            continue
        met.add(op.name)
        if op.outputs and op.outputs[0].ref() in known:
            given[op.outputs[0].name] = known[op.outputs[0].ref()]
        elif op.type in _SHAPES:
            for out, source in zip(op.outputs, op.inputs, strict=True):
                if not source.shape.is_fully_defined():
                    return None
                given[out.name] = _of_shape(op.type, source.shape).astype(out.dtype.as_numpy_dtype)
        elif op.type not in _COMPUTE or any((out.shape.num_elements() or 0) > _MOST_NUMBERS for out in op.outputs):
            return None
        else:
            needed.append(op)
            pending.extend(source.op for source in op.inputs)
        if len(met) > _MOST_OPERATIONS:
            return None
    definition = tf.compat.v1.GraphDef()
    definition.node.extend(op.node_def for op in needed)
    for node in definition.node:
        node.ClearField("device")
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    try:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            fed = {name: tf.constant(value) for name, value in given.items()}
            (found,) = tf.graph_util.import_graph_def(definition, fed, [tensor.name], name="")
            return np.asarray(session.run(found))
    except (ValueError, tf.errors.OpError):
        return None


def _of_shape(kind: str, shape: tf.TensorShape) -> NDArray[Any]:
    if kind == "Size":
        return np.array(shape.num_elements())
    return np.array(shape.rank if kind == "Rank" else shape.as_list())
