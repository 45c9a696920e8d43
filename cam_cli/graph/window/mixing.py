"""Operations that compute entries from entries of the same index, regroup axes, or sum over them."""

import math
from collections.abc import Sequence
from typing import Final

import tensorflow as tf

from cam_cli.graph.window.operand import Lost, Operand, Rule, sizes_of
from cam_cli.graph.window.spans import Axis, Position, UnknownPosition, joined_axes, regrouped

_NOT_ELEMENTWISE = {
    "ReverseSequence", "RandomShuffle", "GatherNd", "ScatterNd", "TensorScatterUpdate", "TensorScatterAdd", "TopKV2", "FFT2D",
    "IFFT2D", "ImageProjectiveTransformV2", "ImageProjectiveTransformV3", "MatrixInverse", "Conv3D",
    "Case", "StatelessCase", "XlaCallModule",
}  # fmt: skip
"""Operations that may move values within their shape."""


def elementwise(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """The rule of all operations that have no other: entries are computed from entries of the same index.

    Inputs are broadcast, and the shape of the output tells whether it can be so.
    """
    if op.type in _NOT_ELEMENTWISE or any(isinstance(g.position, Lost) and g.tensor.shape.rank is None for g in inputs):
        raise UnknownPosition
    sizes = [given.sizes for given in inputs]
    rank = max((len(s) for s, given in zip(sizes, inputs, strict=True) if given.position is not None), default=0)
    rank = max([rank, *(out.shape.rank or 0 for out in op.outputs[:1])])
    axes = []
    for back in range(rank, 0, -1):
        reaching = [(given, size[-back]) for given, size in zip(inputs, sizes, strict=True) if len(size) >= back]
        lengths = {length for _, length in reaching} - {None, 1}
        if len(lengths) > 1:
            raise UnknownPosition
        length = next(iter(lengths), None) or 1
        of_inputs = [given.position[-back] for given, _ in reaching if isinstance(given.position, tuple)]
        lying = [axis for axis in of_inputs if axis.size == length and axis.has_position]
        lost = any(isinstance(given.position, Lost) and own != 1 for given, own in reaching)
        if lost and back > 1:
            raise UnknownPosition
        axes.append(joined_axes(lying) if lying else Axis.plain(length))
    position = tuple(axes)
    found: list[Position | None] = []
    for output in op.outputs:
        own = output.shape.as_list() if output.shape.rank is not None else []
        fits = len(own) == rank and all(n in (None, axis.size) for n, axis in zip(own, axes, strict=True))
        if not fits and output is op.outputs[0] and any(map(_lies, inputs)):
            raise UnknownPosition
        found.append(position if fits else None)
    return found


def _lies(given: Operand) -> bool:
    """Return True if the values of an input are somewhere in the image."""
    known = given.position
    return isinstance(known, Lost) or (known is not None and any(axis.has_position for axis in known))


def _first(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    return [inputs[0].axes]


def _each(_op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    return [None if given.position is None else given.axes for given in inputs]


def _reshape(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = inputs[0].axes
    total = math.prod(axis.size for axis in axes)
    if op.outputs[0].shape.is_fully_defined():
        sizes = sizes_of(op.outputs[0])
    else:
        sizes = inputs[1].numbers()
        rest = -math.prod(sizes)
        sizes = [total // rest if n == -1 else n for n in sizes]
    return [regrouped(axes, sizes)]


def _reduce(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    axes = list(inputs[0].axes)
    gone = {at % len(axes) for at in inputs[1].numbers()}
    keep = "keep_dims" in op.node_def.attr and op.get_attr("keep_dims")
    kept = [_reduced(axis) if at in gone else axis for at, axis in enumerate(axes) if keep or at not in gone]
    return [tuple(kept)]


def _reduced(axis: Axis) -> Axis:
    return Axis.of(axis.span.divided(1)) if axis.span is not None and not axis.span.rolled else Axis()


def _product(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    """A matrix product of the last two axes: the rows of the first, the columns of the second."""
    flags = op.node_def.attr
    names = (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    swapped = [any(op.get_attr(name) for name in pair if name in flags) for pair in names]
    rows, columns = (given.axes if given.position is not None else None for given in inputs)
    sizes = [given.sizes for given in inputs]
    rank = max(map(len, sizes))
    outer: list[Axis] = []
    for back in range(rank, 2, -1):
        lying = [p[-back] for p in (rows, columns) if p is not None and len(p) >= back and p[-back].has_position]
        length = max(int(s[-back] or 1) for s in sizes if len(s) >= back)
        outer.append(joined_axes(lying) if lying else Axis.plain(length))
    ends = []
    for axes, known, at in ((rows, sizes[0], -1 if swapped[0] else -2), (columns, sizes[1], -2 if swapped[1] else -1)):
        own = known[at]
        if axes is None and own is None:
            raise UnknownPosition
        ends.append(axes[at] if axes is not None else Axis.plain(own or 1))
    return [(*outer, *ends)]


def _einsum(op: tf.Operation, inputs: Sequence[Operand]) -> list[Position | None]:
    terms, result = op.get_attr("equation").decode().replace(" ", "").split("->")
    lengths: dict[str, int] = {}
    lying: dict[str, list[Axis]] = {}
    for term, given in zip(terms.split(","), inputs, strict=True):
        for label, i in zip(_labels(term, len(given.sizes)), range(len(given.sizes)), strict=True):
            lengths[label] = max(lengths.get(label, 1), int(given.sizes[i] or 1))
            if given.position is not None and given.axes[i].has_position:
                lying.setdefault(label, []).append(given.axes[i])
    labels = _labels(result, op.outputs[0].shape.rank)
    return [tuple(joined_axes(lying[n]) if n in lying else Axis.plain(lengths[n]) for n in labels)]


def _labels(term: str, rank: int) -> list[str]:
    """Return a label for each axis; those of an ellipsis are numbered from its end."""
    before, dots, after = term.partition("...")
    count = rank - len(before) - len(after)
    return [*before, *(f"~{i}" for i in range(count, 0, -1)), *after] if dots else list(before)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("Mean", "Sum", "Prod", "Max", "Min", "All", "Any", "EuclideanNorm", "ArgMax", "ArgMin"), _reduce),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _product),
    **dict.fromkeys(("BiasAdd", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Identity"), _first),
    "IdentityN": _each,
    "Reshape": _reshape,
    "Einsum": _einsum,
}
