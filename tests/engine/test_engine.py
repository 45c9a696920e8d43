"""The engine against the independent oracle, and the promises that hold for any network."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from examples import explicit
from hypothesis import example, given
from hypothesis import strategies as st
from oracle import Array, Options, SmallNetwork
from scipy import stats

from cam_cli.engine.analysis import Head, Link, analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.noise import Noise
from cam_cli.engine.request import Request, Subject
from cam_cli.engine.selection import Selection
from cam_cli.errors import UsageError
from cam_cli.graph.trace import trace

SHAPE = (12, 10, 3)
LAYERS = ("conv1", "conv2")
CLASS = 3
LITTLE_NOISE = Request(nsamples=1)
"""For what does not depend on how many noisy copies there are; each makes a pass longer to trace."""
RELATIVE = 1e-5


def keras_twin(network: SmallNetwork, activation: str | None = None, channels: int = 3) -> keras.Model:
    layers = [
        keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="conv1"),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv2"),
        keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv3"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(5, activation=activation, name="head"),
    ]
    model = keras.Sequential([keras.Input((*SHAPE[:2], channels)), *layers])
    model.set_weights([w.astype(np.float32) for w in network.weights()])
    return model


def explainer(
    model: keras.Model, layers: Sequence[str], request: Request, targets: int = 1, images: int | None = None
) -> Explainer:
    shape = model.input_shape[1:]
    return Explainer(model, analyse(trace(model, shape), layers), request, targets, images)


def only(found: Sequence[SaliencyMap], **wanted: object) -> SaliencyMap:
    (match,) = [m for m in found if all(getattr(m, key) == value for key, value in wanted.items())]
    return match


def noises(identity: str, seed: int, n: int) -> list[Array]:
    """The documented noise: quantiles of SFC64's words, seeded by sha256 of the run's seed, the image and the sample."""
    return [quantiles(hashlib.sha256(f"{seed}\n{identity}\n{m}".encode()).digest()) for m in range(1, n + 1)]


def quantiles(digest: bytes) -> Array:
    """A word of 16 bits has the quantile of its middle; one of the two outermost that of 16 further bits, from the outside."""
    draw, count = np.random.SFC64(list(digest)), math.prod(SHAPE)
    words = np.frombuffer(draw.random_raw(-(-count // 4)).astype("<u8").tobytes(), "<u2")[:count]
    shares = (words + 0.5) / 2**16
    for place in np.flatnonzero((words == 0) | (words == 2**16 - 1)):
        inner = (int(draw.random_raw()) // 2**48 + 0.5) / 2**32
        shares[place] = inner if words[place] == 0 else 1 - inner
    return stats.norm.ppf(shares).reshape(SHAPE)


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    return SmallNetwork.random(7)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, SHAPE).astype(np.float32)


class Twin:
    """The network in Keras, whose traced passes are kept from one test to the next."""

    def __init__(self, network: SmallNetwork) -> None:
        self.model = keras_twin(network)
        self.analysis = analyse(trace(self.model, SHAPE), LAYERS)
        self._kept: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        return self._kept.get(name)

    def save(self, name: str, contents: bytes) -> None:
        self._kept[name] = contents


@pytest.fixture(scope="module")
def twin(network: SmallNetwork) -> Twin:
    return Twin(network)


SELECTIONS = (
    Selection(),
    Selection(filters=(0,)),
    Selection(filters=(1, 3)),
    Selection(region=True, subset=((1, 0), (3, 4))),
    Selection(subset=((0, 0), (5, 4), (2, 2))),
    Selection(filters=(0, 2), region=True, subset=((4, 4), (0, 1))),
)


@pytest.mark.parametrize(("score", "numerator"), [("exp", "second"), ("logit", "second"), ("exp", "first")])
@pytest.mark.parametrize(
    ("nsamples", "scale"), [(0, "range"), (1, "range"), (5, "range"), (5, "absolute"), (19, "range")]
)
def test_every_method_and_selection_equals_the_oracle(
    network: SmallNetwork, image: np.ndarray, twin: Twin, nsamples: int, score: str, numerator: str, scale: str
) -> None:
    request = Request(
        methods=("smoothgradcam++", "gradcam++", "gradcam"),
        selections=SELECTIONS,
        nsamples=nsamples,
        noise=Noise(0.2, scale),
        score=score,
        alpha_numerator=numerator,
        seed=11,
    )
    engine = Explainer(twin.model, twin.analysis, request, graphs=twin)
    found = engine.explain([Subject(image, "cat", (CLASS,))])[0]
    x = image.astype(np.float64)
    np.testing.assert_allclose(found.logits, network.logits(x), rtol=1e-5, atol=1e-5)
    drawn = noises("cat", 11, nsamples)
    sigma = oracle.sigma(x, 0.2, scale)
    for layer in LAYERS:
        A = network.activations(x)[layer]
        S, g = oracle.samples(network, layer, x, CLASS, drawn, sigma)
        clean = oracle.samples(network, layer, x, CLASS, [], 0)
        for chosen in SELECTIONS:
            options = Options(score, numerator, chosen.filters, chosen.region, chosen.subset)
            ours = only(found.maps, layer=layer, method="smoothgradcam++", selection=chosen)
            truth = oracle.saliency_from_samples(S, g, A, options)
            agree(ours, truth.map)
            plain = oracle.saliency_from_samples(*clean, A, options)
            agree(only(found.maps, layer=layer, method="gradcam++", selection=chosen), plain.map)
            w = oracle.relu(oracle.combine(network.gradient(layer, A, CLASS).mean(axis=(0, 1)), A, *whole(chosen)))
            agree(only(found.maps, layer=layer, method="gradcam", selection=chosen), w)
            if chosen.filters is None:
                assert ours.guarded_cells == truth.guarded_cells
            if nsamples == 5 and truth.map.max() > 0:
                assert ours.standard_error == pytest.approx(oracle.jackknife_standard_error(S, g, A, options), rel=1e-3)
                assert ours.noise_effect == pytest.approx(oracle.noise_effect(truth.map, plain.map), abs=1e-5)


def whole(chosen: Selection) -> tuple[object, bool, object]:
    return chosen.filters, chosen.region, chosen.subset


def agree(ours: SaliencyMap, truth: Array) -> None:
    assert ours.values.dtype == np.float32
    np.testing.assert_allclose(ours.values, truth, rtol=RELATIVE, atol=RELATIVE * max(truth.max(), 1e-12))


def test_cam_equals_its_definition_and_is_refused_elsewhere(image: np.ndarray) -> None:
    inputs = keras.Input(SHAPE)
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="maps")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(pooled))
    found = explainer(model, ["maps"], Request(methods=("cam",))).explain([Subject(image, "a", (2,))])[0].maps[0]
    A = keras.Model(inputs, maps)(image[None])[0].numpy().astype(np.float64)
    kernel = model.get_layer("head").kernel.numpy().astype(np.float64)
    truth = oracle.cam(kernel, A, 2)
    np.testing.assert_allclose(found.values, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())
    assert found.values.min() < 0 or truth.min() >= 0
    flat = keras_twin(SmallNetwork.random(3))
    with pytest.raises(UsageError, match="cam needs a layer that feeds global average pooling"):
        explainer(flat, ["conv2"], Request(methods=("cam",)))


def test_softmax_and_sigmoid_are_looked_behind(network: SmallNetwork, image: np.ndarray) -> None:
    plain = explainer(keras_twin(network), ["conv2"], LITTLE_NOISE, images=1).explain([Subject(image, "a")])[0]
    for activation, link in (("softmax", Link.SOFTMAX), ("sigmoid", Link.SIGMOID)):
        twin = explainer(keras_twin(network, activation), ["conv2"], LITTLE_NOISE, images=1)
        assert twin.analysis.link is link
        ours = twin.explain([Subject(image, "a")])[0]
        np.testing.assert_allclose(ours.logits, plain.logits, rtol=1e-6)
        np.testing.assert_allclose(ours.maps[0].values, plain.maps[0].values, rtol=1e-5)
        model_says = keras_twin(network, activation)(image[None])[0].numpy()
        np.testing.assert_allclose(ours.probabilities, model_says, rtol=1e-5)


def test_ranks_are_resolved_on_the_clean_image(network: SmallNetwork, image: np.ndarray) -> None:
    engine = explainer(
        keras_twin(network), ["conv2"], Request(noise=Noise(2.0)), 5
    )  # so much that noisy copies have other ranks
    ranked = engine.explain([Subject(image, "a", (-1, -2, -3, -4, -5))])[0]
    assert ranked.targets == tuple(np.argsort(-ranked.logits))
    named = engine.explain([Subject(image, "a", ranked.targets)])[0]
    for one, other in zip(ranked.maps, named.maps, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_an_affine_head_is_proved_and_its_map_equals_the_long_way(image: np.ndarray) -> None:
    model = pooled_model("linear")
    request = Request(nsamples=5, noise=Noise(0.3), seed=1)
    skipping = explainer(model, ["maps"], request)
    assert skipping.analysis.heads["maps"] is Head.AFFINE
    assert skipping.nsamples == 0
    long_way = explainer(model, ["maps", "early"], request)
    assert long_way.nsamples == 5
    short = skipping.explain([Subject(image, "a")])[0].maps[0]
    assert (short.noise_effect, short.standard_error) == (1.0, 0.0)
    x = image.astype(np.float64)
    maps = keras.Model(model.input, model.get_layer("maps").output)
    kernel = model.get_layer("head").kernel.numpy().astype(np.float64)
    A = maps(image[None])[0].numpy().astype(np.float64)
    g = np.broadcast_to(kernel[:, short.target] / (A.shape[0] * A.shape[1]), A.shape)
    S = [
        float(np.dot(maps((x + 0.6 * e)[None].astype(np.float32))[0].numpy().mean((0, 1)), kernel[:, short.target]))
        for e in noises("a", 1, 5)
    ]
    truth = oracle.saliency_from_samples(S, [g] * 5, A).map
    agree(short, truth)


def pooled_model(activation: str) -> keras.Model:
    inputs = keras.Input(SHAPE)
    early = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="early")(inputs)
    maps = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="maps")(early)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation(activation)(maps))
    keras.utils.set_random_seed(5)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(pooled))


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("relu", Head.PIECEWISE_LINEAR),
        ("leaky_relu", Head.PIECEWISE_LINEAR),
        ("silu", Head.SMOOTH),
        ("gelu", Head.SMOOTH),
        ("hard_silu", Head.SMOOTH),
    ],
)
def test_a_head_with_any_nonlinearity_is_not_taken_for_affine(activation: str, kind: Head) -> None:
    model = pooled_model(activation)
    assert analyse(trace(model, SHAPE), ["maps"]).heads["maps"] is kind


def test_an_almost_linear_head_is_not_affine(image: np.ndarray) -> None:
    inputs = keras.Input(SHAPE)
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(inputs)
    bent = keras.layers.Lambda(lambda t: t + 1e-7 * t * t)(maps)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(bent)))
    assert analyse(trace(model, SHAPE), ["maps"]).heads["maps"] is Head.SMOOTH


def test_batch_neighbours_and_padding_do_not_change_a_map(network: SmallNetwork) -> None:
    rng = np.random.default_rng(4)
    images = rng.uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
    engine = explainer(keras_twin(network), LAYERS, Request(nsamples=2))
    assert engine.images_in_a_pass == 2
    alone = [engine.explain([Subject(x, str(i))])[0] for i, x in enumerate(images)]
    paired = engine.explain([Subject(images[1], "1"), Subject(images[0], "0")])
    for one, other in zip(paired, (alone[1], alone[0]), strict=True):
        for a, b in zip(one.maps, other.maps, strict=True):
            np.testing.assert_allclose(a.values, b.values, rtol=1e-5)
            assert a.target == b.target
    assert not np.array_equal(alone[0].maps[0].values, alone[1].maps[0].values)


def test_noise_follows_identity_and_seed(network: SmallNetwork, image: np.ndarray) -> None:
    model = keras_twin(network)

    def runs(seed: int) -> Callable[[str], np.ndarray]:
        engine = explainer(model, ["conv1"], Request(seed=seed, nsamples=3))
        return lambda identity: engine.explain([Subject(image, identity)])[0].maps[0].values

    of_0, again, of_1 = runs(0), runs(0), runs(1)
    np.testing.assert_array_equal(of_0("a"), again("a"))
    assert not np.allclose(of_0("a"), of_0("b"), rtol=1e-3)
    assert not np.allclose(of_0("a"), of_1("a"), rtol=1e-3)


@explicit(30)
@given(shift=st.floats(-1e4, 1e4))
@example(shift=-9876.5)
def test_a_constant_on_all_logits_leaves_the_map(shift: float) -> None:
    network = SmallNetwork.random(7)
    image = np.random.default_rng(1).uniform(-1, 1, SHAPE).astype(np.float32)
    model = keras_twin(network)
    request = Request(score="logit", nsamples=2)
    before = explainer(model, ["conv2"], request, images=1).explain([Subject(image, "a")])[0].maps[0]
    head = model.get_layer("head")
    head.bias.assign_add(np.full(5, shift, np.float32))
    for score in ("exp", "logit"):
        after = (
            explainer(model, ["conv2"], replace(request, score=score), images=1)
            .explain([Subject(image, "a", (before.target,))])[0]
            .maps[0]
        )
        assert after.state == "ok"
        if score == "logit":
            np.testing.assert_allclose(after.values, before.values, rtol=1e-4)


def test_the_model_is_as_it_was_also_after_a_failure(network: SmallNetwork, image: np.ndarray) -> None:
    model = keras_twin(network, "softmax")
    model.get_layer("conv2").trainable = False
    before = [w.copy() for w in model.get_weights()]
    calls = {layer.name: layer.call for layer in model.layers}
    explainer(model, LAYERS, Request()).explain([Subject(image, "a")])
    with pytest.raises(UsageError, match="gives no feature maps"):
        explainer(model, ["head"], Request())
    for layer in model.layers:
        assert "call" not in vars(layer)
        assert layer.call == calls[layer.name]
    assert [layer.trainable for layer in model.layers] == [True, False, True, True, True]
    assert model.get_layer("head").activation is keras.activations.softmax
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_explained_is_said(network: SmallNetwork, image: np.ndarray) -> None:
    model = keras_twin(network)
    for wrong, text in (
        (Selection(filters=(0, 4)), "filter 4 is past the end: layer 'conv2' has 4 feature maps, 0 to 3"),
        (Selection(subset=((6, 0),)), r"neuron \(6, 0\) is off the grid: layer 'conv2' has 6 rows and 5 columns"),
    ):
        with pytest.raises(UsageError, match=text):
            explainer(model, ["conv2"], Request(selections=(wrong,)))
    with pytest.raises(UsageError, match="class 5 does not exist: the model has 5 classes"):
        explainer(model, ["conv2"], Request()).explain([Subject(image, "a", (5,))])
    with pytest.raises(UsageError, match="gives no feature maps"):
        explainer(model, ["flatten"], Request())


def test_a_blank_and_a_broken_map_say_so(image: np.ndarray) -> None:
    network = SmallNetwork.random(7)
    model = keras_twin(network)
    head = model.get_layer("head")
    head.kernel.assign(tf.zeros_like(head.kernel))

    def state() -> str:
        engine = explainer(model, ["conv2"], LITTLE_NOISE, images=1)
        return engine.explain([Subject(image, "a", (0,))])[0].maps[0].state

    assert state() == "blank"
    head.kernel.assign(tf.fill(head.kernel.shape, np.nan))
    assert state() == "nonfinite"


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("method", ["smoothgradcam++", "guided-backprop"])
def test_a_model_that_nobody_else_keeps_is_there_as_long_as_it_is_needed(
    network: SmallNetwork, image: np.ndarray, frozen: bool, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not frozen:
        monkeypatch.setattr("cam_cli.engine.tracing.MOST_FROZEN_PARAMETERS", 0)
    analysis = analyse(trace(keras_twin(network), SHAPE), ["conv1"])
    found = Explainer(lambda: keras_twin(network), analysis, Request(methods=(method,)))
    gc.collect()
    assert found.explain([Subject(image, "a", (CLASS,))])[0].maps[0].state == "ok"
