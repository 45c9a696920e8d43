"""Questions to the graph of a traced model."""

from collections import Counter
from collections.abc import Iterator

import tensorflow as tf

_OF_SHAPE_ALONE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
"""Operations whose output does not depend on the values of their input."""


def bottlenecks(start: tf.Tensor, end: tf.Tensor) -> set[str]:
    """Return the names of the operations that lie on every path from one tensor to another.

    An operation lies on every path if (paths from the start to it) x (paths from it to the end) is the number of all
    paths. Inside a residual block there is no such operation, because the shortcut is another path. Only tensors of
    floating-point numbers count, not shapes.
    """
    operations = end.graph.get_operations()
    to_here = Counter({start.op.name: 1})
    for op in operations:
        to_here[op.name] += sum(to_here[source.op.name] for source in op.inputs if source.dtype.is_floating)
    from_here = Counter({end.op.name: 1})
    for op in reversed(operations):
        for source in op.inputs:
            if source.dtype.is_floating:
                from_here[source.op.name] += from_here[op.name]
    total = to_here[end.op.name]
    return {name for name, paths in to_here.items() if paths * from_here[name] == total > 0}


def operations_between(start: tf.Tensor, end: tf.Tensor) -> list[tf.Operation]:
    """Return the operations on the paths from one tensor to another, in the order in which they were traced."""
    reached = {start.ref()}
    forward = []
    for op in end.graph.get_operations():
        if op.type not in _OF_SHAPE_ALONE and any(source.ref() in reached for source in op.inputs):
            forward.append(op)
            reached.update(out.ref() for out in op.outputs)
    needed = {op.name for op in ancestors(end)}
    return [op for op in forward if op.name in needed]


def ancestors(tensor: tf.Tensor) -> Iterator[tf.Operation]:
    """Yield all operations that a tensor is computed from, its own first."""
    pending, met = [tensor.op], set[str]()
    while pending:
        op = pending.pop()
        if op.name not in met:
            met.add(op.name)
            yield op
            pending.extend(source.op for source in op.inputs)
