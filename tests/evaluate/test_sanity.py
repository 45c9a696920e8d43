"""Sanity and stability: which maps survive a randomised network, what randomising is, and what a harmless change does."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.errors import ModelError, UsageError
from cam_cli.evaluate.records import Sanity
from cam_cli.evaluate.sanity import sanity
from cam_cli.graph.trace import trace, walk
from cam_cli.images.fit import InputBox, Preprocessing, fit
from cam_cli.images.image import RgbImage
from cam_cli.metrics.comparison import spearman
from cam_cli.metrics.stability import jpeg, shifted, stability
from cam_cli.models.randomise import layers_with_weights, randomised

Array = NDArray[Any]
SHAPE = (32, 32, 3)
L = keras.layers


def network() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            L.Conv2D(8, 3, padding="same", activation="relu", name="conv1"),
            L.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="conv2"),
            L.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="conv3"),
            L.GlobalAveragePooling2D(name="pool"),
            L.Dense(5, activation="softmax", name="head"),
        ]
    )
    return drawn(model, 3)


def drawn(model: keras.Model, seed: int) -> keras.Model:
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(0, 0.3, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def images(count: int) -> Array:
    """Bright discs on dark ground, and a little noise: pictures with edges."""
    draw = np.random.default_rng(11)
    rows, columns = np.mgrid[:32, :32]
    made = []
    for _ in range(count):
        y, x, radius = draw.uniform(8, 24), draw.uniform(8, 24), draw.uniform(4, 9)
        disc = ((rows - y) ** 2 + (columns - x) ** 2 < radius**2)[..., None] * draw.uniform(0.5, 1, 3)
        made.append(disc + draw.normal(0, 0.05, SHAPE))
    return np.stack(made).astype(np.float32)


maps_of_few_values = hnp.arrays(np.float32, (4, 5), elements=st.integers(0, 6).map(float))


@settings(deadline=None)
@given(maps_of_few_values, maps_of_few_values)
def test_rank_correlation_is_scipys(a: Array, b: Array) -> None:
    statistics = pytest.importorskip("scipy.stats")
    found = spearman(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert found is None
    else:
        assert found == pytest.approx(statistics.spearmanr(a, b, axis=None).statistic, abs=1e-12)
        assert spearman(np.exp(a), b) == found


def test_cells_that_are_not_known_count_in_neither_map() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.array([[0.0, 2.0, 1.0], [5.0, np.nan, np.inf]])
    assert spearman(a, b) == spearman(np.arange(4.0), np.array([0.0, 2, 1, 5]))
    assert spearman(a, np.full_like(a, np.nan)) is None


def nested() -> keras.Model:
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", name="body1")(inputs)
    x = L.BatchNormalization(name="norm")(x) + x
    backbone = keras.Model(inputs, L.ReLU(name="act")(x), name="backbone")
    outer = keras.Input(SHAPE)
    x = L.Lambda(lambda images: images * 2.0, name="double")(backbone(outer))
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return drawn_positive(keras.Model(outer, L.Dense(6, name="head")(x)))


def drawn_positive(model: keras.Model) -> keras.Model:
    draw = np.random.default_rng(4)
    model.set_weights([draw.uniform(0.1, 1, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@keras.saving.register_keras_serializable("test_sanity")
class Subclassed(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Made in another order than it runs in, with a weight of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = L.Dense(6)
        self.first = L.Conv2D(4, 3)
        self.gain = self.add_weight(shape=SHAPE, initializer="ones", name="gain")

    def call(self, x: Any) -> Any:
        return self.last(keras.ops.mean(self.first(x * self.gain), axis=(1, 2)))


def subclassed() -> keras.Model:
    model = Subclassed(name="own")
    model(np.zeros((1, *SHAPE), np.float32))
    return drawn_positive(model)


MODELS = {
    network: (["head", "conv3", "conv2", "conv1"], {6, 7}),
    nested: (["head", "backbone/norm", "backbone/body1"], {6, 7}),
    subclassed: (["dense", "conv2d", "own"], {1, 2}),
}
"""For each model its layers from the top down, and which of its weights are the top layer's."""


