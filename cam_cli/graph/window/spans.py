"""How the axes of a tensor lie on the rows and columns of the image that it is computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction


class UnknownPosition(Exception):  # noqa: N818 - an answer, not a mistake
    """An operation moves values in a way that cannot be followed."""


@dataclass(frozen=True)
class Span:
    """A stretch of the image's rows (axis 0) or columns (axis 1), divided into equal cells.

    start, end: where the first cell begins and the last one ends, as shares of the image's side; start is the larger one if
    the cells run backwards. core: the same without the margin that convolutions without padding lose; it tells whether two
    branches see the same part. rolled: by how many cells the order is rotated. fitted: cut or padded since the last
    convolution or pooling. unpadded: the span before it was padded, if it was.
    """

    axis: int
    cells: int
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(1)
    core: tuple[Fraction, Fraction] = (Fraction(0), Fraction(1))
    rolled: int = 0
    fitted: bool = False
    unpadded: Span | None = None

    @property
    def length(self) -> Fraction:
        """Share of the image's side, at least 0."""
        return abs(self.end - self.start)

    @property
    def overhang(self) -> Fraction:
        """How far it reaches past the image."""
        return max(Fraction(0), -min(self.start, self.end)) + max(Fraction(0), max(self.start, self.end) - 1)

    def divided(self, cells: int) -> Span:
        """Return the same stretch in another number of cells, as the output of a convolution or a resizing."""
        if self.rolled and cells != self.cells:
            raise UnknownPosition
        return replace(self, cells=cells, fitted=False, unpadded=None)

    def cut(self, first: Fraction, last: Fraction, cells: int) -> Span:
        """Return the part from one position to another, in cells, divided anew; positions may lie outside or run backwards."""
        if self.rolled:
            raise UnknownPosition
        start, end = (_between(self.start, self.end, at / self.cells) for at in (first, last))
        near, far = (_between(*self.core, at / self.cells) for at in (first, last))
        return replace(self, cells=cells, start=start, end=end, core=(near, far), fitted=True, unpadded=None)

    def padded(self, before: int, after: int) -> Span:
        """Return the span with further cells at its ends."""
        wider = self.cut(Fraction(-before), Fraction(self.cells + after), self.cells + before + after)
        return replace(wider, unpadded=self.unpadded or self) if before or after else self

    def convolved(self, cells: int, reach: int, stride: int) -> Span:
        """Return the output of a convolution or pooling without padding of its own.

        The output covers what the input covers. Padding before it that is no larger than the kernel needs is the
        convolution's own.
        """
        if self.rolled and (reach > 1 or stride > 1):
            raise UnknownPosition
        if self.unpadded is not None and self.cells - self.unpadded.cells < reach:
            return self.unpadded.divided(cells)
        margin = Fraction(reach - stride, 2 * self.cells)
        found = self.divided(cells)
        if margin <= 0:
            return found
        near, far = self.core
        return replace(found, core=(_between(near, far, margin), _between(near, far, 1 - margin)))


