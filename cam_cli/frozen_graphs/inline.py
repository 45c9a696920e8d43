"""The part of a graph that some tensors are computed from, flat: calls inlined, variables as constants, nothing else with it.

Control inputs, devices, gradient functions and attributes that begin with `_` are left behind. An operation that is not on the
list of `allowed` becomes a placeholder: it may stand above the image, where the graph is cut, and is refused below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_def_registry, tensor_util

from cam_cli.frozen_graphs.allowed import CALLS, COMPUTES, VARIABLES
from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.order import in_order
from cam_cli.frozen_graphs.source import FunctionDef, GraphDef, GraphSource, NodeDef, node_name

MOST_NODES = 100_000
"""A larger graph is refused; the largest networks of keras.applications have 20,000 nodes."""

_MOST_CALLS = 5_000
_DEEPEST_CALL = 64
_MOST_STEPS = 10_000
_MOST_OF_A_DROPOUT = 64


@dataclass(frozen=True)
class FlatGraph:
    """A graph without functions and variables.

    names: the flat tensor of each tensor that was asked for. replaced: the operation that a placeholder stands for, by the name
    of the placeholder.
    """

    definition: GraphDef
    names: Mapping[str, str]
    replaced: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Frame:
    """One call of a function, or the graph itself.

    prefix: of the names of its nodes, if they are taken. arguments: for each argument the frame of the caller and a reference
    in it.
    """

    nodes: Mapping[str, NodeDef]
    prefix: str = ""
    depth: int = 0
    function: FunctionDef | None = None
    arguments: Mapping[str, tuple[_Frame, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Output:
    """One output of a node in a frame."""

    frame: _Frame
    node: NodeDef
    index: int

    @property
    def key(self) -> tuple[int, str]:
        return id(self.frame), self.node.name


def flatten(source: GraphSource, wanted: Iterable[str]) -> FlatGraph:
    """Return the part of a graph that the tensors `wanted` are computed from.

    Raises:
        UnreadableError: a tensor or node is missing, a variable has no value, or the graph is too large.
    """
    return _Inliner(source).run(list(wanted))


class _Inliner:
    def __init__(self, source: GraphSource) -> None:
        self._source = source
        self._top = _Frame(source.nodes)
        self._frames: dict[tuple[int, str], _Frame] = {}
        self._bodies: dict[str, Mapping[str, NodeDef]] = {}
        self._names: dict[tuple[int, str, int], str] = {}
        self._taken: set[str] = set()
        self._pending: list[tuple[_Output, str]] = []
        self._aliases: dict[tuple[int, str], str | None] = {}
        self._replaced: dict[str, str] = {}
        self._definition = tf.compat.v1.GraphDef()
        self._definition.versions.producer = tf.version.GRAPH_DEF_VERSION

    def run(self, wanted: list[str]) -> FlatGraph:
        names = {reference: self._flat(self._output(self._top, reference)) for reference in wanted}
        while self._pending:
            self._emit(*self._pending.pop())
        return FlatGraph(in_order(self._definition), names, self._replaced)

    # --- who computes a tensor

    def _output(self, frame: _Frame, reference: str) -> _Output:
        """Return the node that a reference leads to, through arguments, calls and branches that are decided."""
        for _ in range(_MOST_STEPS):
            name, _, rest = reference.partition(":")
            if name in frame.arguments:
                frame, reference = frame.arguments[name]
                continue
            node = frame.nodes.get(name)
            if node is None:
                raise UnreadableError(f"has no node '{name[:80]}', which its scores are computed from")
            index = self._index(frame, node, rest)
            function = self._called(node)
            if function is not None:
                if index >= len(function.signature.output_arg):
                    raise UnreadableError(f"calls '{function.signature.name[:80]}' for an output that it does not have")
                frame = self._entered(frame, node, function)
                reference = str(function.ret[function.signature.output_arg[index].name])
                continue
            instead = self._instead(frame, node)
            if instead is None:
                return _Output(frame, node, index)
            reference = instead
        raise UnreadableError("calls functions in a circle, which no network does")

    def _called(self, node: NodeDef) -> FunctionDef | None:
        if node.op in CALLS:
            name = node.attr["f"].func.name
            if name not in self._source.functions:
                raise UnreadableError(f"calls a function '{name[:80]}' that it does not hold")
            return self._source.functions[name]
        return self._source.functions.get(node.op)

    def _entered(self, frame: _Frame, node: NodeDef, function: FunctionDef) -> _Frame:
        key = id(frame), node.name
        if key not in self._frames:
            if frame.depth >= _DEEPEST_CALL:
                raise UnreadableError(f"nests calls more than {_DEEPEST_CALL} deep, which no network does")
            if len(self._frames) >= _MOST_CALLS:
                raise UnreadableError(f"has more than {_MOST_CALLS:,} calls, more than any network")
            data = [source for source in node.input if not source.startswith("^")]
            names = [argument.name for argument in function.signature.input_arg]
            if len(data) != len(names):
                raise UnreadableError(
                    f"calls '{function.signature.name[:80]}' with {len(data)} arguments, not {len(names)}"
                )
            body = self._bodies.setdefault(function.signature.name, {inner.name: inner for inner in function.node_def})
            arguments = {name: (frame, source) for name, source in zip(names, data, strict=True)}
            scope = node.name.rpartition("/")[0]
            prefix = f"{frame.prefix}{scope}/" if scope else frame.prefix
            self._frames[key] = _Frame(body, prefix, frame.depth + 1, function, arguments)
        return self._frames[key]

    def _index(self, frame: _Frame, node: NodeDef, rest: str) -> int:
        """Return which output `1` means in a graph, or `out:1` in a function."""
        name, _, number = rest.rpartition(":") if frame.function is not None else ("", "", rest)
        if number and not number.isdecimal():
            name, number = number, "0"
        start = 0
        if name:
            known = self._signature(node)
            for argument in known.output_arg:
                if argument.name == name:
                    break
                start += _count(argument, node)
            else:
                raise UnreadableError(f"asks '{node.name[:80]}' for an output '{name[:80]}' that it does not have")
        return start + int(number or 0)

    def _signature(self, node: NodeDef) -> Any:
        if node.op in self._source.functions:
            return self._source.functions[node.op].signature
        known = op_def_registry.get(node.op)
        if known is None:
            raise UnreadableError(f"has an operation '{node.op[:80]}' that TensorFlow {tf.__version__} does not know")
        return known

    # --- parts that do nothing in inference

    def _instead(self, frame: _Frame, node: NodeDef) -> str | None:
        """Return the reference that a node stands for: a decided branch, a dropout that keeps all, a copied handle."""
        if node.op not in ("Switch", "Merge", "Mul", "Identity"):
            return None
        key = id(frame), node.name
        if key not in self._aliases:
            self._aliases[key] = None  # while it is found out
            self._aliases[key] = self._alias(frame, node)
        return self._aliases[key]

    def _alias(self, frame: _Frame, node: NodeDef) -> str | None:
        data = [source for source in node.input if not source.startswith("^")]
        if node.op == "Identity" and data:
            return data[0] if node.attr["T"].type == tf.resource.as_datatype_enum else None
        if len(data) != 2:
            return None
        if node.op == "Switch":
            return data[0] if self._decision(frame, data[1]) is not None else None
        if node.op == "Merge":
            decision = self._decision_above(frame, data)
            return None if decision is None else data[int(decision)]
        return self._kept_by_dropout(frame, data)

    def _decision(self, frame: _Frame, reference: str) -> bool | None:
        """Return the value of a condition: a constant, or a placeholder that says whether the network is trained."""
        for _ in range(_MOST_OF_A_DROPOUT):
            output = self._output(frame, reference)
            node = output.node
            if node.op == "LogicalNot":
                inverse = self._decision(output.frame, node.input[0])
                return None if inverse is None else not inverse
            if node.op == "Const":
                values = tensor_util.MakeNdarray(node.attr["value"].tensor)
                return bool(values) if values.ndim == 0 else None
            if node.op == "Placeholder" and node.attr["dtype"].type == tf.bool.as_datatype_enum:
                return False  # keras_learning_phase, is_training: not in inference
            if node.op not in ("Identity", "PlaceholderWithDefault"):
                return None
            frame, reference = output.frame, node.input[0]
        return None

    def _decision_above(self, frame: _Frame, references: list[str]) -> bool | None:
        """Return the condition of the first Switch above the two branches that end in a Merge: false, true."""
        pending, met = list(references), set[str]()
        while pending and len(met) < MOST_NODES:
            node = frame.nodes.get(node_name(pending.pop(0)))
            if node is None or node.name in met:
                continue
            met.add(node.name)
            if node.op == "Switch":
                return self._decision(frame, node.input[1])
            pending += node.input
        return None

    def _kept_by_dropout(self, frame: _Frame, data: list[str]) -> str | None:
        """Return what a dropout lets through if a placeholder can say that it keeps all."""
        for kept, mask in (data, data[::-1]):
            nodes = [output.node for output in self._near(frame, mask)]
            if not any(node.op.startswith("Random") for node in nodes):
                continue
            if not any("Placeholder" in node.op for node in nodes):
                return None
            scaled = self._output(frame, kept)
            inner = [source for source in scaled.node.input if not source.startswith("^")]
            if scaled.node.op in ("RealDiv", "Div", "Mul") and scaled.frame is frame and len(inner) == 2:
                return str(inner[0])
        return None

    def _near(self, frame: _Frame, reference: str) -> Iterator[_Output]:
        """Yield the few operations that a dropout's mask is made of: random numbers, compared or rounded."""
        pending, count = [(frame, reference)], 0
        while pending and count < _MOST_OF_A_DROPOUT:
            above, name = pending.pop()
            node = above.nodes.get(node_name(name))
            if node is None or node.op in CALLS:
                continue
            count += 1
            yield _Output(above, node, 0)
            masks = (
                "Floor",
                "Add",
                "AddV2",
                "Sub",
                "Mul",
                "Cast",
                "GreaterEqual",
                "Identity",
                "PlaceholderWithDefault",
            )
            if node.op in masks:
                pending += [(above, source) for source in node.input if not source.startswith("^")]

    # --- the flat graph

    def _flat(self, output: _Output) -> str:
        """Return the flat name of a tensor; its node is emitted later if it is met for the first time."""
        known = output.node.op in COMPUTES or output.node.op in VARIABLES or output.node.op == "ReadVariableOp"
        rewritten = output.node.op == "BatchNormWithGlobalNormalization"
        index = -1 if known or rewritten else output.index
        key = (*output.key, index)
        if key not in self._names:
            if len(self._names) >= MOST_NODES:
                raise UnreadableError(
                    f"has more than {MOST_NODES:,} operations below its scores, more than any network"
                )
            name = output.node.name if index <= 0 else f"{output.node.name}_{index}"
            self._names[key] = name = self._free(name, output.frame.prefix)
            if index < 0:
                self._pending.append((output, name))
            else:
                self._replace(output, name)
        return f"{self._names[key]}:{max(0, output.index) if index < 0 else 0}"

    def _free(self, name: str, prefix: str) -> str:
        candidate = name if name not in self._taken and "/" in name else f"{prefix}{name}"
        number = 0
        while candidate in self._taken:
            number += 1
            candidate = f"{prefix}{name}_{number}"
        self._taken.add(candidate)
        return candidate

    def _emit(self, output: _Output, name: str) -> None:
        node, frame = output.node, output.frame
        made = self._definition.node.add(name=name, op=node.op)
        data = [source for source in node.input if not source.startswith("^")]
        if node.op in VARIABLES:
            value = self._source.variable(node)
            if value is None:
                raise UnreadableError(
                    f"has a variable '{node.name[:80]}' without a value: its checkpoint is not there or cut short"
                )
            made.op = "Const"
            made.attr["dtype"].type = value.dtype
            made.attr["value"].tensor.CopyFrom(value)
            return
        made.input.extend(self._flat(self._output(frame, source)) for source in data)
        if node.op == "ReadVariableOp":
            made.op = "Identity"
            made.attr["T"].type = node.attr["dtype"].type
            return
        if node.op == "BatchNormWithGlobalNormalization":
            self._as_fused(made, node)
            return
        known = {attribute.name for attribute in self._signature(node).attr}
        for attribute, value in node.attr.items():
            if attribute in known:
                made.attr[attribute].CopyFrom(value)

    def _as_fused(self, made: NodeDef, node: NodeDef) -> None:
        """Turn a batch norm of 2015 into one of today, and its inputs (x, mean, variance, beta, gamma) too."""
        if len(made.input) != 5:
            raise UnreadableError(f"has a batch norm '{node.name[:80]}' without its five inputs")
        x, mean, variance, beta, gamma = made.input
        kind = node.attr["T"].type
        if not node.attr["scale_after_normalization"].b:
            ones = self._definition.node.add(name=self._free(f"{node.name}/ones", ""), op="OnesLike", input=[gamma])
            ones.attr["T"].type = kind
            gamma = ones.name
        del made.input[:]
        made.op = "FusedBatchNormV3"
        made.input.extend([x, gamma, beta, mean, variance])
        for attribute in ("T", "U"):
            made.attr[attribute].type = kind
        made.attr["epsilon"].f = node.attr["variance_epsilon"].f
        made.attr["is_training"].b = False

    def _replace(self, output: _Output, name: str) -> None:
        """Put a placeholder in the stead of an output of an operation that is not on the list."""
        made = self._definition.node.add(name=name, op="Placeholder")
        made.attr["dtype"].type = self._type(output)
        made.attr["shape"].shape.CopyFrom(self._shape(output))
        self._replaced[name] = output.node.op

    def _type(self, output: _Output) -> int:
        types: list[int] = []
        for argument in self._signature(output.node).output_arg:
            if argument.type_list_attr:
                types += output.node.attr[argument.type_list_attr].list.type
            else:
                kind = argument.type or output.node.attr[argument.type_attr].type
                types += [kind] * _count(argument, output.node)
        if output.index >= len(types):
            raise UnreadableError(f"asks '{output.node.name[:80]}' for an output that it does not have")
        return types[output.index] or tf.float32.as_datatype_enum

    def _shape(self, output: _Output) -> Any:
        """Return what is known of the shape: of decoders, and of the loops that decode a batch."""
        node = output.node
        if node.op == "DecodeImage" or (node.op.startswith("Decode") and node.op.endswith(("Jpeg", "Png", "Bmp"))):
            return tf.TensorShape((None, None, node.attr["channels"].i or None)).as_proto()
        if node.op == "TensorArrayGatherV3" and not node.attr["element_shape"].shape.unknown_rank:
            return tf.TensorShape((None,)).concatenate(tf.TensorShape(node.attr["element_shape"].shape)).as_proto()
        if node.op == "TensorListStack":
            element = self._output(output.frame, node.input[1]).node
            if element.op == "Const":
                sizes = tensor_util.MakeNdarray(element.attr["value"].tensor)
                if sizes.ndim == 1:
                    return tf.TensorShape([None, *(int(n) if n >= 0 else None for n in sizes)]).as_proto()
        return tf.TensorShape(None).as_proto()


def _count(argument: Any, node: NodeDef) -> int:
    if argument.number_attr:
        return int(node.attr[argument.number_attr].i)
    return len(node.attr[argument.type_list_attr].list.type) if argument.type_list_attr else 1