@pytest.mark.parametrize("make", MODELS)
def test_a_copy_is_randomised_from_the_top_down_and_the_model_stays(make: Any) -> None:
    keras.backend.clear_session()
    model, x = make(), images(2)
    paths, top = MODELS[make]
    before, output = [w.copy() for w in model.get_weights()], np.asarray(model(x))
    assert layers_with_weights(model, SHAPE) == paths
    yielded, changed = [], []
    for path, copy in randomised(model, SHAPE, 1):
        after = copy.get_weights()
        yielded.append(path)
        changed.append({i for i, (a, b) in enumerate(zip(before, after, strict=True)) if not np.array_equal(a, b)})
        assert [p for p, _ in walk(copy)] == [p for p, _ in walk(model)]
    assert yielded == paths
    assert changed[0] == top
    assert all(fewer < more for fewer, more in itertools.pairwise(changed))
    assert changed[-1] == set(range(len(before)))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.asarray(model(x)), output)


def test_the_seed_decides_what_chance_puts_where() -> None:
    def last(seed: int) -> list[Array]:
        *_, (_, copy) = randomised(model, SHAPE, seed)
        return list(copy.get_weights())

    model = network()
    for a, b, c in zip(last(1), last(1), last(2), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class NeedsMore(keras.Model):  # type: ignore[misc]
        def __init__(self, base: keras.Model) -> None:
            super().__init__()
            self.base = base

        def call(self, x: Any) -> Any:
            return self.base(x)

    with pytest.raises(ModelError, match="the model cannot be copied, which randomising its weights needs"):
        next(randomised(NeedsMore(network()), SHAPE, 0))


METHODS = ("gradcam", "activations", "smoothgradcam++", "guided-backprop")


def by_method(found: Sanity) -> dict[str, Any]:
    return {survival.method: survival for survival in found.survivals}


def test_maps_that_do_not_ask_the_head_survive_it_and_grad_cam_does_not() -> None:
    """`activations` never sees the class: as it was while only the head is chance, and flagged at the end."""
    pytest.importorskip("xplique")
    found = sanity(network(), images(3), ["conv3"], Request(methods=METHODS), [(0, 2)] * 3, stages=4)
    assert found.stages == ("head", "conv3", "conv2", "conv1")
    survivals = by_method(found)
    assert [s.layer for s in found.survivals] == ["conv3", "conv3", "conv3", "input"]
    assert survivals["activations"].stages[0] == pytest.approx(1)
    assert survivals["activations"].stages[1] < 0.99
    assert survivals["activations"].survives
    assert survivals["guided-backprop"].stages[0] > 0.7 > 0.5 > survivals["gradcam"].stages[0]
    assert not survivals["gradcam"].survives
    for method, survival in survivals.items():
        correlations = [r for image in survival.images for r in image.values() if r is not None]
        assert survival.stages[-1] == pytest.approx(np.mean(correlations))
        assert survival.survives is (survival.stages[-1] > 0.5)
        assert [set(image) for image in survival.images] == [{0} if method == "activations" else {0, 2}] * 3


def test_fewer_stages_end_at_the_same_network() -> None:
    request = Request(methods=("gradcam", "activations"), nsamples=0)
    full = sanity(network(), images(2), ["conv2"], request, [(1,)] * 2, stages=2)
    short = sanity(network(), images(2), ["conv2"], request, [(1,)] * 2, stages=1, limit=1.0)
    assert full.stages == ("conv3", "conv1")
    assert short.stages == ("conv1",)
    assert [s.images for s in short.survivals] == [s.images for s in full.survivals]
    assert not any(s.survives for s in short.survivals)


def test_blank_maps_have_no_correlation_and_are_not_flagged() -> None:
    model = network()
    weights = model.get_weights()
    weights[-2][:] = 0
    model.set_weights(weights)
    (survival,) = sanity(model, images(2), ["conv3"], Request(methods=("gradcam",)), [(0,), (1,)], stages=1).survivals
    assert survival.images == ({0: None}, {1: None})
    assert survival.stages[-1] is None
    assert not survival.survives


@pytest.mark.parametrize("targets", [[(0,)], [(0,), (0, 1)], [(0,), (-1,)]])
def test_targets_that_do_not_fit_are_refused(targets: list[tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="the sanity check needs"):
        sanity(network(), images(2), ["conv3"], Request(methods=("gradcam",)), targets)


def image() -> Array:
    """A smooth picture of 48 rows and 40 columns with a sharp square on it."""
    rows, columns = np.mgrid[:48, :40]
    made = np.stack([rows * 4, columns * 5, (rows * columns) % 200], axis=-1).astype(np.uint8)
    made[10:20, 8:25] = (250, 20, 60)
    return made


def grey(pixels: Array) -> tuple[Array, InputBox]:
    """The image itself as the network's input."""
    return pixels.astype(np.float32), InputBox(0, 0, pixels.shape[1], pixels.shape[0])


def test_a_map_of_the_pixels_moves_with_them_and_is_moved_back() -> None:
    seen: list[Array] = []

    def explain(x: Array, seed: int, n: int) -> list[list[Array]]:
        seen.extend(x)
        return [[one[..., 2], -(one[..., 2] ** 3), np.zeros((4, 4))] for one in x]

    found: list[dict[str, Any]] = [*stability(image(), grey, explain, 0, 0)]
    brightness, inverted, blank = found
    assert len(seen) == 3  # without noise nothing else can differ
    inside = (slice(0, -1), slice(0, -1))
    np.testing.assert_array_equal(seen[2][1:, 1:], seen[0][inside])
    assert brightness["stability_shift"] == pytest.approx(1)
    assert inverted["stability_shift"] == pytest.approx(1)
    assert 0.5 < brightness["stability_jpeg"] < 1
    assert brightness["stability_seed"] == brightness["stability_n"] == pytest.approx(1)
    assert set(blank.values()) == {None}


def test_a_map_is_moved_back_by_an_images_pixel_whatever_its_grid() -> None:
    """A ramp over a grid of half the pixels, in the middle of the image: half a cell, so a cell's value and its neighbour's."""

    def explain(x: Array, seed: int, n: int) -> list[list[Array]]:
        return [[np.asarray(x[8:40:2, 4:36:2, 0])] for x in x]

    def fit_middle(pixels: Array) -> tuple[Array, InputBox]:
        return pixels.astype(np.float32), InputBox(4, 8, 36, 40)

    draw = np.random.default_rng(0)
    pixels = np.repeat(draw.integers(0, 255, (48, 40, 1)), 3, axis=2).astype(np.uint8)
    found = stability(pixels, fit_middle, explain, 0, 0)[0]["stability_shift"]
    moved = shifted(pixels)[8:40:2, 4:36:2, 0].astype(float)
    padded = np.pad(moved, ((0, 1), (0, 1)), mode="edge")
    back = (padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]) / 4
    assert found == pytest.approx(spearman(pixels[8:40:2, 4:36:2, 0], back))


def test_jpeg_and_shift_change_an_image_a_little() -> None:
    pixels = image()
    for changed in (jpeg(pixels), shifted(pixels)):
        assert changed.shape == pixels.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, pixels)
    assert np.abs(jpeg(pixels).astype(int) - pixels).mean() > np.abs(jpeg(pixels, 95).astype(int) - pixels).mean()
    np.testing.assert_array_equal(shifted(pixels)[0, 1:], pixels[0, :-1])


