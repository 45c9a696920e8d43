"""Networks at input sizes other than their own: what a Keras model declares is lifted, and what would go wrong is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from cam_cli.graph.operations import operations_between

_POOLINGS = {"AvgPool", "MaxPool", "MaxPoolV2"}
_LEAST_SIDE = 4
"""The least side, in cells, of a pooling that cannot be one of those that halve a grid all over a network."""


@contextmanager
def any_size(parts: Iterable[keras.Layer]) -> Iterator[None]:
    """Let a model and the models inside it, its `parts`, take images of other rows and columns than they declare.

    Keras runs a Functional model layer by layer on what it is given, after it has compared the shape with the declared one.
    Only this comparison is lifted; a layer with weights for a number of cells, such as a dense layer after Flatten, still
    refuses other sizes. The model is as before once the context has ended.
    """
    changed: list[tuple[dict[str, Any], Any]] = []
    for part in parts:
        for owner in (part, getattr(part, "_functional", None)):
            declared = getattr(owner, "input_spec", None) if hasattr(owner, "_inputs_struct") else None
            if isinstance(declared, list):
                attributes = vars(owner)
                changed.append((attributes, attributes.get("_manual_input_spec")))
                attributes["_manual_input_spec"] = [_freed(spec) for spec in declared]
    try:
        yield
    finally:
        for attributes, before in reversed(changed):
            del attributes["_manual_input_spec"]
            if before is not None:
                attributes["_manual_input_spec"] = before


def _freed(spec: Any) -> Any:
    shape = getattr(spec, "shape", None)
    if shape is None or len(shape) not in (3, 4):
        return spec
    channels = shape[3:] if len(shape) == 4 else ()
    return keras.layers.InputSpec(
        shape=(shape[0], None, None, *channels),
        allow_last_axis_squeeze=spec.allow_last_axis_squeeze,
        name=spec.name,
        optional=spec.optional,
    )


def partial_pooling(start: Any, end: Any) -> str:
    """Return what is wrong with a network at this size if one of its poolings leaves out a part of a grid; empty if none does.

    A pooling of 7x7 cells takes the mean of the whole grid at the network's own size. On a grid of 10x10 cells it sees 7x7 of
    them, and the scores no longer depend on the rest of the image. Poolings of a few cells, which leave out a row at the
    most, are no matter.

    Args:
        start: the image, a tensor of a traced graph.
        end: the scores.
    """
    for op in operations_between(start, end):
        if op.type not in _POOLINGS or op.get_attr("padding") != b"VALID" or op.get_attr("data_format") != b"NHWC":
            continue
        grid, pooled = op.inputs[0].shape[1:3], op.outputs[0].shape[1:3]
        sides, strides = op.get_attr("ksize")[1:3], op.get_attr("strides")[1:3]
        for cells, outputs, side, stride in zip(grid, pooled, sides, strides, strict=True):
            seen = (outputs - 1) * stride + side
            if seen < cells and (side >= _LEAST_SIDE or outputs == 1):
                window, whole = (f"{rows}x{columns}" for rows, columns in (sides, grid))
                return f"a pooling of {window} cells in this model sees only a part of a grid of {whole} cells"
    return ""
