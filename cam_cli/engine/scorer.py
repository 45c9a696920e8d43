"""Probabilities of one class for many inputs, in passes of one fixed size, through the same graph as explanations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.anatomy import Link, examine
from cam_cli.engine.explain import ROWS_IN_A_PASS
from cam_cli.engine.network import Network
from cam_cli.engine.tracing import FrozenGraph, Noise, Shape, Wanted, trace_pass
from cam_cli.errors import UsageError
from cam_cli.models.calls import trace


class Scorer:
    """Scores inputs with any Keras classifier, which is traced once and never changed.

    Args:
        model: ends in softmax, in sigmoid, in a single sigmoid unit (two classes then) or in logits, which are taken as those
            of a softmax.
        input_shape: (H, W, C).
        rows: inputs in a pass. precision: `float32`, or `bfloat16` for the products of a network that can be frozen.

    Raises:
        ModelError: the model takes no such image, or gives no row of class scores.
    """

    def __init__(
        self,
        model: keras.Model,
        input_shape: tuple[int, int, int],
        rows: int = ROWS_IN_A_PASS,
        precision: str = "float32",
    ) -> None:
        anatomy = examine(trace(model, input_shape), ())
        self.classes = anatomy.classes
        self._link = anatomy.link
        wanted = Wanted(Shape(rows, 1, 1, input_shape, clean=1), {}, Noise())
        traced = trace_pass(model, wanted)
        if precision == "bfloat16" and isinstance(traced, FrozenGraph):
            traced = traced.in_bfloat16()
        self._network = Network(traced, wanted)

    def __call__(self, x: NDArray[Any], target: int) -> NDArray[np.float64]:
        """Return the probability of a class for inputs (N, H, W, C), preprocessed: (N,), 0..1; NaN where a logit is not finite.

        Raises:
            UsageError: a target that is no class of this model.
        """
        if not 0 <= target < self.classes:
            raise UsageError(f"class {target} does not exist: the model has {self.classes} classes")
        rows = self._network.shape.images
        passes = [self._logits(x[i : i + rows]) for i in range(0, len(x), rows)]
        return self._probability(np.concatenate(passes or [np.zeros((0, self.classes))]), target)

    def _logits(self, x: NDArray[Any]) -> NDArray[np.float64]:
        rows = self._network.shape.images
        filled = np.zeros((rows, *self._network.shape.input), np.float32)
        filled[: len(x)] = x
        found = self._network(
            filled, np.zeros((rows, 1, 2), np.int64), np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.int32)
        )
        return np.asarray(found.logits[: len(x), 0], np.float64)

    def _probability(self, logits: NDArray[np.float64], target: int) -> NDArray[np.float64]:
        if self._link is Link.SIGMOID:
            return np.asarray(0.5 * (1 + np.tanh(logits[:, target] / 2)))
        with np.errstate(invalid="ignore"):
            e = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.asarray(e[:, target] / e.sum(axis=1))