def test_the_engine_is_steadier_with_more_noise_samples() -> None:
    model = network()
    analysis = analyse(trace(model, SHAPE), ["conv1"])
    how = Preprocessing(mean=(127.0,), std=(128.0,))
    engines = {
        n: Explainer(model, analysis, Request(("smoothgradcam++", "smoothgrad", "gradcam"), nsamples=n))
        for n in (1, 2, 8, 16)
    }

    def explain(x: Array, seed: int, n: int) -> list[list[Array]]:
        found = engines[n].explain([Subject(one, f"seed {seed}", (0,)) for one in x])
        return [[m.values for m in one.maps] for one in found]

    def fitted(pixels: Array) -> tuple[Array, InputBox]:
        return fit(RgbImage(pixels, pixels.shape[1], pixels.shape[0], ()), SHAPE[:2], how)

    few: list[Any] = [*stability(image(), fitted, explain, 0, 1)]
    many: list[Any] = [*stability(image(), fitted, explain, 0, 8)]
    for method in (0, 2):  # smoothgradcam++ and smoothgrad; gradcam has no noise
        assert few[method]["stability_seed"] < many[method]["stability_seed"] < 1
    assert few[2]["stability_n"] < many[2]["stability_n"] < 1
    assert many[1]["stability_seed"] == many[1]["stability_n"] == pytest.approx(1)
    for figures in many:
        assert 0 < figures["stability_jpeg"] < 1
        assert 0 < figures["stability_shift"] < 1
