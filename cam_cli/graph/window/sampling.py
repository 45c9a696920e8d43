"""Operations that compute a pixel from pixels around it, or between them: convolutions, poolings, resizing."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

import tensorflow as tf

from cam_cli.graph.window.operand import Operand, Rule, required, sizes_of
from cam_cli.graph.window.spans import Axis, Position, UnknownPosition


def _spatial(op: tf.Operation) -> tuple[int, int]:
    names = op.node_def.attr
    return (2, 3) if "data_format" in names and op.get_attr("data_format") == b"NCHW" else (1, 2)


def _attribute(op: tf.Operation, *names: str) -> list[int]:
    known = next((name for name in names if name in op.node_def.attr), None)
    return list(op.get_attr(known)) if known else [1, 1, 1, 1]


def _convolution(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """A convolution or pooling: each side of the output covers what the input covers."""
    given = inputs[2] if op.type == "Conv2DBackpropInput" else inputs[0]
    spatial = _spatial(op)
    sides = _attribute(op, "ksize", "ksizes")
    sides = [sides[at] for at in spatial] if max(sides) > 1 or len(inputs) == 1 else sizes_of(inputs[1].tensor)[:2]
    strides, rates = _attribute(op, "strides"), _attribute(op, "dilations", "rates")
    padding = op.get_attr("padding")
    explicit = _attribute(op, "explicit_paddings") if padding == b"EXPLICIT" else [0] * 8
    axes = list(given.axes)
    last = 3 if spatial == (1, 2) else 1
    for side, at in zip(sides, spatial, strict=True):
        reach = (side - 1) * rates[at] + 1
        size = op.outputs[0].shape[at]
        span = axes[at].span
        if span is None:
            if axes[at].has_position and size != axes[at].size:
                raise UnknownPosition
            axes[at] = axes[at] if axes[at].has_position else Axis.plain(size)
            continue
        span = span.padded(*explicit[2 * at : 2 * at + 2])
        if op.type == "Conv2DBackpropInput":
            axes[at] = Axis.of(span.divided(size or _grown(span.cells, side, strides[at], padding)))
            continue
        if size is None:
            size = -(-span.cells // strides[at]) if padding == b"SAME" else (span.cells - reach) // strides[at] + 1
        axes[at] = Axis.of(span.divided(size) if padding == b"SAME" else span.convolved(size, reach, strides[at]))
    axes[last] = Axis.plain(int(op.outputs[0].shape[last]))
    return [tuple(axes)] * len(op.outputs)


def _grown(cells: int, side: int, stride: int, padding: bytes) -> int:
    return cells * stride + (max(0, side - stride) if padding == b"VALID" else 0)


def _resize(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    rows, columns = inputs[1].numbers() if len(inputs) > 1 else sizes_of(op.outputs[0])[1:3]
    batch, *sides, channels = inputs[0].axes
    spans = [required(axis) for axis in sides]
    channels = channels if len(inputs) > 1 else Axis.plain(sizes_of(op.outputs[0])[3])
    return [(batch, *(Axis.of(span.divided(n)) for span, n in zip(spans, (rows, columns), strict=True)), channels)]


def _scale_and_translate(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """Pixel p of the image comes to scale * p + translation."""
    batch, *sides, channels = inputs[0].axes
    found = []
    sizes, scales, shifts = (given.value().ravel() for given in inputs[1:4])
    for axis, size, scale, shift in zip(sides, sizes, scales, shifts, strict=True):
        span = required(axis)
        first, last = Fraction(-float(shift) / float(scale)), Fraction(float(size - shift) / float(scale))
        same = abs(first) < 0.01 and abs(last - span.cells) < 0.01
        found.append(Axis.of(span.divided(int(size)) if same else span.cut(first, last, int(size))))
    return [(batch, *found, channels)]


def _crop_and_resize(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """Boxes (top, left, bottom, right) name the centres of the first and the last pixel, as shares of side - 1."""
    boxes = inputs[1].value()
    if len(boxes) != 1:
        raise UnknownPosition
    batch, *sides, channels = inputs[0].axes
    found = []
    for at, (axis, cells) in enumerate(zip(sides, inputs[3].numbers(), strict=True)):
        span = required(axis)
        first, last = (Fraction(float(boxes[0, at + 2 * end])) * (span.cells - 1) for end in (0, 1))
        half = (last - first) / max(1, cells - 1) / 2
        if cells == 1:
            first, last = first - half, last - half
        found.append(Axis.of(span.cut(first + Fraction(1, 2) - half, last + Fraction(1, 2) + half, cells)))
    return [(batch, *found, channels)]


def _space_to_batch(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """The two halves of a dilated convolution: in between, the pixels of a grid lie in the batch."""
    changes = inputs[2].value().reshape(-1, 2).tolist()
    blocks = inputs[1].numbers()
    axes = list(inputs[0].axes)
    for at, ((before, after), block) in enumerate(zip(changes, blocks, strict=True), 1):
        span = required(axes[at])
        if op.type == "SpaceToBatchND":
            reach = _reach_above(op, at - 1, block)
            own = span.unpadded is not None and span.cells - span.unpadded.cells < reach
            core = span.padded(before, after).core
            base = span.unpadded if own and span.unpadded is not None else span
            axes[at] = Axis.of(replace(base.divided((span.cells + before + after) // block), core=core))
        else:
            whole = span.divided(span.cells * block)
            cells = whole.cells - before - after
            axes[at] = Axis.of(
                replace(whole.divided(cells), core=whole.cut(Fraction(before), Fraction(before + cells), cells).core)
            )
    return [tuple(axes)]


def _reach_above(op: tf.Operation, side: int, block: int) -> int:
    """Return how many cells the convolution that follows SpaceToBatchND spans; 1 if none follows."""
    kernels = [next_op.inputs[1] for next_op in op.outputs[0].consumers() if "Conv" in next_op.type]
    return (int(kernels[0].shape[side]) - 1) * block + 1 if kernels else 1


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        (
            "Conv2D", "DepthwiseConv2dNative", "MaxPool", "MaxPoolWithArgmax", "AvgPool", "Conv2DBackpropInput", "Dilation2D",
            "ExtractImagePatches",
        ),
        _convolution,
    ),
    **dict.fromkeys(
        ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "DepthToSpace", "SpaceToDepth"), _resize
    ),
    **dict.fromkeys(("SpaceToBatchND", "BatchToSpaceND"), _space_to_batch),
    "ScaleAndTranslate": _scale_and_translate,
    "CropAndResize": _crop_and_resize,
}  # fmt: skip
