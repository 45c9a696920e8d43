"""What is explained is found behind any output: its logits, or the logarithm of the probabilities that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cam_cli.api import explain
from cam_cli.engine.analysis import analyse
from cam_cli.engine.bounds import bounds_of
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.engine.scorer import Scorer
from cam_cli.engine.scores import Link, find_link, scores_of
from cam_cli.engine.verification import verify_predictions
from cam_cli.errors import ModelError
from cam_cli.graph.trace import is_random_outside_predict, predict, trace

layers, ops = keras.layers, keras.ops
SHAPE = (12, 16, 3)
CLASSES = 4
RNG = np.random.default_rng(7)
IMAGES = RNG.uniform(0, 1, (3, *SHAPE)).astype(np.float32)


def pooled(x: Any) -> Any:
    return layers.GlobalAveragePooling2D()(x)


def dense(activation: str | None = None, units: int = CLASSES) -> Any:
    return layers.Dense(units, activation=activation, kernel_initializer=keras.initializers.RandomNormal(0, 3.0))


def softmax(x: Any) -> Any:
    return dense("softmax")(pooled(x))


def by_hand(x: Any) -> Any:
    e = ops.exp(dense()(pooled(x)))
    return e / ops.sum(e, axis=-1, keepdims=True)


def sigmoids(units: int) -> Callable[[Any], Any]:
    return lambda x: (dense("sigmoid", units)(pooled(x)) + dense("sigmoid", units)(pooled(x))) / 2


HEADS: dict[str, tuple[Callable[[Any], Any], Link]] = {
    "softmax": (softmax, Link.SOFTMAX),
    "clipped a little": (lambda x: ops.clip(softmax(x), 1e-7, 1 - 1e-7), Link.SOFTMAX),
    "log softmax": (lambda x: ops.log_softmax(dense()(pooled(x))), Link.LOG_SOFTMAX),
    "log of softmax": (lambda x: ops.log(softmax(x)), Link.LOG_SOFTMAX),
    "one logit": (lambda x: dense(None, 1)(pooled(x)), Link.UNIT_LOGIT),
    "one sigmoid": (lambda x: dense("sigmoid", 1)(pooled(x)), Link.SIGMOID),
    "logits": (lambda x: dense()(pooled(x)), Link.LOGITS),
    "logits of one cell": (lambda x: layers.Conv2D(CLASSES, (4, 6))(x), Link.LOGITS),
    "softmax of one cell": (lambda x: layers.Conv2D(CLASSES, (4, 6), activation="softmax")(x), Link.SOFTMAX),
    "one sigmoid, squeezed": (lambda x: ops.squeeze(dense("sigmoid", 1)(pooled(x)), -1), Link.SIGMOID),
    "one logit, squeezed": (lambda x: ops.squeeze(dense(None, 1)(pooled(x)), -1), Link.UNIT_LOGIT),
    "logits from maps": (lambda x: pooled(layers.Conv2D(CLASSES, 1)(x)), Link.LOGITS),
    "positive logits": (lambda x: dense("relu")(pooled(x)), Link.LOGITS),
    "dense over softmax": (lambda x: dense()(softmax(x)), Link.LOGITS),
    "average of two softmaxes": (lambda x: layers.Average()([softmax(x), softmax(x)]), Link.LOG_PROBABILITY),
    "clipped": (lambda x: ops.clip(softmax(x), 0.1, 0.9), Link.LOG_PROBABILITY),
    "label smoothing": (lambda x: softmax(x) * 0.9 + 0.1 / CLASSES, Link.LOG_PROBABILITY),
    "maps of softmaxes": (lambda x: pooled(layers.Conv2D(CLASSES, 1, activation="softmax")(x)), Link.LOG_PROBABILITY),
    "softmax by hand": (by_hand, Link.LOG_PROBABILITY),
    "sigmoid by hand": (lambda x: 1 / (1 + ops.exp(-dense()(pooled(x)))), Link.LOG_PROBABILITY),
    "softmax times sigmoid": (lambda x: softmax(x) * dense("sigmoid", 1)(pooled(x)), Link.LOG_PROBABILITY),
    "hard sigmoid": (lambda x: dense("hard_sigmoid")(pooled(x)), Link.LOG_PROBABILITY),
    "average of sigmoids": (sigmoids(CLASSES), Link.LOG_PROBABILITY),
    "average of two units": (sigmoids(1), Link.LOG_PROBABILITY),
    "softmax of each cell": (
        lambda x: layers.Flatten()(layers.Conv2D(CLASSES, 1, activation="softmax")(x)),
        Link.LOG_PROBABILITY,
    ),
}


def network(head: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu", name="first")(inputs)
    return keras.Model(inputs, head(layers.Conv2D(6, 3, strides=2, activation="relu", name="maps")(x)))


@pytest.mark.parametrize("kind", HEADS)
def test_predictions_are_the_models_own(kind: str) -> None:
    head, link = HEADS[kind]
    model = network(head)
    traced = trace(model, SHAPE)
    assert find_link(traced) is link
    verify_predictions(model, traced, link, IMAGES)
    own = np.asarray(model(IMAGES)).reshape(len(IMAGES), -1)
    found = explain(model, IMAGES, ["maps"], request=Request(methods=("gradcam",), nsamples=0))
    if link in (Link.LOGITS, Link.UNIT_LOGIT):
        own = own if own.shape[-1] > 1 else np.hstack([-own, own])
        np.testing.assert_allclose([e.logits for e in found], own, rtol=1e-4, atol=1e-4)
        return
    own = np.exp(own) if link is Link.LOG_SOFTMAX else own
    own = own if own.shape[-1] > 1 else np.hstack([1 - own, own])
    np.testing.assert_allclose([e.probabilities for e in found], own, atol=1e-5)
    if link is Link.LOG_PROBABILITY and "by hand" not in kind:
        return
    np.testing.assert_allclose(Scorer(model, SHAPE)(IMAGES, 1), own[:, 1], atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["average of two softmaxes", "label smoothing", "maps of softmaxes", "average of two units"]
)
def test_without_a_logit_the_log_probability_is_differentiated(kind: str) -> None:
    """The oracle is Grad-CAM by a GradientTape of the logarithm of the model's own output."""
    model = network(HEADS[kind][0])
    both = keras.Model(model.input, [model.get_layer("maps").output, model.output])
    found = explain(model, IMAGES[:1], ["maps"], [1], Request(methods=("gradcam", "smoothgradcam++"), nsamples=3))[0]
    with tf.GradientTape() as tape:
        A, p = both(IMAGES[:1])
        score = tf.math.log(p[0, min(1, p.shape[-1] - 1)])
    g = tape.gradient(score, A).numpy()[0]
    truth = np.maximum(A.numpy()[0] @ g.mean(axis=(0, 1)), 0)
    maps = {m.method: m for m in found.maps}
    np.testing.assert_allclose(maps["gradcam"].values, truth, atol=1e-5 * max(truth.max(), 1e-3))
    assert found.logits[1] == pytest.approx(float(score), abs=1e-4)
    assert not maps["smoothgradcam++"].exact
    assert maps["smoothgradcam++"].samples == 3


