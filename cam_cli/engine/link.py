"""How a model's output follows from the class scores that are explained; it needs no TensorFlow."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


class Link(StrEnum):
    """How the model's output is computed from the class scores that are explained.

    The score is a logit, except for `LOG_PROBABILITY`. There the output is made of several softmaxes or sigmoids, or is changed
    after them, so that no logit gives it; the score is the logarithm of the model's own output.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LOGITS = "logits"
    UNIT_LOGIT = "logit of one unit"
    LOG_SOFTMAX = "log softmax"
    LOG_PROBABILITY = "log probability"

    @property
    def is_bounded(self) -> bool:
        """Return True if the model's output is probabilities."""
        return self in (Link.SOFTMAX, Link.SIGMOID, Link.LOG_PROBABILITY)

    @property
    def score(self) -> Literal["logit", "log probability"]:
        """What a manifest calls the score."""
        return "log probability" if self is Link.LOG_PROBABILITY else "logit"


def probabilities(scores: NDArray[Any], link: Link) -> NDArray[Any]:
    """Return each class's probability, (..., classes) in the dtype of the scores; plain logits are treated as a softmax's."""
    if link is Link.LOG_PROBABILITY:
        return np.asarray(np.exp(scores))
    if link in (Link.SIGMOID, Link.UNIT_LOGIT):
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    with np.errstate(invalid="ignore"):  # an infinite logit makes them NaN
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


def output_of(scores: NDArray[Any], link: Link) -> NDArray[Any]:
    """Return what a model with these class scores gives itself: (N, classes), or (N, 1) for a single unit of plain logits."""
    match link:
        case Link.LOGITS:
            return scores
        case Link.UNIT_LOGIT:
            return scores[:, 1:]
        case Link.LOG_SOFTMAX:
            return np.asarray(np.log(probabilities(scores, link)))
        case _:
            return probabilities(scores, link)
