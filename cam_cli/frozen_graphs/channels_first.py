"""Graphs that keep the channels before rows and columns, as those made from PyTorch do.

Processors compute convolutions of such tensors only with the channels last, and maps are made of layers with the channels
last. So transposes are put around such operations and layers, which change no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from cam_cli.frozen_graphs.description import GraphLayer
from cam_cli.frozen_graphs.source import GraphDef, NodeDef, node_name

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_BY_AXIS = ("strides", "dilations", "ksize")


def in_channels_last(definition: GraphDef, graph: tf.Graph) -> None:
    """Let each operation that is marked NCHW compute with the channels last, between two transposes.

    Args:
        definition: changed where it stands.
        graph: the same, with shapes.
    """
    marked = [node for node in definition.node if "data_format" in node.attr and node.attr["data_format"].s == b"NCHW"]
    for node in marked:
        tensor = graph.get_operation_by_name(node.name).inputs[0]
        if tensor.shape.rank != 4:
            continue
        inner = definition.node.add()
        inner.CopyFrom(node)
        inner.name = f"{node.name}/channels_last"
        inner.attr["data_format"].s = b"NHWC"
        inner.input[0] = _transpose(definition, f"{node.name}/to_last", node.input[0], _TO_LAST, tensor)
        for attribute in _BY_AXIS:
            if attribute in node.attr and len(sizes := list(node.attr[attribute].list.i)) == 4:
                inner.attr[attribute].list.i[:] = [sizes[axis] for axis in _TO_LAST]
        padding = list(node.attr["explicit_paddings"].list.i) if "explicit_paddings" in node.attr else []
        if len(padding) == 8:
            inner.attr["explicit_paddings"].list.i[:] = [
                padding[2 * axis + side] for axis in _TO_LAST for side in (0, 1)
            ]
        for attribute in list(node.attr):
            del node.attr[attribute]
        _as_transpose(definition, node, inner.name, _TO_FIRST, tensor)


def tapped_in_channels_last(
    definition: GraphDef, graph: tf.Graph, image: str, layers: Sequence[GraphLayer]
) -> tuple[GraphLayer, ...]:
    """Return the layers, those with the channels first read between two transposes that are put behind them.

    Args:
        definition: changed where it stands.
        graph: the same, with shapes.
        image: the tensor of the image, which has the channels first.
        layers: of the graph.
    """
    first = _with_channels_first(graph, image)
    tapped: dict[str, str] = {}
    for tensor in dict.fromkeys(layer.tensor for layer in layers):
        if tensor in first:
            name = node_name(tensor)
            users = [node for node in definition.node if tensor in map(_full, node.input)]
            last = _transpose(
                definition, f"{name}/channels_last_layer", tensor, _TO_LAST, graph.get_tensor_by_name(tensor)
            )
            back = _transpose(definition, f"{name}/channels_first", last, _TO_FIRST, graph.get_tensor_by_name(tensor))
            for node in users:
                node.input[:] = [back if _full(source) == tensor else source for source in node.input]
            tapped[tensor] = f"{last}:0"
    return tuple(replace(layer, tensor=tapped.get(layer.tensor, layer.tensor)) for layer in layers)


def _with_channels_first(graph: tf.Graph, image: str) -> set[str]:
    """Return the tensors of four axes of which the second is the channels, as the transposes between them say."""
    first = {image}
    for op in graph.get_operations():
        if not op.inputs or op.outputs[0].shape.rank != 4:
            continue
        inside = any(source.name in first for source in op.inputs)
        if op.type == "Transpose":
            order = tf.get_static_value(op.inputs[1])
            turned = order is not None and (tuple(order) == _TO_FIRST or (inside and tuple(order) != _TO_LAST))
            inside = turned
        if inside:
            first.update(output.name for output in op.outputs)
    return first


def _transpose(definition: GraphDef, name: str, source: str, order: tuple[int, ...], tensor: Any) -> str:
    _as_transpose(definition, definition.node.add(name=name), source, order, tensor)
    return name


def _as_transpose(definition: GraphDef, node: NodeDef, source: str, order: tuple[int, ...], tensor: Any) -> None:
    axes = definition.node.add(name=f"{node.name}/axes", op="Const")
    axes.attr["dtype"].type = tf.int32.as_datatype_enum
    axes.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(order, tf.int32))
    node.op = "Transpose"
    node.input[:] = [source, axes.name]
    node.attr["T"].type = tensor.dtype.as_datatype_enum
    node.attr["Tperm"].type = tf.int32.as_datatype_enum


def _full(reference: str) -> str:
    return reference if ":" in reference else f"{reference}:0"