def test_a_class_of_probability_0_has_a_finite_score() -> None:
    model = network(lambda x: ops.relu(softmax(x) - 0.5) * 2)
    found = explain(model, IMAGES[:1], ["maps"], [int(np.argmin(np.asarray(model(IMAGES[:1]))))])[0]
    assert np.isfinite(found.logits).all()
    assert {m.state for m in found.maps} <= {"ok", "blank"}


def test_scores_that_do_not_lead_to_the_models_output_are_refused() -> None:
    """A model whose call does something else when it is traced than when it runs."""

    class TwoFaced(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x if tf.executing_eagerly() else x * 2

    model = network(lambda x: layers.Softmax()(TwoFaced()(dense()(pooled(x)))))
    traced = trace(model, SHAPE)
    with pytest.raises(ModelError, match=r"they give \d\.\d{4}, and the model itself gives \d\.\d{4}") as refusal:
        verify_predictions(model, traced, find_link(traced), IMAGES)
    assert "\n" not in str(refusal.value)


BOUNDS: dict[str, tuple[Callable[[Any], Any], tuple[float, float]]] = {
    "sigmoid": (tf.sigmoid, (0, 1)),
    "relu6": (lambda x: tf.nn.relu6(x) / 6, (0, 1)),
    "clip": (lambda x: tf.clip_by_value(x, -2.0, 3.0), (-2, 3)),
    "complement": (lambda x: 1 - tf.sigmoid(x), (0, 1)),
    "sum": (lambda x: tf.sigmoid(x) + tf.tanh(x), (-1, 2)),
    "product": (lambda x: tf.tanh(x) * -2.0, (-2, 2)),
    "reciprocal": (lambda x: 1 / (1 + tf.exp(x)), (0, 1)),
    "quotient": (lambda x: tf.tanh(x) / (2 + tf.sigmoid(x)), (-0.5, 0.5)),
    "unknown": (lambda x: x + 1, (-np.inf, np.inf)),
}


@pytest.mark.parametrize("kind", BOUNDS)
def test_bounds_are_proved(kind: str) -> None:
    function, (low, high) = BOUNDS[kind]
    found: list[tuple[float, float]] = []

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run(x: Any) -> Any:
        y = function(x)
        found.append(bounds_of(y))
        return y

    values = run(tf.constant(RNG.normal(0, 5, (1, 1000)), tf.float32)).numpy()
    assert found[0] == pytest.approx((low, high))
    assert found[0][0] <= values.min()
    assert values.max() <= found[0][1]


class AlwaysOn(keras.layers.Layer):  # type: ignore[misc]
    """Runs a layer as in training."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x, training=True)


def drawn(x: Any, training: bool) -> Any:
    return x + tf.random.normal((1, 1, 1, 6)) if training else x


RANDOM: dict[str, Callable[[], Any]] = {
    "dropout": lambda: layers.Dropout(0.5, seed=1),
    "noise": lambda: layers.GaussianNoise(0.5, seed=1),
    "flip": lambda: layers.RandomFlip(seed=1),
    "tf.random": lambda: layers.Lambda(drawn),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_chance_is_found_in_the_graph(kind: str) -> None:
    model = network(lambda x: softmax(AlwaysOn(RANDOM[kind]())(x)))
    assert analyse(trace(model, SHAPE), ["maps"]).random


def test_chance_that_predict_leaves_out_is_known_too() -> None:
    model = network(lambda x: softmax(layers.Dropout(0.5)(x, training=True)))
    assert is_random_outside_predict(model)
    assert not is_random_outside_predict(network(lambda x: softmax(layers.Dropout(0.5)(x))))
    x = IMAGES[:1]
    assert not np.array_equal(np.asarray(model(x)), np.asarray(model(x))), "else there is nothing to say"
    np.testing.assert_array_equal(predict(model, x), predict(model, x))


def test_a_network_of_chance_is_explained_alike_in_any_company_and_never_called_exact() -> None:
    model = network(lambda x: softmax(AlwaysOn(layers.Dropout(0.5, seed=1))(x)))
    analysis = analyse(trace(model, SHAPE), ["maps"])
    assert not analyse(trace(network(softmax), SHAPE), ["maps"]).random
    engine = Explainer(model, analysis, Request(nsamples=0), images=3)
    subjects = [Subject(image, str(number), (1,)) for number, image in enumerate(IMAGES)]
    together = engine.explain(subjects)
    alone = [engine.explain([subject])[0] for subject in subjects]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.maps[0].values, other.maps[0].values)
        assert not one.maps[0].exact


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16"])
@pytest.mark.parametrize("nested", [False, True])
def test_an_input_of_another_type_is_explained_as_its_twin_of_floats(dtype: str, nested: bool) -> None:
    def build(kind: str) -> Any:
        keras.utils.set_random_seed(5)
        inputs = keras.Input(SHAPE, dtype=kind)
        scaled = layers.Rescaling(1 / 255.0)
        x = keras.Sequential([keras.Input(SHAPE, dtype=kind), scaled])(inputs) if nested else scaled(inputs)
        x = layers.Conv2D(6, 3, activation="relu", name="maps")(x)
        return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(x)))

    model, twin = build(dtype), build("float32")
    x = RNG.integers(0, 256, (1, *SHAPE)).astype(np.float32)
    request = Request(methods=("smoothgradcam++", "gradient"), nsamples=3)
    ours, theirs = (explain(m, x, ["maps"], [1], request)[0] for m in (model, twin))
    for a, b in zip(ours.maps, theirs.maps, strict=True):
        assert b.state == "ok"
        np.testing.assert_allclose(a.values, b.values, atol=(1e-2 if dtype == "float16" else 1e-5) * b.values.max())
    assert model.inputs[0].dtype == dtype
    np.testing.assert_allclose(ours.probabilities, np.asarray(model(x.astype(dtype)))[0], atol=1e-3)


def test_scores_of_a_single_unit_are_of_two_classes() -> None:
    traced = trace(network(sigmoids(1)), SHAPE)
    assert scores_of(traced.output, Link.LOG_PROBABILITY).shape == (1, 2)
