"""The graph of a Functional model of Keras 2, in the form of Keras 3: which layer is called on which tensors.

Keras 2 wrote a call as `[[layer, node, tensor, keywords], ...]`, one item for each tensor of the first argument, where node
numbers a layer's calls. Those of an inner model were numbered from 1, because its own graph counted as the first call.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from cam_cli.errors import ModelError

_CONSTANT = "_CONSTANT_VALUE"
_TENSOR = "__keras_tensor__"
_STATES = {"RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional"}
OPERATIONS = {"TFOpLambda", "SlicingOpLambda"}
"""Layers of Keras 2 that are a function of TensorFlow."""

_ENDS = ("input_layers", "output_layers")


def modern_graph(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `layers`, `input_layers` and `output_layers` of a Functional model, its calls in the form of Keras 3.

    Args:
        config: of the model, as Keras 2 wrote it.

    Raises:
        ModelError: a call names a layer that the model does not have.
    """
    graph = _Graph(config)
    layers = []
    for entry in config["layers"]:
        written = entry.get("inbound_nodes") or []
        if entry["class_name"] in OPERATIONS:
            constants, nodes = graph.operation(_name(entry), written)
            entry = {**entry, "config": {**entry["config"], **constants}}
        else:
            nodes = [graph.call(node, entry["class_name"]) for node in written]
        layers.append({**entry, "name": _name(entry), "inbound_nodes": nodes})
    ends = {key: graph.end(config[key]) for key in _ENDS}
    return {"layers": layers, **ends}


class _Graph:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._kinds = {_name(entry): entry["class_name"] for entry in config["layers"]}
        used: dict[str, set[int]] = defaultdict(set)
        for entry in config["layers"]:
            for name, number in self._references(entry.get("inbound_nodes") or []):
                used[name].add(number)
        for key in _ENDS:
            for name, number in self._references(config[key]):
                used[name].add(number)
        calls = {_name(entry): len(entry.get("inbound_nodes") or [0]) for entry in config["layers"]}
        self._first = {name: 1 if max(numbers) >= calls[name] else 0 for name, numbers in used.items()}

    def _references(self, value: Any) -> Iterator[tuple[str, int]]:
        if self._is_tensor(value):
            yield value[0], value[1]
            value = value[3:]
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for item in items:
            yield from self._references(item)

    def _is_tensor(self, value: Any) -> bool:
        """Return True for `[layer, node, tensor]`, with or without keywords after it."""
        if not (isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)):
            return False
        return value[0] in self._kinds and all(type(number) is int for number in value[1:3])

    def call(self, node: Any, kind: str) -> dict[str, Any]:
        """Return the arguments of one call of a layer."""
        keywords = next(self._keywords(node), {})
        first = self._first_argument(node)
        if isinstance(first, list) and len(first) == 1:
            first = first[0]
        kept = {key: self._tensors(value) for key, value in keywords.items() if value is not None}
        if kind in _STATES and isinstance(first, list):
            first, kept["initial_state"] = first[0], first[1:]
        return {"args": [first], "kwargs": kept}

    def operation(self, name: str, nodes: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Return the arguments of an operation, with `{"input": n}` for its nth tensor, and the call with all its tensors.

        Raises ModelError if it is not called just once.
        """
        if len(nodes) != 1:
            raise ModelError(f"calls the operation {name!r} {len(nodes)} times, not once")
        tensors: list[Any] = []

        def numbered(value: Any) -> Any:
            if isinstance(value, dict) and value.get("class_name") == _TENSOR:
                tensors.append(value)
                return {"input": len(tensors) - 1}
            if isinstance(value, list):
                return [numbered(item) for item in value]
            return {key: numbered(item) for key, item in value.items()} if isinstance(value, dict) else value

        keywords = {
            key: self._tensors(value) for key, value in next(self._keywords(nodes[0]), {}).items() if key != "name"
        }
        constants = {"first": numbered(self._first_argument(nodes[0])), "keywords": numbered(keywords)}
        return constants, [{"args": [tensors], "kwargs": {}}]

    def _keywords(self, node: Any) -> Iterator[dict[str, Any]]:
        """Yield the keywords that stand beside each tensor of the first argument; they are all the same."""
        if self._is_tensor(node) or self._is_constant(node):
            yield node[3] if len(node) == 4 and isinstance(node[3], dict) else {}
        elif isinstance(node, list | dict):
            for item in node.values() if isinstance(node, dict) else node:
                yield from self._keywords(item)

    @staticmethod
    def _is_constant(value: Any) -> bool:
        return isinstance(value, list) and len(value) in (3, 4) and value[0] == _CONSTANT

    def _first_argument(self, value: Any) -> Any:
        if self._is_constant(value):
            return value[2]
        if self._is_tensor(value):
            return self._tensor(value)
        if isinstance(value, list):
            if value and isinstance(value[0], str):
                raise ModelError(f"a layer is called on {value[0]!r}, which the model does not have")
            return [self._first_argument(item) for item in value]
        return {key: self._first_argument(item) for key, item in value.items()} if isinstance(value, dict) else value

    def _tensors(self, value: Any) -> Any:
        """Return a keyword's value with tensors of the model in the form of Keras 3, at any depth."""
        if self._is_tensor(value) and len(value) == 3:
            return self._tensor(value)
        if isinstance(value, list):
            return [self._tensors(item) for item in value]
        return {key: self._tensors(item) for key, item in value.items()} if isinstance(value, dict) else value

    def _tensor(self, value: list[Any]) -> dict[str, Any]:
        history = [value[0], value[1] - self._first[value[0]], value[2]]
        return {"class_name": _TENSOR, "config": {"shape": [], "dtype": "float32", "keras_history": history}}

    def end(self, value: Any) -> Any:
        """Return an input or output of the model; the calls of an inner Functional model are numbered from 1 here."""
        if self._is_tensor(value):
            first = 1 if self._kinds[value[0]] in ("Functional", "Model", "Network") else 0
            return [value[0], value[1] - self._first[value[0]] + first, value[2]]
        if isinstance(value, dict):
            return {key: self.end(item) for key, item in value.items()}
        ends = [self.end(item) for item in value]
        return ends[0] if len(ends) == 1 else ends


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"]["name"])
