"""Bounds on the sizes in a graph, checked before anything in it is computed or folded."""

from __future__ import annotations

from math import prod

import tensorflow as tf

from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.source import GraphDef

MOST_VALUES = 2**28
"""Of one tensor, for one image: 1 GB in float32. The largest in keras.applications has 2**25."""

MOST_CONSTANT_VALUES = 2**28
"""Of all tensors together that are computed from constants alone, beside the constants themselves."""

MOST_CONSTANTS = 2**29
"""Of all constants together: 2 GB in float32, the most that a GraphDef can hold."""


def check_constants(definition: GraphDef) -> None:
    """Raise UnreadableError if a constant is too large, or claims to be larger than what the file holds of it."""
    total = 0
    for node in definition.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        count = prod(dim.size for dim in tensor.tensor_shape.dim)
        total += max(count, 0)
        if count < 0 or tensor.tensor_shape.unknown_rank or count > MOST_VALUES or total > MOST_CONSTANTS:
            raise UnreadableError(f"has a constant '{node.name[:80]}' of {count:,} values, more than any network")
        if tensor.tensor_content:
            size = tf.as_dtype(tensor.dtype).size
            if len(tensor.tensor_content) != count * size:
                raise UnreadableError(f"is damaged: its constant '{node.name[:80]}' is cut short")


def check_sizes(graph: tf.Graph, image: str) -> None:
    """Raise UnreadableError if a tensor is too large, or if its size cannot be known before the graph runs.

    Args:
        graph: traced for one image of the size that it will get.
        image: the tensor of the image.
    """
    reached = {image}
    constant = 0
    for op in graph.get_operations():
        depends = any(source.name in reached for source in op.inputs) and op.type not in (
            "Shape",
            "ShapeN",
            "Size",
            "Rank",
        )
        if depends:
            reached.update(output.name for output in op.outputs)
        for output in op.outputs:
            if output.value_index and not output.consumers():
                continue
            count = output.shape.num_elements()
            if count is None:
                raise UnreadableError(
                    f"has an operation '{op.name[:80]}' ({op.type}) whose size is not known before it runs"
                )
            if count > MOST_VALUES:
                raise UnreadableError(
                    f"has an operation '{op.name[:80]}' ({op.type}) that makes {count:,} values of one image, "
                    "more than any network"
                )
            constant += 0 if depends or op.type in ("Const", "Identity") else count
    if constant > MOST_CONSTANT_VALUES:
        raise UnreadableError(f"makes {constant:,} values of its constants alone, more than any network")
