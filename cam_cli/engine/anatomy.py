"""What the engine needs to know of a model before it explains it, read off the traced graph.

The graph is the one form that every Keras model comes down to, so a softmax is found whether it was written as an argument of a
Dense layer, as a layer of its own or inside a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine.head import Head, head_kind, is_separable
from cam_cli.errors import ModelError, UsageError
from cam_cli.models.calls import Trace
from cam_cli.models.grid import Grid, Tokens, grid_of


class Link(StrEnum):
    """How the model's output follows from its logits."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LOGITS = "logits"


@dataclass(frozen=True)
class Anatomy:
    """What a model looks like from the score down to the layers that are explained.

    input_shape: (H, W, C). explained: the layers that maps are made of. scales: the coarse and the fine layer of `twoscale`,
    where it was asked for and the model has them. grids: how each of these lies on the image, by path. heads: what stands above
    each. separable: whether its second and third derivatives are diagonal (see `head.is_separable`).
    """

    input_shape: tuple[int, int, int]
    classes: int
    link: Link
    explained: tuple[str, ...]
    scales: tuple[str, str] | None
    grids: Mapping[str, Grid]
    heads: Mapping[str, Head]
    separable: Mapping[str, bool]


def examine(
    traced: Trace,
    paths: Sequence[str],
    scales: tuple[str, str] | None = None,
    tokens: Tokens | None = None,
) -> Anatomy:
    """Read off a traced model what the engine needs to know of it.

    Args:
        paths: the layers to be explained. scales: the coarse and the fine layer of `twoscale`. tokens: how a transformer's
            tokens lie on the image, where its card says so.

    Raises:
        ModelError: the output is no row of class scores. UsageError: a layer does not run, has no grid of feature maps, or does
            not feed the score.
    """
    logits, link = logits_of(traced.output)
    tapped = dict.fromkeys([*paths, *(scales or ())])
    taps = {path: last_output(path, traced.calls[path], logits.graph) for path in tapped}
    grids = {path: _grid(path, tap, traced.input_shape, tokens) for path, tap in taps.items()}
    return Anatomy(
        input_shape=traced.input_shape,
        classes=int(logits.shape[-1]),
        link=link,
        explained=tuple(dict.fromkeys(paths)),
        scales=scales,
        grids=grids,
        heads={path: head_kind(path, tap, logits) for path, tap in taps.items()},
        separable={path: is_separable(tap, logits) for path, tap in taps.items()},
    )


def last_output(path: str, calls: list[Any], graph: tf.Graph) -> tf.Tensor:
    """Return the output of a layer's last call, or raise a UsageError that says why there is none."""
    if not calls:
        raise UsageError(f"layer '{path}' is not used when the model runs; `smoothcam layers` lists those that are")
    if isinstance(calls[-1], tf.Tensor) and calls[-1].graph is not graph:
        raise ModelError(f"layer '{path}' runs inside a compiled function that cannot be looked into")
    return calls[-1]


def _grid(path: str, output: Any, input_shape: tuple[int, int, int], tokens: Tokens | None) -> Grid:
    grid = grid_of(output, input_shape, tokens)
    if grid is not None:
        return grid
    shape = str(tuple(output.shape[1:])) if isinstance(output, tf.Tensor) else type(output).__name__
    hint = ""
    if isinstance(output, tf.Tensor) and output.shape.rank == 3:
        hint = "; if these are tokens, say in the model's card how they lie: tokens: {grid: [ROWS, COLUMNS], class_tokens: N}"
    raise UsageError(
        f"layer '{path}' gives no feature maps: its output is {shape}, not (rows, columns, channels){hint}"
    )


_PASSES_ON = {
    "Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape", "Reshape", "Squeeze", "ExpandDims",
}  # fmt: skip


def logits_of(output: tf.Tensor) -> tuple[tf.Tensor, Link]:
    """Return the class scores before the final softmax or sigmoid, and which of them it was.

    A single sigmoid unit z becomes two classes with scores (-z, z), so that either side can be explained.

    Args:
        output: the model's output in a graph under construction, (rows, classes).

    Raises:
        ModelError: the output is not one row of class scores for each image.
    """
    if output.shape.rank != 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; a classifier gives one row of scores for each image"
        )
    tensor = output
    while tensor.op.type in _PASSES_ON:
        tensor = tensor.op.inputs[0]
    link = {"Softmax": Link.SOFTMAX, "Sigmoid": Link.SIGMOID}.get(tensor.op.type, Link.LOGITS)
    with output.graph.as_default():
        logits = output if link is Link.LOGITS else tensor.op.inputs[0]
        if logits.shape.rank != 2:
            logits = tf.reshape(logits, (-1, output.shape[-1]))
        if logits.shape[-1] == 1:
            return tf.concat([-logits, logits], axis=-1), Link.SIGMOID
    return logits, link


def probabilities(logits: NDArray[np.float32], link: Link) -> NDArray[np.float32]:
    """Return each class's probability, (classes,) float32; of logits that stand for none, as if softmax followed."""
    if link is Link.SIGMOID:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float32)
    with np.errstate(invalid="ignore"):  # an infinite logit leaves no probabilities, and they say so as NaN
        e = np.exp(logits - logits.max())
        return np.asarray(e / e.sum(), np.float32)
