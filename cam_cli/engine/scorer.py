"""Probabilities of one class for many inputs, in passes of one fixed size, through the same graph as explanations."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import ROWS_IN_A_PASS
from cam_cli.engine.link import probabilities
from cam_cli.engine.passes import PassSpec
from cam_cli.engine.runner import compile_pass
from cam_cli.errors import UsageError
from cam_cli.graph.trace import trace


class Scorer:
    """Computes class probabilities with any Keras classifier, which is traced once and never changed.

    Args:
        model: gives probabilities, or logits, which are treated as those of a softmax; a single unit means two classes.
        input_shape: (H, W, C).
        precision: `float32`, or `bfloat16` for products and convolutions.

    Raises:
        ModelError: the model does not take such an image, or gives no row of class scores.
        UsageError: bfloat16 for a model that cannot be frozen.
    """

    def __init__(self, model: keras.Model, input_shape: tuple[int, int, int], precision: str = "float32") -> None:
        analysis = analyse(trace(model, input_shape), ())
        self.classes = analysis.classes
        self._link = analysis.link
        spec = PassSpec(ROWS_IN_A_PASS, 1, 1, input_shape, analysis.classes, analysis.link)
        self._run = compile_pass(lambda: model, spec, precision)

    def __call__(self, x: NDArray[Any], target: int) -> NDArray[np.float64]:
        """Return the probability of a class for inputs (N, H, W, C), preprocessed: (N,), 0..1; NaN if a logit is not finite.

        Raises UsageError for a target that is no class of this model.
        """
        if not 0 <= target < self.classes:
            raise UsageError(f"class {target} does not exist: the model has {self.classes} classes")
        rows = ROWS_IN_A_PASS
        logits = np.zeros((len(x), self.classes))
        unused = np.zeros((rows, 1), np.int32)
        for start in range(0, len(x), rows):
            some = x[start : start + rows]
            filled = np.zeros((rows, *x.shape[1:]), np.float32)
            filled[: len(some)] = some
            logits[start : start + rows] = self._run(filled, unused).logits[: len(some), 0]
        return probabilities(logits, self._link)[:, target]
