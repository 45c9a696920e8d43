"""Faithfulness: what must hold for any score, what is known exactly for a linear one, and what xplique computes too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cam_cli.engine.scorer import Scorer
from cam_cli.errors import UsageError
from cam_cli.metrics.faithfulness import PERTURBATIONS, ROWS, perturbed
from cam_cli.metrics.faithfulness import faithfulness as faithfulness_of_all

Array = NDArray[Any]
SHAPE = (8, 7, 3)
STEPS = 14  # divides the 56 pixels
seeds = st.integers(0, 10_000)
some = settings(deadline=None, max_examples=examples(25))


def faithfulness(x: Array, saliency: Array, *args: Any, **kwargs: Any) -> dict[str, float]:
    """The metrics of one map."""
    return faithfulness_of_all(x, [saliency], *args, **kwargs)[0]


def drawn(seed: int) -> tuple[Array, Array, Array]:
    """An input, weights of its values, and a map without ties."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=SHAPE).astype(np.float32), draw.normal(size=SHAPE), draw.normal(size=SHAPE[:2])


def linear(weights: Array) -> Callable[[Array], Array]:
    return lambda x: (x * weights).sum(axis=(1, 2, 3)) + 100


def wavy(weights: Array) -> Callable[[Array], Array]:
    return lambda x: 0.5 + np.sin((x * weights).sum(axis=(1, 2, 3))) / 2


@some
@given(seeds, st.sampled_from(PERTURBATIONS))
def test_no_map_beats_the_exact_attribution_of_a_linear_network(seed: int, perturbation: str) -> None:
    x, weights, other = drawn(seed)
    true = ((x - perturbed(x, perturbation, seed)) * weights).sum(axis=-1)
    best = faithfulness(x, true, linear(weights), perturbation, STEPS, seed)
    for rival in (other, -true):
        found = faithfulness(x, rival, linear(weights), perturbation, STEPS, seed)
        assert best["deletion_auc"] < found["deletion_auc"]
        assert best["insertion_auc"] > found["insertion_auc"]


@some
@given(seeds, st.floats(1e-3, 1), st.integers(1, 60))
def test_a_constant_score_is_its_own_area_and_never_drops(seed: int, constant: float, steps: int) -> None:
    x, _, saliency = drawn(seed)
    found = faithfulness(x, saliency, lambda rows: np.full(len(rows), constant), steps=steps)
    assert found["deletion_auc"] == pytest.approx(constant)
    assert found["insertion_auc"] == pytest.approx(constant)
    assert (found["average_drop"], found["increase"]) == (0, 0)


@some
@given(seeds)
def test_inserting_lowest_first_is_deleting_highest_first_backwards(seed: int) -> None:
    x, weights, saliency = drawn(seed)
    saliency = saliency.round()  # with ties
    ahead, back = (faithfulness(x, s, wavy(weights), "mean", 5) for s in (saliency, -saliency))
    assert ahead["deletion_auc"] == pytest.approx(back["insertion_auc"], rel=1e-5)
    assert ahead["insertion_auc"] == pytest.approx(back["deletion_auc"], rel=1e-5)


@some
@given(seeds)
def test_areas_follow_the_order_alone_and_nothing_follows_the_scale(seed: int) -> None:
    x, weights, saliency = drawn(seed)
    first, bent, scaled = (
        faithfulness(x, s, wavy(weights), steps=6) for s in (saliency, np.exp(saliency), saliency * 1e-6)
    )
    assert bent["deletion_auc"] == first["deletion_auc"]
    assert bent["insertion_auc"] == first["insertion_auc"]
    assert scaled == pytest.approx(first, rel=1e-5, abs=1e-9)


@some
@given(seeds, st.integers(1, 4), st.integers(1, 9))
def test_maps_measured_together_are_measured_alike_and_share_passes(seed: int, count: int, steps: int) -> None:
    x, weights, saliency = drawn(seed)
    maps = [saliency, saliency.round(), -saliency, np.zeros_like(saliency)][:count]
    rows: list[int] = []

    def score(batch: Array) -> Array:
        rows.append(len(batch))
        return wavy(weights)(batch)

    together = faithfulness_of_all(x, maps, score, "noise", steps, seed)
    assert sum(rows) == 2 + count * (2 * steps - 1)
    assert {*rows[:-1]} <= {ROWS}
    for one, saliency in zip(together, maps, strict=True):
        assert one == pytest.approx(faithfulness(x, saliency, wavy(weights), "noise", steps, seed))


def test_tied_pixels_stand_for_all_their_orders() -> None:
    """For a linear score the mean over random orders is exactly what changing them together gives."""
    x, weights, saliency = drawn(3)
    tied = np.where(saliency > 0.3, saliency.round(), 0)
    draw = np.random.default_rng(0)
    orders = [
        faithfulness(x, tied + draw.uniform(0, 1e-3, tied.shape), linear(weights), "mean", STEPS)["deletion_auc"]
        for _ in range(1500)
    ]
    together = faithfulness(x, tied, linear(weights), "mean", STEPS)["deletion_auc"]
    assert abs(together - np.mean(orders)) < 4 * np.std(orders) / np.sqrt(len(orders))
    in_reading_order = faithfulness(x, tied - 1e-6 * np.arange(56).reshape(8, 7), linear(weights), "mean", STEPS)
    assert abs(in_reading_order["deletion_auc"] - np.mean(orders)) > 8 * np.std(orders) / np.sqrt(len(orders))


