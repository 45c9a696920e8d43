"""Which tensors of a traced model all information about the image goes through."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

_OF_SHAPE_ALONE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
"""Operations whose output does not depend on the values of their input."""


def ways_through(start: tf.Tensor, end: tf.Tensor) -> Mapping[str, bool]:
    """Say for each operation between two tensors whether every way from one to the other goes through it.

    An operation lies on every way exactly when the number of ways to it times the number from it is the number of all:
    what a residual connection leads around is no passage. Ways of whole numbers, such as shapes, do not count.
    """
    operations = end.graph.get_operations()
    into = {start.op.name: 1}
    for op in operations:
        reached = sum(into.get(source.op.name, 0) for source in op.inputs if source.dtype.is_floating)
        if reached:
            into[op.name] = into.get(op.name, 0) + reached
    out = {end.op.name: 1}
    for op in reversed(operations):
        leaving = out.get(op.name, 0)
        for source in op.inputs if leaving else ():
            if source.dtype.is_floating:
                out[source.op.name] = out.get(source.op.name, 0) + leaving
    total = into.get(end.op.name, 0)
    return {name: ways * out.get(name, 0) == total for name, ways in into.items() if name in out}


def operations_between(start: tf.Tensor, end: tf.Tensor) -> list[tf.Operation]:
    """Return the operations on the ways from one tensor to another, in the order they were traced."""
    reached = {start.ref()}
    forward = []
    for op in end.graph.get_operations():
        if op.type not in _OF_SHAPE_ALONE and any(source.ref() in reached for source in op.inputs):
            forward.append(op)
            reached.update(out.ref() for out in op.outputs)
    needed, pending = set[str](), [end.op]
    while pending:
        op = pending.pop()
        if op.name not in needed:
            needed.add(op.name)
            pending.extend(source.op for source in op.inputs)
    return [op for op in forward if op.name in needed]
