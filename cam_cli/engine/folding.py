"""Folds batch norms of a frozen network into its convolutions, before the network is differentiated.

TensorFlow's own optimiser does not fold a batch norm after a depthwise convolution, nor one that a gradient passes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.framework import tensor_util
from tensorflow.python.grappler import tf_optimizer

from cam_cli.quiet import native_chatter_silenced

GraphDef = Any
NodeDef = Any

_CHANNELS = {"Conv2D": 3, "DepthwiseConv2dNative": 2}
"""The first axis of a convolution's kernel that belongs to the channels of its output."""


def folded(frozen: GraphDef, kept: Sequence[str]) -> GraphDef:
    """Return a frozen graph with every scale and shift after a convolution folded into it.

    Args:
        frozen: a graph without variables.
        kept: names of the inputs and outputs, which keep their values up to rounding.
    """
    definition = optimised(frozen, kept, ["constfold", "dependency"])
    nodes = _Nodes(definition, kept)
    while sum(nodes.fold(node) for node in definition.node):
        pass
    return definition


def optimised(definition: GraphDef, kept: Sequence[str], passes: Sequence[str], **options: Any) -> GraphDef:
    """Return a graph after passes of TensorFlow's graph optimiser; the tensors in `kept` stay."""
    whole = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    whole.collection_def["train_op"].node_list.value.extend(kept)
    rewriting = rewriter_config_pb2.RewriterConfig(
        optimizers=passes,
        min_graph_nodes=-1,
        meta_optimizer_iterations=rewriter_config_pb2.RewriterConfig.ONE,
        **options,
    )
    config = config_pb2.ConfigProto(graph_options=config_pb2.GraphOptions(rewrite_options=rewriting))
    with native_chatter_silenced():
        return tf_optimizer.OptimizeGraph(config, whole)


class _Nodes:
    """The nodes of a graph by name, and how often each is used."""

    def __init__(self, definition: GraphDef, kept: Sequence[str]) -> None:
        self._by_name = {node.name: node for node in definition.node}
        self._uses = Counter(_name(source) for node in definition.node for source in node.input)
        self._uses.update(_name(source) for source in kept)

    def fold(self, node: NodeDef) -> bool:
        """Fold a scale or a shift into the convolution before it; return True if there was one."""
        if node.op not in ("Mul", "AddV2", "Add"):
            return False
        for below, constant in (node.input[:2], node.input[1::-1]):
            values, source = self._values(constant), self._producer(below)
            if values is None or source is None or values.shape[-1:] != (values.size,):
                continue
            bias = source if source.op == "BiasAdd" else None
            convolution = self._producer(bias.input[0]) if bias else source
            if convolution is None or convolution.op not in _CHANNELS or convolution.attr["data_format"].s != b"NHWC":
                continue
            kernel = self._values(convolution.input[1])
            if kernel is None or values.size != np.prod(channels := kernel.shape[_CHANNELS[convolution.op] :]):
                continue
            if node.op == "Mul":
                return self._scale(node, convolution, bias, kernel * values.reshape(channels), values.ravel())
            return self._shift(node, below, constant, bias, values.ravel())
        return False

    def _scale(
        self, node: NodeDef, convolution: NodeDef, bias: NodeDef | None, kernel: NDArray[Any], factors: NDArray[Any]
    ) -> bool:
        if not self._free(convolution.name, convolution.input[1]):
            return False
        if bias is not None:
            offsets = self._values(bias.input[1])
            if offsets is None or not self._free(bias.name, bias.input[1]):
                return False
            self._set(bias.input[1], offsets * factors)
        self._set(convolution.input[1], kernel)
        _replace(node, "Identity", [(bias or convolution).name])
        return True

    def _shift(self, node: NodeDef, below: str, constant: str, bias: NodeDef | None, offsets: NDArray[Any]) -> bool:
        if bias is None:
            if not self._free(constant):
                return False
            self._set(constant, offsets)
            _replace(node, "BiasAdd", [below, constant])
            node.attr["data_format"].s = b"NHWC"
            return True
        known = self._values(bias.input[1])
        if known is None or not self._free(bias.name, bias.input[1]):
            return False
        self._set(bias.input[1], known + offsets)
        _replace(node, "Identity", [bias.name])
        return True

    def _producer(self, source: str) -> NodeDef | None:
        """Return the node that computes a tensor, skipping identities with one user."""
        node = self._by_name.get(_name(source))
        while node is not None and node.op == "Identity" and self._free(node.name):
            node = self._by_name.get(_name(node.input[0]))
        return node

    def _values(self, source: str) -> NDArray[Any] | None:
        node = self._by_name.get(_name(source))
        return tensor_util.MakeNdarray(node.attr["value"].tensor) if node is not None and node.op == "Const" else None

    def _set(self, source: str, values: NDArray[Any]) -> None:
        tensor = self._by_name[_name(source)].attr["value"].tensor
        tensor.CopyFrom(tf.make_tensor_proto(values, tensor.dtype))

    def _free(self, *sources: str) -> bool:
        """Return True if each of these has one user only."""
        return all(self._uses[_name(source)] == 1 for source in sources)


def _name(source: str) -> str:
    return source.lstrip("^").partition(":")[0]


def _replace(node: NodeDef, operation: str, inputs: list[str]) -> None:
    kind = node.attr["T"].type
    node.op = operation
    del node.input[:]
    node.input.extend(inputs)
    node.attr.clear()
    node.attr["T"].type = kind
