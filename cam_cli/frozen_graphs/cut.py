"""Cut a graph at the image and at the scores, check what is left, and let it take any number of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cam_cli.frozen_graphs.allowed import LEARNED, refuse_all_but_computing
from cam_cli.frozen_graphs.bounds import check_constants, check_sizes
from cam_cli.frozen_graphs.channels_first import in_channels_last, tapped_in_channels_last
from cam_cli.frozen_graphs.description import Choice, GraphDescription, UnreadableError
from cam_cli.frozen_graphs.ends import Image, find_image, find_scores
from cam_cli.frozen_graphs.inline import FlatGraph, flatten
from cam_cli.frozen_graphs.scopes import layers_of
from cam_cli.frozen_graphs.source import GraphDef, GraphSource, NodeDef, node_name, tensor_name
from cam_cli.text import one_line

_DEFAULT_SIDE = 224
_STACKED = "TensorListStack"
"""The operation that ends a loop over the images of a batch, which decodes and resizes them."""

_LONGEST_REASON = 300


@dataclass(frozen=True)
class FrozenNetwork:
    """A GraphDef of operations that only compute, between one image and the scores, and its description."""

    definition: GraphDef
    description: GraphDescription


def cut_out(source: GraphSource, choice: Choice, size: tuple[int, int] | None) -> FrozenNetwork:
    """Return what lies between the image and the scores of a graph.

    Args:
        source: the graph as its file holds it.
        choice: the ends that the user names.
        size: rows and columns of the input, if they are known.

    Raises:
        UnreadableError: there is no image or no scores, or what lies between them may not be run or is too large.
    """
    outputs = _outputs(source, choice.output)
    wanted = tensor_name(source.inputs.get(choice.input, choice.input)) if choice.input else None
    flat = flatten(source, [*outputs.values(), *([wanted] if wanted else [])])
    check_constants(flat.definition)
    _give_shapes(flat, size)
    graph = imported(flat.definition)
    scores, remarks = find_scores(graph, {key: flat.names[output] for key, output in outputs.items()})
    try:
        image = find_image(graph, scores, flat.names[wanted] if wanted else None)
    except UnreadableError:
        refuse_all_but_computing(list(flat.definition.node), flat.replaced)  # which may be why there is no image
        raise
    definition = _between(flat, image, scores)
    rows, columns = size or (image.shape[0] or _DEFAULT_SIDE, image.shape[1] or _DEFAULT_SIDE)
    one = [1, rows, columns, image.shape[2] or 3]
    lift_batch(definition, image.tensor.name, _fed(one, image))
    in_channels_last(definition, imported(definition, {image.tensor.name: _fed(one, image)}))
    graph = imported(definition, {image.tensor.name: _fed(one, image)})
    check_sizes(graph, image.tensor.name)
    _check_rows(definition, image, one, scores.name)
    layers = layers_of(graph, image.tensor.name, scores.name)
    if image.channels_first:
        layers = tapped_in_channels_last(definition, graph, image.tensor.name, layers)
    _drop_empty_attributes(definition)
    description = GraphDescription(
        input=image.tensor.name,
        shape=image.shape,
        channels_first=image.channels_first,
        output=scores.name,
        layers=layers,
        mean=source.mean or image.mean,
        std=source.std or image.std,
        scaling_remark=source.scaling_remark,
        remarks=(*source.remarks, *remarks),
    )
    return FrozenNetwork(definition, description)


def _outputs(source: GraphSource, wanted: str | None) -> Mapping[str, str]:
    if wanted is None:
        if not source.outputs:
            raise UnreadableError("has no output")
        return {key: tensor_name(output) for key, output in source.outputs.items()}
    if wanted not in source.outputs and node_name(wanted) not in source.nodes:
        known = ", ".join(map(repr, [*source.outputs][:8]))
        raise UnreadableError(f"has no output or operation '{wanted}'; its outputs are {known or 'not named'}")
    return {wanted: tensor_name(source.outputs.get(wanted, wanted))}


def imported(definition: GraphDef, shapes: Mapping[str, list[int | None]] | None = None) -> tf.Graph:
    """Return a GraphDef as a graph, with the shapes that TensorFlow infers.

    Args:
        shapes: of placeholders, by tensor.

    Raises:
        UnreadableError: it is no sound graph, or the shapes do not fit it.
    """
    copy = definition
    if shapes:
        copy = tf.compat.v1.GraphDef()
        copy.CopyFrom(definition)
        nodes = {node.name: node for node in copy.node}
        for tensor, shape in shapes.items():
            nodes[node_name(tensor)].attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.graph_util.import_graph_def(copy, name="")
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        reason = one_line(error, _LONGEST_REASON)
        if shapes:
            fed = " x ".join(str(n) for n in next(iter(shapes.values()))[1:])
            raise UnreadableError(
                f"does not take an input of {fed} ({reason}); name its size with --input-size"
            ) from error
        raise UnreadableError(f"is damaged: its graph is not sound ({reason})") from error
    return graph


def _fed(one: list[Any], image: Image) -> list[int | None]:
    """Return the shape of the graph's own input for images of shape `one`, (batch, rows, columns, channels)."""
    batch, rows, columns, channels = one
    return [batch, channels, rows, columns] if image.channels_first else [batch, rows, columns, channels]


