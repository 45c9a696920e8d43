"""Precision and recall of multi-label networks against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from cam_cli.metrics.several_labels import LabelTally

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("seed", range(3))
def test_precision_and_recall_are_scikit_learns(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(seed)
    true, predicted = draw.random((60, 6)) < 0.3, draw.random((60, 6)) < 0.3
    true[:, 5] = False  # a class that is never true has no share of true labels
    tally = LabelTally()
    for one, other in zip(true, predicted, strict=True):
        tally.add(np.flatnonzero(one).tolist(), np.flatnonzero(other).tolist())
    assert tally.figures() == pytest.approx(
        {
            "label_precision": metrics.precision_score(true, predicted, average="micro"),
            "label_recall": metrics.recall_score(true, predicted, average="micro"),
        }
    )
    by_class = tally.by_class()
    precision = metrics.precision_score(true, predicted, average=None)
    found = metrics.recall_score(true, predicted, average=None, zero_division=np.nan)
    assert by_class[5].found is None
    for index in range(5):
        count = by_class[index]
        assert count.precision is not None
        assert count.found is not None
        assert (count.precision.value, count.found.value) == pytest.approx((precision[index], found[index]))


def test_without_labels_there_is_no_figure() -> None:
    tally = LabelTally()
    tally.add([], [])
    assert tally.figures() == {}
    tally.add([], [3])
    assert tally.figures() == {"label_precision": 0.0}
