"""Where a graph begins and ends for an explanation: the highest float image that everything passes through, and the scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.frozen_graphs.allowed import LEARNED, PASSES_ON
from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.graph.operations import ancestors

CHANNELS = (1, 3, 4)
"""How many channels images have."""

_SAME_PIXELS = PASSES_ON | {
    "ExpandDims",
    "Squeeze",
    "Reshape",
    "Slice",
    "StridedSlice",
    "CropAndResize",
    "PlaceholderWithDefault",
}
_RANKS_CLASSES = {"ArgMax", "TopKV2", "Cast", "Identity", "GatherV2", "Greater", "GreaterEqual", "Round"}


@dataclass(frozen=True)
class Image:
    """The tensor that stands for the input image.

    shape: (rows, columns, channels), None where left open. channels_first: it is (batch, channels, rows, columns). mean, std:
    how its values follow from those of the decoded image, 0 to 255, which lies above it; empty if none does.
    """

    tensor: Any
    shape: tuple[int | None, int | None, int | None]
    channels_first: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def find_scores(graph: tf.Graph, outputs: Mapping[str, str]) -> tuple[Any, tuple[str, ...]]:
    """Return the tensor of class scores, and remarks.

    Args:
        outputs: tensors by the name that a user knows them by.

    Raises:
        UnreadableError: several outputs could be meant, or none is a row of scores.
    """
    tensors = {name: graph.get_tensor_by_name(tensor) for name, tensor in outputs.items()}
    found = {name: tensor for name, tensor in tensors.items() if _may_be_scores(tensor)}
    if not found:
        ranked = {name: _before_ranking(tensor) for name, tensor in tensors.items()}
        found = {name: tensor for name, tensor in ranked.items() if tensor is not None and _may_be_scores(tensor)}
    distinct: dict[str, tuple[str, Any]] = {}
    for name, tensor in found.items():
        distinct.setdefault(_source(tensor).name, (name, tensor))
    above = {
        key: {op.name for op in ancestors(tensor)} - {_source(tensor).op.name} for key, (_, tensor) in distinct.items()
    }
    last = [
        (name, tensor)
        for key, (name, tensor) in distinct.items()
        if not any(_source(tensor).op.name in names for other, names in above.items() if other != key)
    ]
    rows = [(name, tensor) for name, tensor in last if tensor.shape.rank == 2] or last
    if len(rows) == 1:
        name, tensor = rows[0]
        several = len(tensors) > 1
        remarks = (f"{len(tensors)} outputs: taking '{name}' (--model-output says otherwise)",) if several else ()
        return tensor, remarks
    listed = ", ".join(f"'{name}' {_shape_text(tensor)}" for name, tensor in (rows or [*tensors.items()])[:8])
    if rows:
        raise UnreadableError(
            f"has {len(rows)} outputs that could be class scores: {listed}; name one with --model-output"
        )
    raise UnreadableError(f"has no output that is a row of class scores: {listed}; name one with --model-output")


def _may_be_scores(tensor: Any) -> bool:
    if not tensor.dtype.is_floating or not any(op.type in LEARNED for op in ancestors(tensor)):
        return False
    shape = tensor.shape
    return shape.rank is None or shape.rank in (1, 2) or (shape.rank == 4 and set(shape[1:3]) <= {1, None})


def _before_ranking(tensor: Any) -> Any:
    """Return the scores from which the class, or the order of the classes, was computed."""
    while not tensor.dtype.is_floating or tensor.op.type in ("TopKV2",):
        if tensor.op.type not in _RANKS_CLASSES or not tensor.op.inputs:
            return None
        tensor = tensor.op.inputs[0]
    return tensor


def _source(tensor: Any) -> Any:
    """Return the tensor that one is a copy of."""
    while tensor.op.type in PASSES_ON:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _shape_text(tensor: Any) -> str:
    return str(tuple(tensor.shape)) if tensor.shape.rank is not None else "of unknown shape"


def find_image(graph: tf.Graph, scores: Any, wanted: str | None = None) -> Image:
    """Return the image that the scores are computed from.

    It is the highest tensor of floating-point numbers that has the shape of images and that all information from the file's
    inputs passes through. What decodes and resizes an image above it falls away.

    Args:
        wanted: the name of the tensor to take.

    Raises:
        UnreadableError: there is no such tensor.
    """
    below = {op.name for op in ancestors(scores)}
    order = [op for op in graph.get_operations() if op.name in below]
    feeds = {op.name for op in order if op.type.startswith("Placeholder")}
    first = next((op for op in order if op.type in LEARNED and _fed(op, feeds)), None)
    if first is None:
        raise UnreadableError("has no convolution or matrix product between its input and its scores")
    if wanted is not None:
        tensor = graph.get_tensor_by_name(wanted)
        if tensor.op.name not in below:
            raise UnreadableError(f"does not compute its scores from '{wanted}'")
        found = _as_image(tensor, first, named=True)
        if found is None:
            raise UnreadableError(f"has no image at '{wanted}', which is {tensor.dtype.name} {_shape_text(tensor)}")
        return found
    images = {op.name for op in order if op.name in feeds and _is_scalar_default(op)}
    feeds -= images
    for op in order:
        for tensor in op.outputs:
            image = _as_image(tensor, first)
            if image is not None and op.type != "Const" and not _bypassed(scores, op, feeds) and _fed(op, feeds):
                return image
        if op is first:
            break
    listed = ", ".join(
        f"'{name}' {graph.get_tensor_by_name(f'{name}:0').dtype.name} {_shape_text(graph.get_tensor_by_name(f'{name}:0'))}"
        for name in sorted(feeds)[:6]
    )
    raise UnreadableError(
        f"does not show where an image goes in (inputs: {listed or 'none'}); name the tensor with --model-input, and its size "
        "with --input-size"
    )


def _is_scalar_default(op: Any) -> bool:
    """Return True for a switch or a number that has a default or is taken as "not training"; it is no image."""
    output = op.outputs[0]
    return bool(output.dtype == tf.bool or (op.type == "PlaceholderWithDefault" and output.shape.rank == 0))


def _fed(op: Any, feeds: Iterable[str]) -> bool:
    names = {above.name for above in ancestors(op.outputs[0])}
    return not names.isdisjoint(feeds)


def _bypassed(scores: Any, cut: Any, feeds: set[str]) -> bool:
    """Return True if something of the file's inputs reaches the scores past the operation."""
    pending, met = [scores.op], {cut.name}
    if scores.op.name == cut.name:
        return True
    while pending:
        op = pending.pop()
        if op.name in met:
            continue
        if op.name in feeds:
            return True
        met.add(op.name)
        pending += [source.op for source in op.inputs]
    return False


