"""Maps of a class against others: equal to those of a network with one output that is the difference of the scores."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli import Noise, Request, explain
from cam_cli.contrast import NO_CLASS, SECOND, contrasted_scores, similar
from cam_cli.engine.analysis import analyse, analyse_at_sizes
from cam_cli.engine.contrast import resolved
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import FurtherInput, Subject
from cam_cli.errors import UsageError
from cam_cli.graph.trace import trace

SHAPE = (16, 16, 3)
CLASSES = 6
OWN = (
    "smoothgradcam++",
    "gradcam++",
    "gradcam",
    "layercam",
    "hirescam",
    "twoscale",
    "activations",
    "gradient",
    "smoothgrad",
)
Array = NDArray[Any]


def network(activation: str = "relu") -> keras.Model:
    keras.utils.set_random_seed(4)
    x = keras.Input(SHAPE)
    fine = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="fine")(x)
    maps = keras.layers.Conv2D(8, 3, padding="same", name="maps")(keras.layers.AveragePooling2D(2)(fine))
    coarse = keras.layers.Activation(activation, name="coarse")(maps)
    pooled = keras.layers.GlobalAveragePooling2D()(coarse)
    hidden = pooled if activation != "relu" else keras.layers.Dense(16, activation="relu")(pooled)
    start = keras.initializers.RandomNormal(stddev=3.0)
    return keras.Model(x, keras.layers.Dense(CLASSES, kernel_initializer=start, name="scores")(hidden))


def difference(model: keras.Model, target: int, others: tuple[int, ...]) -> keras.Model:
    """The same network, but its score of the target is the difference to the mean of the others'."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernel, bias = (np.array(values) for values in model.get_layer("scores").get_weights())
    kernel[:, target] -= kernel[:, list(others)].mean(axis=1)
    bias[target] -= bias[list(others)].mean()
    twin.get_layer("scores").set_weights([kernel, bias])
    return twin


