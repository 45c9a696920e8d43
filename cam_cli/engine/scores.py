"""The class scores that are explained: a model's logits, or what stands for them if its output has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine.bounds import bounds_of
from cam_cli.engine.link import Link, probabilities
from cam_cli.errors import ModelError
from cam_cli.graph.operations import is_learned
from cam_cli.graph.scaling import natural_images
from cam_cli.graph.trace import Trace

_SAME_VALUES = {
    "Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape", "Reshape", "Squeeze", "ExpandDims",
}  # fmt: skip
_NEARLY_SAME_VALUES = {"ClipByValue", "Maximum", "Minimum"}
_FLOOR = 1e-37
"""The least probability that has a logarithm; a class that the model gives 0 has log(1e-37) for its score."""

_TOLERANCE = 1e-4

Array = NDArray[Any]


def find_link(traced: Trace) -> Link:
    """Find out how a model's output is computed from its logits.

    What the graph alone does not prove is tried on images.

    Raises:
        ModelError: the output is not one row of class scores for each image.
    """
    output = traced.output
    if output.shape.rank != 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; a classifier gives one row of scores for each image"
        )
    tensor, sure, log = _peeled(output)
    kind = {"Softmax": Link.SOFTMAX, "Sigmoid": Link.SIGMOID}.get(tensor.op.type)
    plain = Link.LOGITS if output.shape[-1] != 1 else Link.UNIT_LOGIT
    if log:
        return Link.LOG_SOFTMAX if _fills_rows(tensor, Link.SOFTMAX, output) else plain
    if kind is not None and sure and _fills_rows(tensor, kind, output):
        return kind
    if kind is None and (is_learned(tensor.op) or _is_sum_of_products(tensor.op)):
        return plain
    low, high = bounds_of(output)
    bounded = low >= 0 and high <= 1 + 1e-3
    tried = _tried(traced, [output] if kind is None else [output, tensor.op.inputs[0]])
    if kind is not None and _fills_rows(tensor, kind, output):
        same = [np.abs(probabilities(z.reshape(p.shape), kind) - p).max() <= _TOLERANCE for p, z in tried]
        if all(same) and (same or bounded):
            return kind
    sums_to_1 = [p.min() >= 0 and abs(float(p.sum()) - 1) <= 10 * _TOLERANCE for (p, *_) in tried]
    if bounded or (output.shape[-1] > 1 and sums_to_1 and all(sums_to_1)):
        return Link.LOG_PROBABILITY
    return plain


def _peeled(output: tf.Tensor) -> tuple[tf.Tensor, bool, bool]:
    """Follow an output down to a softmax, a sigmoid, or what is neither.

    Returns:
        The tensor found; whether it has the very values of the output; whether a logarithm lies between.
    """
    tensor, sure, log = output, True, False
    while True:
        op = tensor.op
        if op.type == "LogSoftmax" and not log:
            return tensor, sure, True
        if op.type == "Log" and not log and _peeled(op.inputs[0])[0].op.type == "Softmax":
            tensor, log = op.inputs[0], True
        elif op.type in _NEARLY_SAME_VALUES and not log:
            (data,) = [s for s in op.inputs if s.op.type != "Const"][:1] or [op.inputs[0]]
            tensor, sure = data, False
        elif op.type in _SAME_VALUES:
            tensor = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]
        else:
            return tensor, sure, log


def _fills_rows(tensor: tf.Tensor, kind: Link, output: tf.Tensor) -> bool:
    """Return True if a softmax is over all classes of the output, and not over some of them, before they are flattened."""
    counts = tensor.shape[1:].num_elements(), output.shape[1:].num_elements()
    return counts[0] == counts[1] and (kind is Link.SIGMOID or tensor.shape[-1] == output.shape[-1])


def _is_sum_of_products(op: tf.Operation) -> bool:
    return op.type in ("BiasAdd", "AddV2", "Add") and is_learned(op.inputs[0].op)


def _tried(traced: Trace, tensors: list[tf.Tensor]) -> list[list[Array]]:
    """Return the values of tensors for images from 0 to 255 and from 0 to 1, without those that are not finite."""
    images = enumerate(natural_images(traced.input_shape))
    scaled = (image if number % 2 else image / np.float32(255) for number, image in images)
    found = [[np.asarray(tf.cast(v[0], tf.float64)) for v in values] for values in traced.evaluate(tensors, scaled)]
    return [values for values in found if all(np.isfinite(v).all() for v in values)]


def scores_of(output: tf.Tensor, link: Link) -> tf.Tensor:
    """Return the class scores that are explained, (rows, classes), in a graph under construction.

    A single unit becomes two classes, so that both can be explained: scores (-z, z) of a logit z, or (log(1 - p), log p).

    Args:
        output: of the model, (rows, classes).
        link: what `find_link` found for this model.
    """
    with output.graph.as_default():
        if link is Link.LOG_PROBABILITY:
            p = tf.cast(output, tf.float32) if output.dtype.size < 4 else output
            if p.shape[-1] == 1:
                p = tf.concat([1 - p, p], axis=-1)
            return tf.math.log(tf.maximum(p, _FLOOR))
        scores = output if link in (Link.LOGITS, Link.UNIT_LOGIT) else _peeled(output)[0].op.inputs[0]
        if scores.shape.rank != 2:
            scores = tf.reshape(scores, (-1, output.shape[-1]))
        return tf.concat([-scores, scores], axis=-1) if scores.shape[-1] == 1 else scores
