"""Which tensors of a traced graph come directly from an activation function, whatever layer computes it."""

from __future__ import annotations

import tensorflow as tf

ACTIVATIONS = {
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax", "Exp", "Erf", "Erfc",
    "Abs", "Square", "Maximum", "Minimum", "ClipByValue",
}  # fmt: skip
"""Operations that make a function of one tensor nonlinear."""

NONNEGATIVE = {"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs", "Square"}
_KEEPS_SIGN = {
    "Identity", "IdentityN", "MaxPool", "AvgPool", "Mean", "Max", "Reshape", "Cast", "Pad", "ConcatV2", "AddV2", "Add", "Mul",
    "MirrorPad", "ResizeBilinear", "ResizeNearestNeighbor", "Transpose", "Squeeze", "ExpandDims",
}  # fmt: skip
_CELL_BY_CELL = {
    "Mul", "AddV2", "Add", "AddN", "Sub", "Neg", "RealDiv", "Pow", "Cast", "Identity", "IdentityN", "Log1p", "Expm1", "Log",
    "Sqrt", "Select", "SelectV2", "Greater", "GreaterEqual", "Less", "LessEqual",
} | ACTIVATIONS  # fmt: skip
_SAME_VALUES = {"Identity", "IdentityN", "Cast"}


def is_activated(tensor: tf.Tensor) -> bool:
    """Return True if a tensor is a nonlinear function, cell by cell, of one tensor of its shape, or joins such tensors.

    Examples are ReLU, x * sigmoid(x), and GELU as it is written out with erf or tanh. A product with a factor that is computed
    otherwise, as in squeeze-and-excite, is none.
    """
    while tensor.op.type in _SAME_VALUES:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    if tensor.op.type == "ConcatV2":
        return all(is_activated(source) for source in tensor.op.inputs if source.dtype.is_floating)
    if tensor.op.type in ACTIVATIONS and len(_inside(tensor.op, tensor)) <= 1:
        return True
    if not _is_cell_by_cell(tensor.op, tensor):
        return False
    sources, kinds = set(), set[str]()
    pending, met = [tensor], {tensor.ref()}
    while pending:
        current = pending.pop()
        if not _is_cell_by_cell(current.op, tensor):
            sources.add(current.ref())
            continue
        kinds.add(current.op.type)
        for source in _inside(current.op, tensor):
            if source.ref() not in met:
                met.add(source.ref())
                pending.append(source)
    return len(sources) == 1 and bool(kinds & ACTIVATIONS)


def _inside(op: tf.Operation, tensor: tf.Tensor) -> list[tf.Tensor]:
    """Return the inputs of an operation that have the rank and the shape of a tensor."""
    return [s for s in op.inputs if s.shape.rank == tensor.shape.rank and s.shape[1:] == tensor.shape[1:]]


def _is_cell_by_cell(op: tf.Operation, tensor: tf.Tensor) -> bool:
    """Return True if an operation takes cells one by one, and no scale or shift for each channel, except PReLU's."""
    inside = _inside(op, tensor)
    if op.type not in _CELL_BY_CELL or not inside:
        return False
    beside = [s for s in op.inputs if s.dtype.is_floating and all(s is not one for one in inside)]
    return all(s.shape.num_elements() == 1 for s in beside) or (op.type == "Mul" and inside[0].op.type in ACTIVATIONS)


def is_nonnegative(tensor: tf.Tensor) -> bool:
    """Return True if no value of a tensor can be below zero."""
    pending, met = [tensor], set()
    while pending:
        op = pending.pop().op
        if op.name in met or op.type in NONNEGATIVE:
            continue
        met.add(op.name)
        inputs = [source for source in op.inputs if source.dtype.is_floating]
        if op.type not in _KEEPS_SIGN or not inputs:
            return False
        pending.extend(inputs)
    return True