@dataclass(frozen=True)
class Factor:
    """A part of an axis: `count` steps of `step` cells each along a span; without a span, what has no position."""

    span: Span | None
    count: int
    step: int = 1


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor: the product of its factors in row-major order, with entries without position at its ends."""

    factors: tuple[Factor, ...] = ()
    before: int = 0
    after: int = 0

    @classmethod
    def plain(cls, size: int) -> Axis:
        """Return an axis without positions, such as channels."""
        return cls((Factor(None, size),) if size != 1 else ())

    @classmethod
    def of(cls, span: Span) -> Axis:
        """Return an axis that runs along a span, cell by cell."""
        return cls((Factor(span, span.cells),))

    @property
    def inner(self) -> int:
        """Number of entries without those at the ends."""
        return math.prod(factor.count for factor in self.factors)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.before + self.inner + self.after

    @property
    def has_position(self) -> bool:
        """Return True if any factor lies on a span."""
        return any(factor.span for factor in self.factors)

    @property
    def span(self) -> Span | None:
        """The span that the axis runs along from end to end, in as many cells as the axis has entries; None if it does not."""
        if not self.factors or self.before or self.after:
            return None
        first, *rest = self.factors
        whole = first.span is not None and first.count * first.step == first.span.cells
        if not whole or first.span is None or any(factor.span for factor in rest):
            return None
        return first.span if self.size == first.span.cells else first.span.divided(self.size)

    def rolled(self, shift: int) -> Axis:
        """Return the axis with its entries rotated by so many; raises UnknownPosition if it does not run along a span."""
        if not self.has_position:
            return self
        span = self.span
        if span is None:
            raise UnknownPosition
        return Axis.of(replace(span, rolled=(span.rolled + shift) % span.cells))

    def padded(self, before: int, after: int) -> Axis:
        """Return the axis with further entries at its ends; beside tokens they have no position."""
        if not (before or after):
            return self
        if not self.has_position:
            return Axis.plain(self.size + before + after)
        span = self.span
        if span is not None:
            return Axis.of(span.padded(before, after))
        return Axis(self.factors, self.before + before, self.after + after)

    def joined(self, other: Axis) -> Axis:
        """Return the axis of a tensor that is computed from two, entry by entry."""
        if self == other:
            return self
        alike = (self.before, self.after, len(self.factors)) == (other.before, other.after, len(other.factors))
        if not alike:
            one, two = self.span, other.span
            if one is None or two is None:
                raise UnknownPosition
            return Axis.of(joined([one, two]))
        return replace(self, factors=tuple(_joined(a, b) for a, b in zip(self.factors, other.factors, strict=True)))


Position = tuple[Axis, ...]
"""How all axes of a tensor lie on the image."""


def joined(spans: Sequence[Span]) -> Span:
    """Return the span of branches that see the same part of the image, up to one cell.

    Of branches that differ by less, a crop or a padding that makes shapes fit counts less than a convolution, and the larger
    span counts more.

    Raises:
        UnknownPosition: the branches see different parts.
    """
    if len({(s.axis, s.cells, s.rolled, s.start < s.end) for s in spans}) > 1:
        raise UnknownPosition
    cell = max(span.length / span.cells for span in spans)
    middle = sorted(spans, key=lambda span: sum(span.core))[len(spans) // 2]
    for span in spans:
        if any(abs(one - other) > cell for one, other in zip(span.core, middle.core, strict=True)):
            raise UnknownPosition
    return min(spans, key=lambda span: (span.fitted, -span.length, span.overhang))


def joined_axes(axes: Sequence[Axis]) -> Axis:
    """Return the axis of a tensor that is computed, entry by entry, from tensors with these axes; see `joined`."""
    spans = [span for axis in axes if (span := axis.span) is not None]
    if len(axes) > 2 and len(spans) == len(axes):
        return Axis.of(joined(spans))
    found = axes[0]
    for axis in axes[1:]:
        found = found.joined(axis)
    return found


def _joined(one: Factor, other: Factor) -> Factor:
    if (one.count, one.step) != (other.count, other.step):
        raise UnknownPosition
    if one.span is None or other.span is None:
        return one if other.span is None else other
    return replace(one, span=joined([one.span, other.span]))


def regrouped(axes: Position, sizes: Sequence[int]) -> Position:
    """Return the position of a reshaped tensor.

    Raises:
        UnknownPosition: an axis is divided where its parts do not allow it.
    """
    found: list[Axis] = []
    held = [axis for axis in axes if axis.size != 1]
    at = 0
    pending: list[Factor] = []
    for size in sizes:
        if not pending and at < len(held) and size == held[at].size:
            found.append(held[at])
            at += 1
            continue
        taken: list[Factor] = []
        need = size
        while need > 1:
            if not pending:
                if at == len(held) or held[at].before or held[at].after:
                    raise UnknownPosition
                pending, at = list(held[at].factors), at + 1
                continue
            factor = pending.pop(0)
            shared = math.gcd(need, factor.count)
            if factor.count > shared:
                if shared != need:
                    raise UnknownPosition
                rest = factor.count // shared
                pending.insert(0, replace(factor, count=rest))
                factor = replace(factor, count=shared, step=factor.step * rest)
            taken.append(factor)
            need //= factor.count
        found.append(Axis(_merged(taken)))
    return tuple(found)


def _merged(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Return factors with those put together that are neighbouring digits of one span."""
    found: list[Factor] = []
    for factor in factors:
        if factor.count == 1:
            continue
        last = found[-1] if found else None
        if (
            last is not None
            and last.span == factor.span
            and (factor.span is None or last.step == factor.step * factor.count)
        ):
            found[-1] = replace(factor, count=last.count * factor.count)
        else:
            found.append(factor)
    return tuple(found)


def _between(start: Fraction, end: Fraction, share: Fraction) -> Fraction:
    return start + (end - start) * share
