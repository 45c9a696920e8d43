"""Bounds of the values of a tensor that hold for every input, proved operation by operation."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

Bounds = tuple[float, float]

_EVERYTHING: Bounds = (-math.inf, math.inf)
_OF_THE_TYPE: dict[str, Bounds] = {
    "Softmax": (0, 1), "Sigmoid": (0, 1), "Tanh": (-1, 1), "Relu6": (0, 6), "Relu": (0, math.inf), "Exp": (0, math.inf),
    "Softplus": (0, math.inf), "Erf": (-1, 1), "Square": (0, math.inf), "Abs": (0, math.inf),
}  # fmt: skip
_WITHIN_ITS_INPUTS = {
    "Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape", "Reshape", "Squeeze", "ExpandDims",
    "Mean", "AvgPool", "MaxPool", "Max", "Min", "ConcatV2", "Pack", "Transpose", "Slice", "StridedSlice", "GatherV2", "Tile",
    "BroadcastTo", "Unpack", "Split",
}  # fmt: skip
_ARITHMETIC = {
    "AddV2", "Add", "AddN", "BiasAdd", "Sub", "Neg", "Mul", "RealDiv", "Reciprocal", "Inv", "Maximum", "Minimum", "ClipByValue",
}  # fmt: skip
_DEEPEST = 200


def bounds_of(tensor: tf.Tensor) -> Bounds:
    """Return the least and the largest value that a tensor of floating-point numbers can have, infinite where unknown."""
    return _bounds(tensor, {}, 0)


def _bounds(tensor: tf.Tensor, known: dict[Any, Bounds], depth: int) -> Bounds:
    if tensor.ref() not in known:
        known[tensor.ref()] = _computed(tensor, known, depth)
    return known[tensor.ref()]


def _computed(tensor: tf.Tensor, known: dict[Any, Bounds], depth: int) -> Bounds:
    op = tensor.op
    if op.type == "Const":
        values = np.asarray(tf.get_static_value(tensor), np.float64)
        return (float(values.min()), float(values.max())) if values.size else _EVERYTHING
    if op.type in _OF_THE_TYPE:
        return _OF_THE_TYPE[op.type]
    if depth == _DEEPEST or not tensor.dtype.is_floating or op.type not in _WITHIN_ITS_INPUTS | _ARITHMETIC:
        return _EVERYTHING
    inputs = [_bounds(source, known, depth + 1) for source in op.inputs if source.dtype.is_floating]
    if op.type in _WITHIN_ITS_INPUTS and inputs:
        return min(low for low, _ in inputs), max(high for _, high in inputs)
    match op.type, inputs:
        case "AddV2" | "Add" | "AddN" | "BiasAdd", [_, *_]:
            return sum(low for low, _ in inputs), sum(high for _, high in inputs)
        case "Sub", [(a, b), (c, d)]:
            return a - d, b - c
        case "Neg", [(a, b)]:
            return -b, -a
        case "Mul", [one, other]:
            return _of_products(one, other)
        case "RealDiv", [one, (c, d)] if c > 0 or d < 0:
            return _of_products(one, (1 / d, 1 / c))
        case "Reciprocal" | "Inv", [(c, d)] if c > 0 or d < 0:
            return 1 / d, 1 / c
        case "Maximum", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case "Minimum", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case "ClipByValue", [(a, b), (c, _), (_, d)]:
            return min(max(a, c), d), max(min(b, d), c)
    return _EVERYTHING


def _of_products(one: Bounds, other: Bounds) -> Bounds:
    found = [0.0 if 0 in (a, b) else a * b for a, b in product(one, other)]  # a bound of infinity is never reached
    return min(found), max(found)