def _as_image(tensor: Any, first: Any, *, named: bool = False) -> Image | None:
    if not tensor.dtype.is_floating or tensor.shape.rank != 4:
        return None
    _, a, b, c = tensor.shape
    feed = named or tensor.op.type.startswith("Placeholder")
    channels_first = a in CHANNELS and c not in CHANNELS
    if channels_first and feed:
        return Image(tensor, (b, c, a), channels_first=True)
    if c is None and first.type == "Conv2D" and first.get_attr("data_format") == b"NHWC":
        c = first.inputs[1].shape[2]
    if c not in (*CHANNELS, None) and not feed:
        return None
    mean, std = _values(tensor)
    rows, columns = (a, b) if a and b else _resized(first, tensor) or (a, b)
    return Image(tensor, (rows, columns, c), False, mean, std)


def _resized(first: Any, image: Any) -> tuple[int, int] | None:
    """Return the size that an image of free size is brought to above the first learned operation."""
    for op in ancestors(first.inputs[0]):
        if op.type.startswith("Resize") and any(above is image.op for above in ancestors(op.inputs[0])):
            size = tf.get_static_value(op.inputs[1])
            if size is not None:
                return int(size[0]), int(size[1])
    return None


def _values(tensor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std with which an image follows from whole numbers above it, (value - mean) / std, or nothing."""
    with np.errstate(all="ignore"):
        return _values_above(tensor)


def _values_above(tensor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    factor, offset = np.ones(1), np.zeros(1)
    for _ in range(64):
        if tensor.dtype.is_integer:
            mean, std = np.broadcast_arrays(-offset / factor, 1 / factor)
            sound = np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all() and mean.size in CHANNELS
            return (tuple(map(float, mean)), tuple(map(float, std))) if sound else ((), ())
        op = tensor.op
        if op.type in _SAME_PIXELS or op.type.startswith("Resize"):
            tensor = op.inputs[0]
            continue
        if len(op.inputs) != 2:
            break
        constants = [_constant(source) for source in op.inputs]
        known = constants[1] if constants[1] is not None else constants[0]
        if known is None or (constants[1] is None and op.type in ("Sub", "RealDiv", "Div")):
            break
        if op.type in ("Add", "AddV2", "Sub"):
            offset = offset + factor * (known if op.type != "Sub" else -known)
        elif op.type in ("Mul", "RealDiv", "Div"):
            factor = factor * (known if op.type == "Mul" else 1 / known)
        else:
            break
        tensor = op.inputs[0] if constants[1] is not None else op.inputs[1]
    return (), ()


def _constant(tensor: Any) -> NDArray[np.float64] | None:
    tensor = _source(tensor)
    if tensor.op.type != "Const" or tensor.shape.num_elements() not in CHANNELS:
        return None
    return np.asarray(tf.get_static_value(tensor), np.float64).reshape(-1)
