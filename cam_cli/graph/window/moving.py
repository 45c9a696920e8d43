"""Operations that take, move and join values as they are: slices, paddings, flips, concatenations."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import tensorflow as tf

from cam_cli.graph.window.operand import Operand, Rule, required
from cam_cli.graph.window.spans import Axis, Position, Span, UnknownPosition, joined_axes


def _pad(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    widths = inputs[1].value().reshape(-1, 2).tolist()
    return [tuple(axis.padded(*width) for axis, width in zip(inputs[0].axes, widths, strict=True))]


def _transpose(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    return [tuple(inputs[0].axes[at] for at in inputs[1].numbers())]


def _reverse(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(inputs[0].axes)
    for at in inputs[1].numbers():
        axes[at] = _cut(axes[at], axes[at].size - 1, -1, axes[at].size)
    return [tuple(axes)]


def _roll(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(inputs[0].axes)
    for shift, at in zip(inputs[1].numbers(), inputs[2].numbers(), strict=True):
        axes[at] = axes[at].rolled(shift)
    return [tuple(axes)]


def _cut(axis: Axis, first: int, step: int, count: int) -> Axis:
    """Return `count` entries of an axis from `first` on, `step` apart.

    Where every block of `step` entries gives one, they are a subsampling of the whole, as by a pooling.
    """
    if (first, step, count) == (0, 1, axis.size):
        return axis
    if not axis.has_position:
        return Axis.plain(count)
    if axis.before or axis.after:
        last = first + count - axis.before
        if step == 1 and first - axis.before <= 0 and last >= axis.inner:
            return Axis(axis.factors, axis.before - first, last - axis.inner)
        if step == 1 and (last <= 0 or first >= axis.before + axis.inner):
            return Axis.plain(count)
        raise UnknownPosition
    span = required(axis)
    if count == 0:
        raise UnknownPosition
    skipped, size = (first if step > 0 else span.cells - 1 - first), abs(step)
    if size > 1 and skipped < size and abs(span.cells - skipped - count * size) < size:
        whole = span if step > 0 else span.cut(Fraction(span.cells), Fraction(0), span.cells)
        return Axis.of(whole.divided(count))
    begin = first if step > 0 else first + 1
    return Axis.of(span.cut(Fraction(begin), Fraction(begin + count * step), count))


def _slice(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = inputs[0].axes
    begins, counts = inputs[1].numbers(), inputs[2].numbers()
    return [
        tuple(
            _cut(axis, begin, 1, axis.size - begin if count == -1 else count)
            for axis, begin, count in zip(axes, begins, counts, strict=True)
        )
    ]


def _strided_slice(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    masks = {n: op.get_attr(f"{n}_mask") for n in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    begins, ends, strides = (given.numbers() for given in inputs[1:4])
    axes = list(inputs[0].axes)
    named = sum(1 for i in range(len(begins)) if not (masks["ellipsis"] | masks["new_axis"]) >> i & 1)
    found: list[Axis] = []
    for i, (begin, end, step) in enumerate(zip(begins, ends, strides, strict=True)):
        if masks["ellipsis"] >> i & 1:
            kept = len(inputs[0].axes) - named
            found += axes[:kept]
            del axes[:kept]
        elif masks["new_axis"] >> i & 1:
            found.append(Axis())
        elif masks["shrink_axis"] >> i & 1:
            del axes[0]
        else:
            axis = axes.pop(0)
            first, last, step = slice(
                None if masks["begin"] >> i & 1 else begin, None if masks["end"] >> i & 1 else end, step
            ).indices(axis.size)
            found.append(_cut(axis, first, step, len(range(first, last, step))))
    return [(*found, *axes)]


def _gather(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    indices, at = inputs[1].value(), inputs[2].numbers()[0]
    axes = list(inputs[0].axes)
    at %= len(axes)
    if indices.ndim == 0:
        del axes[at]
        return [tuple(axes)]
    steps = np.diff(indices)
    if indices.ndim != 1 or not len(indices):
        raise UnknownPosition
    if not axes[at].has_position:
        axes[at] = Axis.plain(len(indices))
    elif len(steps) == 0 or ((steps == steps[0]).all() and steps[0]):
        axes[at] = _cut(axes[at], int(indices[0]), int(steps[0]) if len(steps) else 1, len(indices))
    elif np.isin(steps, (0, 1)).all():  # repeated rows: an enlargement
        span = required(axes[at]).cut(Fraction(int(indices[0])), Fraction(int(indices[-1]) + 1), len(indices))
        axes[at] = Axis.of(span.divided(len(indices)))
    else:
        raise UnknownPosition
    return [tuple(axes)]


def _split(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    by_sizes = op.type == "SplitV"
    given, at = (inputs[0], inputs[2]) if by_sizes else (inputs[1], inputs[0])
    axes = given.axes
    axis = at.numbers()[0] % len(axes)
    count = len(op.outputs)
    sizes = inputs[1].numbers() if by_sizes else [axes[axis].size // count] * count
    sizes = [axes[axis].size - sum(sizes) - 1 if n == -1 else n for n in sizes]
    firsts = [0, *accumulate(sizes)]
    parts = (_cut(axes[axis], first, 1, n) for first, n in zip(firsts, sizes, strict=False))
    return [(*axes[:axis], part, *axes[axis + 1 :]) for part in parts]


def _unpack(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(inputs[0].axes)
    del axes[op.get_attr("axis")]
    return [tuple(axes)] * len(op.outputs)


def _pack(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(_beside(inputs, None))
    at = op.get_attr("axis") % (len(axes) + 1)
    axes.insert(at, Axis.plain(len(inputs)) if len(inputs) > 1 else Axis())
    return [tuple(axes)]


def _concat(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    parts = inputs[:-1]
    rank = next(len(given.sizes) for given in parts)
    at = inputs[-1].numbers()[0] % rank
    axes = list(_beside(parts, at))
    sizes = [given.sizes[at] for given in parts]
    if None in sizes:
        raise UnknownPosition
    lengths = [int(size or 0) for size in sizes]
    lying = [i for i, given in enumerate(parts) if given.position is not None and given.axes[at].has_position]
    if not lying:
        axes[at] = Axis.plain(sum(lengths))
        return [tuple(axes)]
    spans = [parts[i].axes[at].span for i in lying]
    first, last = lying[0], lying[-1]
    if len(lying) > 1 and lying == [*range(first, last + 1)] and all(spans):
        whole = _end_to_end([span for span in spans if span is not None])
        if whole is not None:
            axes[at] = Axis.of(whole).padded(sum(lengths[:first]), sum(lengths[last + 1 :]))
            return [tuple(axes)]
    largest = max(lying, key=lambda i: lengths[i])
    if len(lying) > 1 and not _repeats(spans, parts[largest].axes[at].span):
        raise UnknownPosition
    axes[at] = parts[largest].axes[at].padded(sum(lengths[:largest]), sum(lengths[largest + 1 :]))
    return [tuple(axes)]


def _repeats(pieces: Sequence[Span | None], main: Span | None) -> bool:
    """Return True if pieces show nothing that is not on the main span, as a padding by edges or by reflection does."""
    if main is None:
        return False
    low, high = sorted((main.start, main.end))
    return all(
        piece is not None and low <= min(piece.start, piece.end) and max(piece.start, piece.end) <= high
        for piece in pieces
    )


def _beside(inputs: Sequence[Operand], joint: int | None) -> Position:
    """Return the position of tensors that are joined along an axis, which is left empty, beside that axis."""
    known = [given.axes for given in inputs if given.position is not None]
    found = []
    for at in range(len(known[0])):
        lying = [] if at == joint else [axes[at] for axes in known if axes[at].has_position]
        found.append(joined_axes(lying) if lying else known[0][at] if at != joint else Axis())
    return tuple(found)


def _end_to_end(spans: Sequence[Span]) -> Span | None:
    """Return the span that spans make up if each begins where the one before it ends; None if they do not."""
    cells = sum(span.cells for span in spans)
    one = spans[0]
    for before, after in pairwise(spans):
        alike = before.axis == after.axis and before.length * after.cells == after.length * before.cells
        if not alike or before.end != after.start or before.rolled or after.rolled:
            return None
    return one.cut(Fraction(0), Fraction(cells), cells)


def _tile(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    def tiled(axis: Axis, times: int) -> Axis:
        if times == 1:
            return axis
        if axis.has_position and axis.size > 1:
            raise UnknownPosition
        return Axis.plain(axis.size * times)

    return [tuple(tiled(axis, n) for axis, n in zip(inputs[0].axes, inputs[1].numbers(), strict=True))]


def _broadcast(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    sizes = inputs[1].numbers()
    axes = [Axis()] * (len(sizes) - len(inputs[0].axes)) + list(inputs[0].axes)
    return [tuple(axis if axis.size == n else Axis.plain(n) for axis, n in zip(axes, sizes, strict=True))]


def _expand(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(inputs[0].axes)
    axes.insert(inputs[1].numbers()[0] % (len(axes) + 1), Axis())
    return [tuple(axes)]


def _squeeze(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = inputs[0].axes
    named = {at % len(axes) for at in op.get_attr("squeeze_dims")}
    return [tuple(axis for at, axis in enumerate(axes) if (at not in named if named else axis.size != 1))]


def _item(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    return [inputs[0].axes[1:]]


def _with_item(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """A list lies as its items do; the lists that go along the images of a batch have one item here."""
    return [(Axis(), *inputs[2].axes)]


def _stacked(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    if inputs[0].axes[0].size != op.outputs[0].shape[0]:
        raise UnknownPosition
    return [inputs[0].axes]


def _listed(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    return [inputs[0].axes]


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    **dict.fromkeys(("Transpose", "ConjugateTranspose"), _transpose),
    **dict.fromkeys(("Split", "SplitV"), _split),
    "TensorListFromTensor": _listed,
    "TensorListGetItem": _item,
    "TensorListSetItem": _with_item,
    "TensorListStack": _stacked,
    "ReverseV2": _reverse,
    "Roll": _roll,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "GatherV2": _gather,
    "Unpack": _unpack,
    "Pack": _pack,
    "ConcatV2": _concat,
    "Tile": _tile,
    "BroadcastTo": _broadcast,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
}
