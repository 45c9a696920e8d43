"""A frozen graph as a Keras model: its scopes are layers, its learned constants are their weights."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util
from typing_extensions import override

from cam_cli.frozen_graphs.description import GraphDescription, GraphLayer
from cam_cli.frozen_graphs.source import GraphDef
from cam_cli.graph.grouped import runnable


class GraphScope(keras.Layer):
    """A scope of a graph. It is called with the tensor that the scope ends in, and returns it.

    Args:
        name: the last part of the scope's path.
        tensor: the name of the tensor; empty if the scope is no layer itself but holds layers.
        activated: the tensor comes from an activation function.
    """

    def __init__(self, name: str, tensor: str = "", *, activated: bool = False) -> None:
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        self.tensor = tensor
        self.scopes: list[GraphScope] = []
        self.built = True
        if activated:
            self.activation = "of several operations"

    @override
    def call(self, tensor: Any) -> Any:
        return tensor


class GraphModel(keras.Model):
    """A frozen graph between an image and the scores, which runs as the file says.

    Args:
        description: of the graph.
        definition: a GraphDef; the constants that the description calls weights may be without values.
    """

    def __init__(self, description: GraphDescription, definition: GraphDef, name: str = "graph") -> None:
        super().__init__(name=name)
        self.description = description
        self.scopes: list[GraphScope] = []
        self._constants: list[tuple[str, Any]] = []
        self._definition, self._fed, values = _without_values(description, definition)
        known: dict[str, GraphScope] = {}
        for layer in description.layers:
            scope = self._scope(layer, known)
            for constant in layer.weights:
                value = values[constant]
                variable = scope.add_weight(
                    name=constant.rpartition("/")[2],
                    shape=value.shape,
                    dtype=value.dtype.name,
                    initializer="zeros",
                    trainable=False,
                    autocast=False,
                )
                variable.assign(value)
                self._constants.append((f"{constant}:0", variable))
        self.built = True

    def _scope(self, layer: GraphLayer, known: dict[str, GraphScope]) -> GraphScope:
        """Return the layer of a path, below its outer scopes."""
        outer: Any = self
        *above, last = layer.path.split("/")
        for number, segment in enumerate(above):
            path = "/".join(above[: number + 1])
            if path not in known:
                known[path] = GraphScope(segment)
                outer.scopes.append(known[path])
            outer = known[path]
        kind = type(layer.kind, (GraphScope,), {})
        scope: GraphScope = kind(last, layer.tensor, activated=layer.activated)
        known[layer.path] = scope
        outer.scopes.append(scope)
        return scope

    @override
    def call(self, images: Any) -> Any:
        if tf.executing_eagerly():
            spec = tf.TensorSpec(images.shape, images.dtype)
            return runnable(tf.function(self._run, autograph=False).get_concrete_function(spec))(images)
        return self._run(images)

    def _run(self, images: Any) -> Any:
        fed = tf.cast(images, self._fed)
        if self.description.channels_first:
            fed = tf.transpose(fed, (0, 3, 1, 2))
        given = {self.description.input: fed} | {name: tf.convert_to_tensor(value) for name, value in self._constants}
        scopes = [scope for scope in scopes_in(self.scopes) if scope.tensor]
        wanted = [*(scope.tensor for scope in scopes), self.description.output]
        *tapped, scores = tf.graph_util.import_graph_def(self._definition, given, wanted, name="graph")
        for scope, tensor in zip(scopes, tapped, strict=True):
            scope(tensor)
        return scores if scores.shape.rank == 2 else tf.reshape(scores, (-1, scores.shape[-1]))

    @override
    def get_build_config(self) -> dict[str, Any]:
        return {"input_shape": [None, *self.description.shape]}

    @override
    def get_config(self) -> dict[str, Any]:
        whole = tf.compat.v1.GraphDef()
        whole.CopyFrom(self._definition)
        fed = self.description.input.partition(":")[0]
        for name, kind, shape in [(fed, self._fed, None), *((n[:-2], v.dtype, v.shape) for n, v in self._constants)]:
            node = whole.node.add(name=name, op="Placeholder")
            node.attr["dtype"].type = tf.as_dtype(kind).as_datatype_enum
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        graph = base64.b64encode(whole.SerializeToString()).decode()
        return {"description": self.description.to_dict(), "graph": graph, "name": self.name}

    @classmethod
    @override
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        del custom_objects
        definition = tf.compat.v1.GraphDef.FromString(base64.b64decode(config["graph"]))
        return cls(GraphDescription.from_dict(config["description"]), definition, config["name"])


def scopes_in(scopes: Iterable[GraphScope]) -> Iterator[GraphScope]:
    """Yield all scopes, outer ones first."""
    for scope in scopes:
        yield scope
        yield from scopes_in(scope.scopes)


def _without_values(description: GraphDescription, definition: GraphDef) -> tuple[GraphDef, Any, dict[str, Any]]:
    """Return a graph without its weights and its image, which are given when it is imported; the type of the image; the
    weights.

    A weight of which the graph has no value, only a placeholder with its shape, is zero.
    """
    weights = {name for layer in description.layers for name in layer.weights}
    lean = tf.compat.v1.GraphDef()
    lean.versions.CopyFrom(definition.versions)
    fed: Any = tf.float32
    values: dict[str, Any] = {}
    for node in definition.node:
        if node.name == description.input.partition(":")[0]:
            fed = tf.as_dtype(node.attr["dtype"].type)
        elif node.name not in weights:
            lean.node.add().CopyFrom(node)
        elif node.op == "Const":
            values[node.name] = tensor_util.MakeNdarray(node.attr["value"].tensor)
        else:
            shape = tf.TensorShape(node.attr["shape"].shape).as_list()
            values[node.name] = np.zeros(shape, tf.as_dtype(node.attr["dtype"].type).as_numpy_dtype)
    return lean, fed, values