def test_where_the_network_did_not_look_the_map_is_zero() -> None:
    x, weights, saliency = drawn(1)
    outside = np.where(saliency > 0, saliency, np.nan)
    assert faithfulness(x, outside, wavy(weights)) == faithfulness(x, np.maximum(saliency, 0), wavy(weights))


def test_drop_and_increase_by_hand() -> None:
    x = np.ones((1, 2, 1), np.float32)
    x[0, 1] = 3  # mean 2: the map shows the second pixel whole and the first by half
    saliency = np.array([[2.0, 4.0]])
    dark = faithfulness(x, saliency, lambda rows: rows[:, 0, 0, 0] / 10 + rows[:, 0, 1, 0] / 10, "mean", 2)
    assert (dark["average_drop"], dark["increase"]) == (0, 1)  # 1.5 + 3 against 1 + 3
    bright = faithfulness(x, saliency, lambda rows: 1 - rows[:, 0, 0, 0] / 10, "mean", 2)
    assert bright["average_drop"] == pytest.approx((0.9 - 0.85) / 0.9)
    assert bright["increase"] == 0


def test_perturbations_leave_no_detail_and_the_same_colours() -> None:
    draw = np.random.default_rng(2)
    x = (draw.normal(size=(64, 48, 3)) * (1, 2, 3) + (5, 0, -5)).astype(np.float32)
    for name in PERTURBATIONS:
        hidden = perturbed(x, name, 4)
        assert hidden.shape == x.shape
        assert hidden.dtype == np.float32
        np.testing.assert_allclose(hidden.mean(axis=(0, 1)), x.mean(axis=(0, 1)), atol=0.3)
        detail = [
            np.corrcoef(hidden[..., c].ravel() + draw.normal(0, 1e-6, 64 * 48), x[..., c].ravel()) for c in range(3)
        ]
        assert np.abs([r[0, 1] for r in detail]).max() < 0.2
    assert perturbed(x, "blur").std(axis=(0, 1)).max() < 0.3
    flat = np.full_like(x, 7)
    for name in PERTURBATIONS:
        np.testing.assert_allclose(perturbed(flat, name), flat, rtol=1e-6)
    np.testing.assert_array_equal(perturbed(x, "noise", 4), perturbed(x, "noise", 4))
    assert not np.allclose(perturbed(x, "noise", 4), perturbed(x, "noise", 5))
    np.testing.assert_allclose(perturbed(x, "noise", 4).std(axis=(0, 1)), x.std(axis=(0, 1)), rtol=0.1)


def test_what_cannot_be_measured_is_said() -> None:
    x, weights, saliency = drawn(0)
    with pytest.raises(UsageError, match="unknown perturbation 'black'; choose one of blur, mean, noise"):
        faithfulness(x, saliency, wavy(weights), "black")
    with pytest.raises(UsageError, match=r"the map is \(4, 4\), and the network's input \(8, 7\)"):
        faithfulness(x, saliency[:4, :4], wavy(weights))
    with pytest.raises(UsageError, match="at least one step"):
        faithfulness(x, saliency, wavy(weights), steps=0)


def classifier(units: int = 4, activation: str | None = None) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(5, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(units, activation=activation),
        ]
    )
    draw = np.random.default_rng(7)
    model.set_weights([draw.normal(0, 0.7, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def test_xplique_finds_the_same_figures() -> None:
    """Where both do the same: no ties, a map from 0 up, and a mean colour of zero, which is xplique's own filling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fidelity = pytest.importorskip("xplique.metrics.fidelity")
    model = classifier()
    draw = np.random.default_rng(5)
    x = draw.normal(size=(6, *SHAPE)).astype(np.float32)
    x -= x.mean(axis=(1, 2), keepdims=True)
    maps = draw.uniform(size=(6, *SHAPE[:2])).astype(np.float32)
    maps -= maps.min(axis=(1, 2), keepdims=True)
    targets = [0, 1, 2, 3, 0, 1]
    one_hot = np.eye(4, dtype=np.float32)[targets]
    score = Scorer(model, SHAPE)
    ours = [
        faithfulness(one, saliency, partial(score, target=target), "mean", STEPS)
        for one, saliency, target in zip(x, maps, targets, strict=True)
    ]
    assert {one["increase"] for one in ours} == {0, 1}
    peers = {
        "deletion_auc": fidelity.Deletion(model, x, one_hot, steps=STEPS, activation="softmax"),
        "insertion_auc": fidelity.Insertion(model, x, one_hot, steps=STEPS, activation="softmax"),
        "average_drop": fidelity.AverageDropMetric(model, x, one_hot, activation="softmax"),
        "increase": fidelity.AverageIncreaseMetric(model, x, one_hot, activation="softmax"),
    }
    for name, peer in peers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = float(peer.evaluate(maps))
        assert np.mean([one[name] for one in ours]) == pytest.approx(theirs, rel=1e-5), name


@pytest.mark.parametrize(("units", "activation"), [(4, "softmax"), (4, "sigmoid"), (1, "sigmoid"), (4, None)])
def test_scores_are_the_models_own_probabilities(units: int, activation: str | None) -> None:
    model = classifier(units, activation)
    x = np.random.default_rng(1).normal(size=(11, *SHAPE)).astype(np.float32)
    truth = np.asarray(model(x), np.float64)
    if activation is None:
        truth = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    if units == 1:
        truth = np.concatenate([1 - truth, truth], axis=1)
    score = Scorer(model, SHAPE)
    for target in range(score.classes):
        found = score(x, target)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, truth[:, target], atol=1e-6)
    assert score(x[:0], 0).shape == (0,)
    with pytest.raises(UsageError, match=f"class {score.classes} does not exist"):
        score(x, score.classes)