@pytest.fixture(scope="module")
def images() -> Array:
    return np.random.default_rng(2).uniform(-1, 1, (3, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(("others", "nsamples"), [((4,), 12), ((4, 0, 5), 3)])
def test_every_method_explains_the_difference_of_the_scores(
    images: Array, others: tuple[int, ...], nsamples: int
) -> None:
    model = network()
    request = Request(methods=OWN, nsamples=nsamples, noise=Noise(0.3), seed=1)
    ours = explain(model, images, ["coarse"], [2], request, against=others)
    theirs = explain(difference(model, 2, others), images, ["coarse"], [2], request)
    for found, truth in zip(ours, theirs, strict=True):
        assert len(found.maps) == len(OWN)
        for a, b in zip(found.maps, truth.maps, strict=True):
            np.testing.assert_allclose(a.values, b.values, rtol=1e-4, atol=1e-5 * np.abs(b.values).max())
            assert (a.method, a.target) == (b.method, 2)
            assert a.against == (() if a.method == "activations" else others)


def test_exact_derivatives_are_those_of_the_difference(images: Array) -> None:
    model = network("silu")
    request = Request(methods=("smoothgradcam++",), nsamples=4, derivatives="exact")
    (ours, *_), (theirs, *_), (closed, *_) = (
        explain(model, images[:1], ["maps"], [1], request, against=(3,)),
        explain(difference(model, 1, (3,)), images[:1], ["maps"], [1], request),
        explain(model, images[:1], ["maps"], [1], Request(nsamples=4), against=(3,)),
    )
    scale = theirs.maps[0].values.max()
    np.testing.assert_allclose(ours.maps[0].values, theirs.maps[0].values, atol=1e-4 * scale)
    assert np.abs(ours.maps[0].values - closed.maps[0].values).max() > 1e-3 * scale


def test_maps_of_linear_methods_before_their_relu_add_up(images: Array) -> None:
    """CAM keeps its sign: the map of c against d and e is that of c, minus the mean of those of d and e."""
    keras.utils.set_random_seed(6)
    x = keras.Input(SHAPE)
    maps = keras.layers.Conv2D(8, 3, activation="relu", name="maps")(x)
    model = keras.Model(x, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(maps)))
    request = Request(methods=("cam",))

    def cams(*against: int) -> Array:
        found = explain(model, images, ["maps"], range(CLASSES), request, against=against)
        return np.stack([[saliency.values for saliency in one.maps] for one in found], axis=1)

    alone = cams()
    for others in ((1,), (3, 0)):
        contrast = cams(*others)
        for c in set(range(CLASSES)) - set(others):
            np.testing.assert_allclose(contrast[c], alone[c] - alone[list(others)].mean(axis=0), atol=1e-5)
    assert (alone[0] - alone[1]).min() < 0


def test_second_similar_and_ranks_follow_the_scores_of_each_image() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    targets = np.array([[0, 3], [6, 2], [int(scores[2].argmax()), 1], [5, int(scores[3].argmin())]], np.int32)
    asked = np.array([[[SECOND, *similar(3), -1, -7, 4, NO_CLASS]] * 2] * 4, np.int32)
    found = resolved(tf.constant(scores), tf.constant(targets), tf.constant(asked)).numpy()
    for b in range(4):
        order = np.argsort(-scores[b])
        for t in range(2):
            target = int(targets[b, t])
            others = [i for i in order if i != target]
            nearest = sorted(others, key=lambda i: abs(scores[b, i] - scores[b, target]))
            wanted = [others[0], *nearest[:3], order[0], order[-1], 4, -1]
            once = [-1 if i == target or i in wanted[:n] else i for n, i in enumerate(wanted)]
            assert found[b, t].tolist() == once
            mean = np.mean([scores[b, i] for i in once if i >= 0])
            assert contrasted_scores(scores[b], target, found[b, t]) == pytest.approx(
                scores[b, target] - mean, abs=1e-6
            )


def test_the_second_class_is_that_of_the_clean_image_in_every_pass(images: Array) -> None:
    model = network()
    request = Request(nsamples=20, noise=Noise(2.0))
    found = explain(model, images, ["coarse"], [-1], request, against=[SECOND])
    for one in found:
        first, second = np.argsort(-one.logits)[:2]
        assert (one.targets, one.maps[0].against) == ((first,), (second,))
    first, second = map(int, np.argsort(-found[0].logits)[:2])
    named = explain(model, images[:1], ["coarse"], [first], request, against=[second])[0].maps[0].values
    np.testing.assert_allclose(found[0].maps[0].values, named, atol=1e-5 * named.max())


def test_where_no_other_class_is_left_the_target_is_explained_alone(images: Array) -> None:
    model, request = network(), Request(methods=("gradcam", "twoscale", "gradient"))
    plain = explain(model, images, ["coarse"], [1], request)
    same = explain(model, images, ["coarse"], [1], request, against=[1, NO_CLASS])
    for a, b in zip(plain, same, strict=True):
        for one, other in zip(a.maps, b.maps, strict=True):
            np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-7)
            assert other.against == ()


def test_all_sizes_explain_against_the_class_of_the_first(images: Array) -> None:
    model = network()
    analysis = analyse_at_sizes(analyse(trace(model, SHAPE), (), ("coarse", "fine")), [trace(model, (24, 24, 3))])
    large = tf.image.resize(images[0], (24, 24)).numpy()
    request = Request(methods=("twoscale",))

    def found(model: keras.Model, *against: int) -> Any:
        one = Subject(images[0], "a", (2,), (FurtherInput(large),), against)
        return Explainer(model, analysis, request, against=len(against)).explain([one])[0].maps[0]

    by_rank = found(model, SECOND)
    assert by_rank.against != ()
    truth = found(difference(model, 2, by_rank.against))
    np.testing.assert_allclose(by_rank.values, truth.values, atol=1e-5)


def test_a_class_that_the_model_does_not_have_is_refused(images: Array) -> None:
    with pytest.raises(UsageError, match="class 6 does not exist: the model has 6 classes"):
        explain(network(), images[:1], ["coarse"], [1], against=[6])
