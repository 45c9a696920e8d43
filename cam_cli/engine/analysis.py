"""Analyses the traced graph of a model before it is explained.

Every Keras model becomes a graph. In it a softmax is found whether it was written as an argument of a Dense layer, as a layer
of its own or inside a subclass.
"""

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
from cam_cli.models.card import Tokens
from cam_cli.models.grid import Grid, grid_of, laid
from cam_cli.models.window.follow import Windows

_SAME_VALUES = {
    "Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "EnsureShape", "Reshape", "Squeeze", "ExpandDims",
}  # fmt: skip


class Link(StrEnum):
    """How the model's output is computed from its logits."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LOGITS = "logits"


@dataclass(frozen=True)
class ModelAnalysis:
    """The facts about a model that explanations depend on.

    input_shape: (H, W, C). explained: the layers that maps are made of. scales: the coarse and the fine layer of `twoscale`, if
    it is computed. By path of all these layers: grids, heads, and separable (see `head.is_separable`).
    """

    input_shape: tuple[int, int, int]
    classes: int
    link: Link
    explained: tuple[str, ...]
    scales: tuple[str, str] | None
    grids: Mapping[str, Grid]
    heads: Mapping[str, Head]
    separable: Mapping[str, bool]


def analyse(
    traced: Trace, paths: Sequence[str], scales: tuple[str, str] | None = None, tokens: Tokens | None = None
) -> ModelAnalysis:
    """Analyse a traced model.

    Args:
        traced: the model.
        paths: the layers to be explained.
        scales: the coarse and the fine layer of `twoscale`.
        tokens: of a transformer, if its card declares them.

    Raises:
        ModelError: the output is not a row of class scores.
        UsageError: a layer does not run, has no grid of feature maps, or does not feed the score.
    """
    logits, link = logits_of(traced.output)
    known = dict.fromkeys([*paths, *(scales or ())])
    outputs = {path: last_output(path, traced.calls[path], logits.graph) for path in known}
    windows = Windows(traced.output.graph.inputs[0])
    grids = {path: _grid(path, output, traced.input_shape, tokens) for path, output in outputs.items()}
    return ModelAnalysis(
        input_shape=traced.input_shape,
        classes=int(logits.shape[-1]),
        link=link,
        explained=tuple(dict.fromkeys(paths)),
        scales=scales,
        grids={path: laid(grid, outputs[path], windows) for path, grid in grids.items()},
        heads={path: head_kind(path, output, logits) for path, output in outputs.items()},
        separable={path: is_separable(output, logits) for path, output in outputs.items()},
    )


def last_output(path: str, calls: list[Any], graph: tf.Graph) -> tf.Tensor:
    """Return the output of a layer's last call; raises UsageError if it does not run, ModelError if it cannot be reached."""
    if not calls:
        raise UsageError(f"layer '{path}' is not used when the model runs; `smoothcam layers` lists those that are")
    if isinstance(calls[-1], tf.Tensor) and calls[-1].graph is not graph:
        raise ModelError(f"layer '{path}' runs inside a compiled function that cannot be looked into")
    return calls[-1]


def _grid(path: str, output: Any, input_shape: tuple[int, int, int], tokens: Tokens | None) -> Grid:
    if grid := grid_of(output, input_shape, tokens):
        return grid
    shape = str(tuple(output.shape[1:])) if isinstance(output, tf.Tensor) else type(output).__name__
    hint = ""
    if isinstance(output, tf.Tensor) and output.shape.rank == 3:
        hint = "; if these are tokens, say in the model's card how they lie: tokens: {grid: [ROWS, COLUMNS], class_tokens: N}"
    raise UsageError(
        f"layer '{path}' gives no feature maps: its output is {shape}, not (rows, columns, channels){hint}"
    )


def logits_of(output: tf.Tensor) -> tuple[tf.Tensor, Link]:
    """Return the class scores, (rows, classes), before the final softmax or sigmoid, and which of them it is.

    A single sigmoid unit z becomes two classes with scores (-z, z), so that both classes can be explained. The output must be
    in a graph under construction.

    Raises:
        ModelError: the output is not one row of class scores for each image.
    """
    if output.shape.rank != 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; a classifier gives one row of scores for each image"
        )
    tensor = output
    while tensor.op.type in _SAME_VALUES:
        tensor = tensor.op.inputs[0]
    link = {"Softmax": Link.SOFTMAX, "Sigmoid": Link.SIGMOID}.get(tensor.op.type, Link.LOGITS)
    with output.graph.as_default():
        logits = output if link is Link.LOGITS else tensor.op.inputs[0]
        if logits.shape.rank != 2:
            logits = tf.reshape(logits, (-1, output.shape[-1]))
        if logits.shape[-1] == 1:
            return tf.concat([-logits, logits], axis=-1), Link.SIGMOID
    return logits, link


def probabilities(logits: NDArray[Any], link: Link) -> NDArray[Any]:
    """Return each class's probability, (..., classes) in the dtype of the logits; plain logits are treated as a softmax's."""
    if link is Link.SIGMOID:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
    with np.errstate(invalid="ignore"):  # an infinite logit makes them NaN
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))
