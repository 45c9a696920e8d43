"""The layers of a graph: the scopes of its operations, under the names by which a person knows them.

A scope is a layer, and the last operation in it is its output. A scope inside a layer, such as `conv1/BatchNorm/batchnorm`, is
a layer too unless it ends in the same tensor. An operation beside other layers in a scope, such as the sum of a residual
block, is a layer of its own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from cam_cli.frozen_graphs.allowed import LEARNED, PASSES_ON
from cam_cli.frozen_graphs.description import GraphLayer
from cam_cli.graph.operations import operations_between

_MOVES = frozenset({"Reshape", "Squeeze", "ExpandDims", "Transpose", "Pad", "PadV2", "MirrorPad"})
"""Operations that compute nothing; a layer ends in them only if it has no others."""

_ACTIVATIONS = frozenset({"Elu", "Selu", "LeakyRelu", "Softsign", "Tanh"})
_ELEMENTWISE = frozenset({
    "Mul", "Add", "AddV2", "Sub", "Neg", "RealDiv", "Sigmoid", "Tanh", "Erf", "Erfc", "Relu", "Relu6", "Softplus",
    "Maximum", "Minimum", "Square", "Pow", "Identity", "IdentityN",
})  # fmt: skip
_CURVED = frozenset({"Sigmoid", "Tanh", "Erf", "Erfc", "Relu6", "Softplus", "Maximum", "Minimum"})
_MOST_OF_AN_ACTIVATION = 16


@dataclass
class _Scope:
    """A scope of the graph: its operations between image and scores, in order, and the scopes inside it."""

    path: tuple[str, ...] = ()
    operations: list[Any] = field(default_factory=list)
    inner: dict[str, _Scope] = field(default_factory=dict)
    learned: int = 0

    def all_operations(self) -> list[Any]:
        found, pending = [], [self]
        while pending:
            scope = pending.pop()
            found += scope.operations
            pending += scope.inner.values()
        return found


def layers_of(graph: tf.Graph, image: str, scores: str) -> tuple[GraphLayer, ...]:
    """Return the layers between two tensors of a graph, outer ones before those inside them."""
    start, end = graph.get_tensor_by_name(image), graph.get_tensor_by_name(scores)
    between = operations_between(start, end)
    order = {op.name: number for number, op in enumerate(between)}
    root = _tree(between)
    top = _common(root)
    found: dict[tuple[str, ...], Any] = {}
    for scope in [top, *_outside(root, top)]:
        _collect(scope, order, found)
    weights = _weights(graph, between, order)
    names = _tidy([*found], top.path)
    owners = _owners(found, weights)
    layers = [
        GraphLayer(
            names[path], output.name, output.op.type, _is_activation(output), tuple(sorted(owners.get(path, ())))
        )
        for path, output in found.items()
    ]
    return tuple(layers)


def _tree(operations: Iterable[Any]) -> _Scope:
    root = _Scope()
    for op in operations:
        scope, segments = root, op.name.split("/")[:-1]
        for segment in segments:
            scope.learned += op.type in LEARNED
            scope = scope.inner.setdefault(segment, _Scope((*scope.path, segment)))
        scope.learned += op.type in LEARNED
        scope.operations.append(op)
    return root


def _common(root: _Scope) -> _Scope:
    """Return the innermost scope that holds all learned operations and more than one layer: the model itself."""
    scope = root
    while True:
        holds = [inner for inner in scope.inner.values() if inner.learned == root.learned]
        if not holds or root.learned < 2 or len(holds[0].inner) < 2:
            return scope
        scope = holds[0]


def _outside(scope: _Scope, top: _Scope) -> list[_Scope]:
    """Return the scopes beside the model's own, and the operations that are in no scope."""
    if scope is top:
        return []
    rest = [inner for inner in scope.inner.values() if top.path[: len(inner.path)] != inner.path]
    alone = _Scope(scope.path, scope.operations, {inner.path[-1]: inner for inner in rest})
    below = [inner for inner in scope.inner.values() if top.path[: len(inner.path)] == inner.path]
    return [alone, *(found for inner in below for found in _outside(inner, top))]


def _collect(scope: _Scope, order: dict[str, int], found: dict[tuple[str, ...], Any]) -> None:
    """Add the layers inside a scope that holds layers."""
    for op in scope.operations:
        output = _output([op], order)
        if output is not None:
            found[(*scope.path, op.name.rpartition("/")[2])] = output
    pending = [*scope.inner.values()][::-1]
    while pending:
        inner = pending.pop()
        output = _output(inner.all_operations(), order)
        if output is not None:
            found[inner.path] = output
        holds_layers = len(inner.inner) > 1
        if holds_layers:
            for op in inner.operations:
                single = _output([op], order)
                if single is not None and single is not output:
                    found[(*inner.path, op.name.rpartition("/")[2])] = single
        for deeper in [*inner.inner.values()][::-1]:
            ends = _output(deeper.all_operations(), order)
            if holds_layers or ends is not output:
                pending.append(deeper)


