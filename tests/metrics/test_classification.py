"""Accuracy, calibration, confusion and label quality against scikit-learn, SciPy and definitions written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.metrics.classification import BINS, Judgement, classification, share

pytestmark = pytest.mark.pure


def judged(seed: int, images: int = 400, classes: int = 5) -> tuple[list[Judgement], np.ndarray, np.ndarray]:
    """Random images: the judgements, probabilities (images, classes) and true classes."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.full(classes, 0.3), images)
    truth = np.where(draw.random(images) < 0.6, p.argmax(axis=1), draw.integers(classes, size=images))
    found = []
    for i, (row, true) in enumerate(zip(p, truth, strict=True)):
        rival = float(np.delete(row, true).max())
        found.append(Judgement(f"{i}.jpg", int(true), int(row.argmax()), float(row.max()), float(row[true]), rival))
    return found, p, truth


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_wilsons(case: tuple[int, int]) -> None:
    hits, count = case
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    found = share(hits, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_is_refused(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        share(hits, count)


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_and_confusion_are_scikit_learns(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    judgements, p, truth = judged(seed)
    predicted = p.argmax(axis=1)
    found = classification(judgements)
    assert found is not None
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truth, predicted))
    matrix = metrics.confusion_matrix(truth, predicted, labels=range(5))
    assert dict(found.confused) == {(i, j): matrix[i, j] for i in range(5) for j in range(5) if i != j and matrix[i, j]}
    assert [n for _, n in found.confused] == sorted((n for _, n in found.confused), reverse=True)
    recalls = metrics.recall_score(truth, predicted, labels=range(5), average=None)
    assert {index: one.value for index, one in found.by_class} == pytest.approx(dict(enumerate(recalls)))
    assert found.figures()["class_accuracy"] == pytest.approx(min(recalls))
    wrong = (p.max(axis=1) > 0.9) & (predicted != truth)
    assert found.confidently_wrong == wrong.sum()


@pytest.mark.parametrize("seed", range(4))
def test_the_calibration_error_is_that_of_a_calibration_curve(seed: int) -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    judgements, p, truth = judged(seed)
    confidences, right = p.max(axis=1), p.argmax(axis=1) == truth
    accuracy, confidence = calibration.calibration_curve(right, confidences, n_bins=BINS)
    counts = np.histogram(confidences, np.linspace(0, 1, BINS + 1))[0]
    expected = np.sum(counts[counts > 0] / counts.sum() * np.abs(accuracy - confidence))
    found = classification(judgements)
    assert found is not None
    assert found.calibration_error == pytest.approx(expected)


def test_a_probability_of_one_and_of_zero_have_a_bin() -> None:
    certain, impossible = (Judgement("a", 0, 0, confidence, confidence, 0.0) for confidence in (1.0, 0.0))
    found = classification([certain, impossible])
    assert found is not None
    assert found.calibration_error == 0.5


def test_label_quality_is_low_where_the_network_is_sure_of_another_class() -> None:
    sure = Judgement("a", truth=0, predicted=1, confidence=0.98, truth_probability=0.01, rival_probability=0.98)
    unsure = Judgement("b", truth=0, predicted=1, confidence=0.5, truth_probability=0.45, rival_probability=0.5)
    right = Judgement("c", truth=0, predicted=0, confidence=0.9, truth_probability=0.9, rival_probability=0.05)
    assert [one.self_confidence for one in (sure, unsure, right)] == [0.01, 0.45, 0.9]
    assert [one.normalized_margin for one in (sure, unsure, right)] == pytest.approx([0.015, 0.475, 0.925])
    assert [one.confidently_wrong for one in (sure, unsure, right)] == [True, False, False]


def test_an_unrecorded_probability_is_no_quality() -> None:
    one = Judgement("a", truth=7, predicted=1, confidence=0.98, truth_probability=None, rival_probability=0.98)
    assert one.self_confidence is None
    assert one.normalized_margin is None


def test_without_a_known_class_there_is_nothing_to_measure() -> None:
    assert classification([]) is None