def _give_shapes(flat: FlatGraph, size: tuple[int, int] | None) -> None:
    """Give a placeholder at the top of the first convolution the rank of images, if the file says nothing of its shape."""
    nodes = {node.name: node for node in flat.definition.node}
    first = next((node for node in flat.definition.node if node.op in LEARNED), None)
    node = first
    for _ in range(len(nodes)):
        if node is None or not node.input:
            break
        node = nodes.get(node_name(node.input[0]))
    if node is None or node.op not in ("Placeholder", "PlaceholderWithDefault"):
        return
    if flat.replaced.get(node.name, _STACKED) != _STACKED:
        return
    shape = node.attr["shape"].shape
    unknown = shape.unknown_rank or not shape.dim
    if unknown and first is not None and "Conv" in first.op and tf.as_dtype(node.attr["dtype"].type).is_floating:
        shape.CopyFrom(tf.TensorShape((None, *(size or (None, None)), None)).as_proto())


def _between(flat: FlatGraph, image: Image, scores: Any) -> GraphDef:
    """Return the nodes between two tensors, a placeholder in the stead of the first, held against the allow list."""
    kept = {op.name for op in _ancestors_below(scores.op, image.tensor.op)}
    cut = tf.compat.v1.GraphDef()
    cut.versions.CopyFrom(flat.definition.versions)
    strangers: list[str] = []
    for node in flat.definition.node:
        if node.name not in kept:
            continue
        made = cut.node.add()
        if node.name == image.tensor.op.name:
            made.name, made.op = node.name, "Placeholder"
            made.attr["dtype"].type = image.tensor.dtype.as_datatype_enum
            continue
        made.CopyFrom(node)
        if node.op in ("Placeholder", "PlaceholderWithDefault") and node.name not in flat.replaced:
            _settle_placeholder(made, strangers)
    refuse_all_but_computing(list(cut.node), flat.replaced)
    if strangers:
        raise UnreadableError(
            f"needs further inputs ({', '.join(sorted(strangers)[:6])}); smoothcam explains classifiers of one "
            "image. If another tensor is the image, name it with --model-input"
        )
    if image.tensor.value_index != 0:
        raise UnreadableError(f"has its image at '{image.tensor.name}', which is not the first output of an operation")
    return cut


def _settle_placeholder(node: NodeDef, strangers: list[str]) -> None:
    """Let a placeholder beside the image have its default, or False if it says whether the network is trained."""
    kind = node.attr["dtype"].type
    if node.op == "PlaceholderWithDefault":
        node.op = "Identity"
        node.attr.clear()
        node.attr["T"].type = kind
    elif kind == tf.bool.as_datatype_enum:
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = kind
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(False))
    else:
        strangers.append(repr(node.name[:60]))


def _ancestors_below(end: Any, start: Any) -> Iterator[Any]:
    pending, met = [end], set[str]()
    while pending:
        op = pending.pop()
        if op.name not in met:
            met.add(op.name)
            yield op
            if op is not start:
                pending += [source.op for source in op.inputs]


def lift_batch(definition: GraphDef, image: str, shape: list[int | None]) -> None:
    """Let a graph that was saved for one image take any number: the first number in the size of a Reshape becomes open.

    That is so if it is the batch of 1, alone or times the rows and columns, as before a dense layer on feature maps.

    Args:
        definition: changed where it stands.
        image: the tensor of the images.
        shape: of one image, with a batch of 1.
    """
    graph = imported(definition, {image: shape})
    nodes = {node.name: node for node in definition.node}
    reached = {image}
    for op in graph.get_operations():
        if not any(source.name in reached for source in op.inputs) or op.type in ("Shape", "ShapeN", "Size", "Rank"):
            continue
        reached.update(output.name for output in op.outputs)
        node, after = nodes[op.name], op.outputs[0].shape
        if op.type == "Squeeze" and not node.attr["squeeze_dims"].list.i and op.inputs[0].shape.rank is not None:
            dims = [i for i, n in enumerate(op.inputs[0].shape) if i and n == 1]
            node.attr["squeeze_dims"].list.i.extend(dims or [])
            if not dims:
                node.op = "Identity"
                del node.attr["squeeze_dims"]
        if op.type != "Reshape" or op.inputs[0].name not in reached:
            continue
        size, before = tf.get_static_value(op.inputs[1]), op.inputs[0].shape
        if size is None or op.inputs[1].name in reached or size.ndim != 1 or not len(size):
            continue
        if size[0] != 1 and not (before.rank and before[0] in (1, size[0])):
            continue
        if None in after[1:]:
            continue
        constant = definition.node.add(name=f"{op.name}/any_batch", op="Const")
        constant.attr["dtype"].type = tf.int64.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array([-1, *after[1:]], np.int64)))
        node.input[1] = constant.name
        node.attr["Tshape"].type = tf.int64.as_datatype_enum


def _drop_empty_attributes(definition: GraphDef) -> None:
    """Drop attributes without a value, which reading a protocol buffer's map leaves behind; no function may have them."""
    for node in definition.node:
        for name in [name for name, value in node.attr.items() if value.WhichOneof("value") is None]:
            del node.attr[name]


def _check_rows(definition: GraphDef, image: Image, one: list[int], output: str) -> None:
    """Raise UnreadableError if two images do not give two rows of scores."""
    pair = imported(definition, {image.tensor.name: _fed([2, *one[1:]], image)})
    shape = pair.get_tensor_by_name(output).shape
    if shape.rank is None or shape.rank < 2 or shape[0] not in (2, None) or set(shape[1:-1]) - {1}:
        raise UnreadableError(
            f"takes one image at a time in a way that cannot be lifted: two give scores of shape {shape}; "
            "save it with a free batch"
        )
