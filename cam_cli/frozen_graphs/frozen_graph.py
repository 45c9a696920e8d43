"""Parse a frozen graph: one `.pb` file of TensorFlow 1 with the weights inside."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.source import GraphSource, node_name

_NO_SCORES = frozenset({
    "Const", "NoOp", "Placeholder", "Assert", "SaveV2", "Print", "MergeSummary", "ScalarSummary", "HistogramSummary",
})  # fmt: skip


def read_frozen_graph(path: Path) -> GraphSource:
    """Read the graph of a `.pb` file; its outputs are the tensors that nothing else in it takes.

    Raises:
        UnreadableError: it is damaged.
    """
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UnreadableError("is cut short or damaged: its graph cannot be read; copy it again") from error
    if not definition.node:
        raise UnreadableError("is a graph without an operation")
    used = {node_name(source) for node in definition.node for source in node.input}
    ends = [node.name for node in definition.node if node.name not in used and node.op not in _NO_SCORES]
    return GraphSource(
        nodes={node.name: node for node in definition.node},
        functions={function.signature.name: function for function in definition.library.function},
        inputs={},
        outputs={name: f"{name}:0" for name in ends},
    )