def _output(operations: Iterable[Any], order: dict[str, int]) -> Any:
    """Return the tensor that some operations end in, or None if they compute no layer."""
    outputs = [
        op.outputs[0]
        for op in sorted(operations, key=lambda op: order[op.name])
        if op.type not in PASSES_ON
        and op.outputs
        and op.outputs[0].dtype.is_floating
        and (op.outputs[0].shape.rank or 0) >= 2
    ]
    computed = [output for output in outputs if output.op.type not in _MOVES]
    return (computed or outputs or [None])[-1]


def _weights(graph: tf.Graph, between: list[Any], order: dict[str, int]) -> dict[str, list[str]]:
    """Return the constants that were learned, by the operation between image and scores that first needs them.

    A constant above the first learned operation, such as the mean of a normalisation of the input, is not learned but prepares
    the image.
    """
    first = next((number for number, op in enumerate(between) if op.type in LEARNED), len(between))
    owned: dict[str, list[str]] = defaultdict(list)
    met: set[str] = set()
    held = {name for op in between[:first] for name in _constants(op, order)}
    for op in between[first:]:
        for name in _constants(op, order):
            if name not in met and name not in held:
                met.add(name)
                constant = graph.get_operation_by_name(name).outputs[0]
                if constant.dtype.is_floating and (constant.shape.num_elements() or 0) > 1:
                    owned[op.name].append(name)
    return owned


def _constants(op: Any, order: dict[str, int]) -> list[str]:
    """Return the constants that an operation is computed from beside the image."""
    pending, met, names = [source.op for source in op.inputs], set[str](), []
    while pending:
        above = pending.pop()
        if above.name in met or above.name in order:
            continue
        met.add(above.name)
        if above.type == "Const":
            names.append(above.name)
        pending += [source.op for source in above.inputs]
    return names


def _owners(found: dict[tuple[str, ...], Any], weights: dict[str, list[str]]) -> dict[tuple[str, ...], list[str]]:
    """Return the learned constants of each layer: the innermost one around the operation that needs them."""
    owners: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for operation, names in weights.items():
        path = tuple(operation.split("/"))
        while path and path not in found:
            path = path[:-1]
        if path:
            owners[path] += names
    return owners


def _tidy(paths: list[tuple[str, ...]], top: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """Return the names of scopes as a person knows them.

    The model's own scope is left out. Keras 3 traces a model twice before it exports it, and the second time every name ends in
    `_1`; this ending is left out where most layers, and the model itself, have it. A name stays whole where the short one
    would not be its own.
    """
    inside = {path: path[len(top) :] if path[: len(top)] == top else path for path in paths}
    tails = Counter(re.sub(r"^.*?((_\d+)?)$", r"\1", short[0]) for short in inside.values())
    tail, count = tails.most_common(1)[0] if tails else ("", 0)
    of_model = not top or top[-1].endswith(tail)
    if tail and of_model and count > sum(tails.values()) / 2:
        inside = {path: _without(tail, short) for path, short in inside.items()}
    met = Counter(inside.values())
    return {path: "/".join(short if met[short] == 1 else path) for path, short in inside.items()}


def _without(tail: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path without the ending on its first segments, as far as they have it."""
    shortened: list[str] = []
    for number, segment in enumerate(path):
        if not segment.endswith(tail) or segment == tail:
            return (*shortened, *path[number:])
        shortened.append(segment.removesuffix(tail))
    return tuple(shortened)


def _is_activation(tensor: Any) -> bool:
    """Return True for an activation function of several operations, such as x * sigmoid(x), or of one that goes below zero."""
    if tensor.op.type in _ACTIVATIONS:
        return True
    if tensor.op.type not in ("Mul", "Maximum", "RealDiv") or len(tensor.op.inputs) != 2:
        return False
    (left, curved_left), (right, curved_right) = (_bases(source) for source in tensor.op.inputs)
    curved = curved_left or curved_right or tensor.op.type == "Maximum"
    return curved and not left.isdisjoint(right)


def _bases(tensor: Any) -> tuple[set[str], bool]:
    """Return the tensors that one follows from element by element, and whether a curved function is among the steps."""
    found, pending, curved = {tensor.name}, [tensor], False
    while pending and len(found) < _MOST_OF_AN_ACTIVATION:
        op = pending.pop().op
        if op.type in _ELEMENTWISE:
            curved = curved or op.type in _CURVED
            varying = [source for source in op.inputs if source.shape.num_elements() != 1][
                : None if len(op.inputs) < 3 else 1
            ]
            found.update(source.name for source in varying)
            pending += varying
    return found, curved
