"""The windows of all tensors of a traced graph, from the image on."""

import math
from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.graph.operations import ancestors
from cam_cli.graph.window import mixing, moving, sampling
from cam_cli.graph.window.operand import Lost, Operand, Rule
from cam_cli.graph.window.spans import Axis, Position, Span, UnknownPosition, regrouped
from cam_cli.window import Window

_OF_SHAPE_ALONE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
_CALLS = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("body",),
    "StatelessWhile": ("body",),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
}
"""Operations that call functions, and the attributes that name these."""
_LOOPS = {"While", "StatelessWhile"}
_NOT_FOLLOWED = (
    UnknownPosition, ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError, tf.errors.OpError
)  # fmt: skip
"""Raised by the rules, and by TensorFlow for attributes and shapes that are not what a rule expects."""
_RULES: Final[dict[str, Rule]] = {**sampling.RULES, **moving.RULES, **mixing.RULES}


class Windows:
    """The position of every tensor that is computed from `image`, (1, H, W, C)."""

    def __init__(self, image: tf.Tensor) -> None:
        _, height, width, channels = image.shape
        rows, columns = Axis.of(Span(0, height)), Axis.of(Span(1, width))
        self._found: dict[Any, Position | Lost] = {image.ref(): (Axis(), rows, columns, Axis.plain(channels))}
        self._arguments: dict[Any, NDArray[Any]] = {}
        self._walk(image.graph)

    def of_feature_maps(self, output: tf.Tensor) -> Window | Lost:
        """Return what feature maps (1, rows, columns, channels) cover, or the operation after which it cannot be told."""
        found = self._found.get(output.ref())
        if not isinstance(found, tuple) or len(found) != 4:
            return found if isinstance(found, Lost) else self._lost_below(output)
        return _window(_spans(found[1], found[2])) or self._lost_below(output)

    def of_tokens(self, output: tf.Tensor, grid: tuple[int, int], class_tokens: int) -> Window | Lost:
        """Return what a grid of tokens, (1, tokens, channels), covers, or the operation after which it cannot be told."""
        found = self._found.get(output.ref())
        if not isinstance(found, tuple) or len(found) != 3:
            return found if isinstance(found, Lost) else self._lost_below(output)
        tokens = found[1]
        if tokens.before != class_tokens or tokens.size != class_tokens + math.prod(grid):
            return self._lost_below(output)
        try:
            found_spans = _spans(*regrouped((Axis(tokens.factors),), grid))
        except UnknownPosition:  # the card declares another grid than the patches': it is laid on the same rectangle
            sides = [Axis((factor,)).span for factor in tokens.factors]
            one, two = sides if len(sides) == 2 else (None, None)
            found_spans = (one, two) if one is not None and two is not None else None
        return _window(found_spans) or self._lost_below(output)

    def _lost_below(self, output: tf.Tensor) -> Lost:
        """Return the operation, at or below a tensor, that takes positions and gives none, as a dense layer of all pixels."""
        if self._lies(output):
            return _lost(output.op)
        ended = (
            op for op in ancestors(output) if any(map(self._lies, op.inputs)) and not any(map(self._lies, op.outputs))
        )
        return _lost(next(ended, output.op))

    def _lies(self, tensor: tf.Tensor) -> bool:
        found = self._found.get(tensor.ref())
        return isinstance(found, tuple) and any(axis.has_position for axis in found)

    def _walk(self, graph: tf.Graph) -> None:
        for op in graph.get_operations():
            if op.type not in _OF_SHAPE_ALONE and any(source.ref() in self._found for source in op.inputs):
                self._follow(op)

    def _follow(self, op: tf.Operation) -> None:
        inputs = [Operand(source, self._found.get(source.ref()), self._arguments) for source in op.inputs]
        lost = next((given.position for given in inputs if isinstance(given.position, Lost)), None)
        rule = self._called if op.type in _CALLS else _RULES.get(op.type, mixing.elementwise)
        try:
            if lost is not None and rule is not mixing.elementwise:
                raise UnknownPosition
            for output, position in zip(op.outputs, rule(op, inputs), strict=False):
                if position is not None and len(position) == (output.shape.rank or len(position)):
                    self._found[output.ref()] = position
        except _NOT_FOLLOWED:
            for output in op.outputs:
                self._found[output.ref()] = lost or _lost(op)

    def _called(self, op: tf.Operation, inputs: Sequence[Operand]) -> Sequence[Position | None]:
        """The rule of an operation that calls a function: what the function does is followed."""
        body, *others = _CALLS[op.type]
        if not others:
            return self._inside(op, body, inputs)
        condition = inputs[0].constant()
        if condition is not None:
            return self._inside(op, body if condition else others[0], inputs[1:])
        one, other = (self._inside(op, branch, inputs[1:]) for branch in (body, others[0]))
        if one != other:
            raise UnknownPosition
        return one

    def _inside(self, op: tf.Operation, function: str, inputs: Sequence[Operand]) -> Sequence[Position | None]:
        graph = op.graph._get_function(op.get_attr(function).name).graph
        for inner in graph.get_operations():
            for output in inner.outputs:  # from another call of the same function
                self._found.pop(output.ref(), None)
                self._arguments.pop(output.ref(), None)
        repeats = op.type in _LOOPS
        for i, (argument, given) in enumerate(zip(graph.inputs, inputs, strict=True)):
            value = given.constant() if not repeats or graph.outputs[i] is argument else None
            if given.position is not None:
                self._found[argument.ref()] = given.position
            elif value is not None:
                self._arguments[argument.ref()] = value
        self._walk(graph)
        found = [self._found.get(output.ref()) for output in graph.outputs]
        if any(isinstance(position, Lost) for position in found):
            raise UnknownPosition
        positions = [position for position in found if not isinstance(position, Lost)]
        if repeats and any(
            given.position not in (None, position) for given, position in zip(inputs, positions, strict=True)
        ):
            raise UnknownPosition
        return positions


def _lost(op: tf.Operation) -> Lost:
    return Lost(f"{op.name} ({op.type})")


def _spans(rows: Axis, columns: Axis) -> tuple[Span, Span] | None:
    """Return the spans of a grid's rows and columns; an axis of one entry without position covers the whole image."""
    one, two = rows.span, columns.span
    if one is None and rows.size == 1 and not rows.has_position:
        one = Span(0 if two is None else 1 - two.axis, 1)
    if two is None and one is not None and columns.size == 1 and not columns.has_position:
        two = Span(1 - one.axis, 1)
    return (one, two) if one is not None and two is not None else None


def _window(spans: tuple[Span, Span] | None) -> Window | None:
    if spans is None or spans[0].axis == spans[1].axis or any(span.rolled for span in spans):
        return None
    down, across = sorted(spans, key=lambda span: span.axis)
    (top, bottom), (left, right) = (sorted((float(span.start), float(span.end))) for span in (down, across))
    return Window(top, left, bottom, right, spans[0].axis == 1, down.start > down.end, across.start > across.end)
