"""What a rule knows of an operation's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.graph.constants import constant_value
from cam_cli.graph.window.spans import Axis, Position, Span, UnknownPosition


@dataclass(frozen=True)
class Lost:
    """The position of a tensor that an operation, `by`, computes in a way that cannot be followed, or of one below it."""

    by: str


@dataclass(frozen=True)
class Operand:
    """An input of an operation.

    position: None if it does not depend on the image. known: values of arguments, see `constant_value`.
    """

    tensor: tf.Tensor
    position: Position | Lost | None
    known: Mapping[Any, NDArray[Any]]

    @property
    def axes(self) -> Position:
        """The position; raises UnknownPosition if there is none."""
        if self.position is None or isinstance(self.position, Lost):
            raise UnknownPosition
        return self.position

    @property
    def sizes(self) -> list[int | None]:
        """The length of each axis, as far as it is known."""
        if isinstance(self.position, tuple):
            return [axis.size for axis in self.position]
        if self.tensor.shape.rank is None:
            raise UnknownPosition
        if not self.tensor.shape.is_fully_defined() and (value := constant_value(self.tensor, self.known)) is not None:
            return list(value.shape)
        return list(self.tensor.shape)

    def value(self) -> NDArray[Any]:
        """The constant that it is; raises UnknownPosition if it is none."""
        found = self.constant()
        if found is None:
            raise UnknownPosition
        return found

    def constant(self) -> NDArray[Any] | None:
        """The constant that it is; None if it is none."""
        return None if self.position is not None else constant_value(self.tensor, self.known)

    def numbers(self) -> list[int]:
        """The constant that it is, as whole numbers."""
        return [int(number) for number in self.value().ravel()]


Rule = Callable[[tf.Operation, Sequence[Operand]], Sequence[Position | None]]
"""Returns the position of each output of an operation; raises UnknownPosition where it cannot be told."""


def sizes_of(output: tf.Tensor) -> list[int]:
    """Return the shape of an output; raises UnknownPosition if it is not known."""
    if output.shape.rank is None or None in output.shape:
        raise UnknownPosition
    return list(output.shape)


def required(axis: Axis) -> Span:
    """Return the span of an axis; raises UnknownPosition if it does not run along one."""
    if axis.span is None:
        raise UnknownPosition
    return axis.span
