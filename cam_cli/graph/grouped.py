"""Runs networks with grouped convolutions, which TensorFlow refuses on a processor once it has fused a bias into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context


def unfused_if_grouped(graph: tf.Graph) -> AbstractContextManager[None]:
    """Return a context in which functions of a graph can run: without fusing operations if it has grouped convolutions."""
    return _unfused() if _has_grouped_convolutions(graph) else nullcontext()


def runnable(function: Any) -> Callable[..., Any]:
    """Return a traced function, or, if it has grouped convolutions, one that calls it without fusing operations."""
    if not _has_grouped_convolutions(function.graph):
        called: Callable[..., Any] = function
        return called

    def unfused(*arguments: Any) -> Any:
        with _unfused():
            return function(*arguments)

    return unfused


def _has_grouped_convolutions(graph: tf.Graph) -> bool:
    return any(op.type == "Conv2D" and op.inputs[0].shape[-1] != op.inputs[1].shape[2] for op in graph.get_operations())


@contextmanager
def _unfused() -> Iterator[None]:
    """Run functions of this thread without TensorFlow's remapper; the options of TensorFlow itself hold for the process."""
    running = context.context()
    kept = running.function_call_options
    config = config_pb2.ConfigProto.FromString(kept.config_proto_serialized)
    config.graph_options.rewrite_options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    running.function_call_options = context.FunctionCallOptions(kept.executor_type, config)
    try:
        yield
    finally:
        running.function_call_options = kept
