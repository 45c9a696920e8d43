"""Analyses the traced graph of a model before it is explained.

Every Keras model becomes a graph. In it a softmax is found whether it was written as an argument of a Dense layer, as a layer
of its own or inside a subclass.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from cam_cli.engine.head import head_kind, is_separable
from cam_cli.engine.link import Link
from cam_cli.engine.model_analysis import Head, ModelAnalysis, ScalesAtSize
from cam_cli.engine.scores import find_link, scores_of
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.grid import grid_of, laid
from cam_cli.graph.memory import bytes_for_one_image
from cam_cli.graph.operations import random_operations
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import Trace
from cam_cli.graph.window.follow import Windows
from cam_cli.window import Grid

__all__ = ["Head", "Link", "ModelAnalysis", "analyse", "analyse_at_sizes", "last_output"]


def analyse(
    traced: Trace,
    paths: Sequence[str],
    scales: tuple[str, str] | None = None,
    tokens: Tokens | None = None,
    link: Link | None = None,
) -> ModelAnalysis:
    """Analyse a traced model.

    Args:
        traced: the model.
        paths: the layers to be explained.
        scales: the coarse and the fine layer of `twoscale`.
        tokens: of a transformer, if its card declares them.
        link: how the output is computed from the scores, if that is known of a model with the same layers.

    Raises:
        ModelError: the output is not a row of class scores.
        UsageError: a layer does not run, has no grid of feature maps, or does not feed the score.
    """
    link = link or find_link(traced)
    scores = scores_of(traced.output, link)
    known = dict.fromkeys([*paths, *(scales or ())])
    outputs = {path: last_output(path, traced.calls[path], scores.graph) for path in known}
    windows = Windows(traced.input)
    grids = {path: _grid(path, output, traced.input_shape, tokens) for path, output in outputs.items()}
    return ModelAnalysis(
        input_shape=traced.input_shape,
        classes=int(scores.shape[-1]),
        link=link,
        multi_label=link is Link.SIGMOID and traced.output.shape[-1] > 1,
        explained=tuple(dict.fromkeys(paths)),
        scales=scales,
        grids={path: laid(grid, outputs[path], windows) for path, grid in grids.items()},
        heads={path: head_kind(path, output, scores) for path, output in outputs.items()},
        separable={path: is_separable(output, scores) for path, output in outputs.items()},
        random=bool(random_operations(scores)),
        bytes_for_one_image=bytes_for_one_image(traced, list(outputs.values())),
    )


def analyse_at_sizes(analysis: ModelAnalysis, traces: Sequence[Trace], tokens: Tokens | None = None) -> ModelAnalysis:
    """Return an analysis with the layers of `twoscale` at each of several input sizes.

    Args:
        analysis: of the model at its own size.
        traces: of the same model at each of the sizes.
        tokens: of a transformer, if its card declares them.

    Raises:
        UsageError: a layer has no grid at a size.
    """
    found = []
    for traced in traces:
        at_size = analyse(traced, (), analysis.scales, tokens, analysis.link)
        found.append(ScalesAtSize(traced.input_shape, at_size.grids, at_size.bytes_for_one_image))
    return replace(analysis, sizes=tuple(found))


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
