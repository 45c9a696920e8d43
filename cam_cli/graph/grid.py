"""The grid of a layer: which part of the image each of its values belongs to, for feature maps and for tokens."""

import math
from dataclasses import replace
from typing import Any

import tensorflow as tf

from cam_cli.graph.tokens import Tokens
from cam_cli.graph.window.follow import Windows
from cam_cli.graph.window.operand import Lost
from cam_cli.window import Grid

__all__ = ["Grid", "grid_of", "laid", "spread"]


def grid_of(output: Any, input_shape: tuple[int, int, int], declared: Tokens | None = None) -> Grid | None:
    """Return the grid of a layer's symbolic output, or None if it has none.

    The grid of tokens is the one that the card declares. Without a declaration it is the only grid of the image's proportions
    that they fill, with or without one class token.
    """
    is_grid = isinstance(output, tf.Tensor) and output.dtype.is_floating and output.shape.rank in (3, 4)
    if not is_grid or None in output.shape[1:]:
        return None
    if output.shape.rank == 4:
        _, h, w, k = output.shape
        return Grid(h, w, k)
    _, tokens, k = output.shape
    if declared is not None:
        fits = math.prod(declared.grid) + declared.class_tokens == tokens
        return Grid(*declared.grid, k, declared.class_tokens) if fits else None
    height, width, _ = input_shape
    found = []
    for extra, cells in ((0, tokens), (1, tokens - 1)):
        rows = math.isqrt(max(0, cells) * height // width)  # rows * columns = cells, rows / columns = height / width
        if cells > 1 and rows * rows * width == cells * height and cells % rows == 0:
            found.append(Grid(rows, cells // rows, k, extra))
    return found[0] if len(found) == 1 else None


def laid(grid: Grid, output: tf.Tensor, windows: Windows) -> Grid:
    """Return the grid of a layer's output with the part of the input that it covers."""
    if grid.class_tokens is None:
        found = windows.of_feature_maps(output)
    else:
        found = windows.of_tokens(output, (grid.rows, grid.columns), grid.class_tokens)
    return replace(grid, lost_by=found.by) if isinstance(found, Lost) else replace(grid, window=found)


def spread(grid: Grid, tensor: tf.Tensor) -> tf.Tensor:
    """Return a layer's output, or its gradient, as (batch, h, w, K)."""
    if grid.class_tokens is None:
        return tensor
    return tf.reshape(tensor[:, grid.class_tokens :], (-1, *grid.shape))
