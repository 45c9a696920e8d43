"""Checks, before anything is drawn, that the scores that are explained lead to what the model itself predicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.link import Link, output_of
from cam_cli.engine.scores import scores_of
from cam_cli.errors import ModelError
from cam_cli.graph.trace import Trace, predict

_TOLERANCE = 1e-3
_TOLERANCE_OF_HALVES = 2e-2
"""Of networks that compute in 16 bits."""


def verify_predictions(model: keras.Model, traced: Trace, link: Link, images: Iterable[NDArray[Any]]) -> None:
    """Compare the output that follows from the explained scores with the model's own, called without a graph.

    Args:
        model: the one that was traced.
        traced: the trace that is explained.
        link: as found for it.
        images: preprocessed, (H, W, C) each.

    Raises:
        ModelError: they differ by more than a thousandth of a probability, or of the largest logit.
    """
    scores, images = scores_of(traced.output, link), list(images)
    found = traced.evaluate([scores], images)
    derived = output_of(np.concatenate([np.asarray(values[0], np.float64) for values in found]), link)
    own = np.concatenate([predict(model, image[None]) for image in images])
    if own.shape[-1] == 1:
        derived = derived[:, -1:]
    finite = np.isfinite(own) & np.isfinite(derived)
    halves = any("16" in str(getattr(layer, "compute_dtype", "")) for layer in traced.layers.values())
    scale = 1.0 if link.is_bounded else max(1.0, float(np.abs(own[finite]).max(initial=0)))
    differences = np.where(finite, np.abs(own - derived), 0)
    if differences.max(initial=0) > (_TOLERANCE_OF_HALVES if halves else _TOLERANCE) * scale:
        image, index = np.unravel_index(int(differences.argmax()), differences.shape)
        raise ModelError(
            f"the scores that would be explained do not lead to what the model predicts: for output {index} of a trial image "
            f"they give {derived[image, index]:.4f}, and the model itself gives {own[image, index]:.4f}. Save the model with "
            "one softmax, one sigmoid or plain logits for its output"
        )
