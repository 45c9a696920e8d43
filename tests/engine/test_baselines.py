"""The input-space baselines against definitions written out in NumPy, and against xplique where it can take the model."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.engine.baselines import BASELINES, Baselines, Costs, _coverage, _patch
from cam_cli.errors import UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tensorflow_probability still asks distutils for versions
    attributions: Any = pytest.importorskip("xplique").attributions

Image = np.ndarray
SHAPE = (12, 10, 3)
CLASS = 2
QUICK = Costs(steps=8, samples=40, masks=24, segments=6)
RELU_RULES = ("guided-backprop", "deconvnet")


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Image:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def filled(model: keras.Model, seed: int = 1) -> keras.Model:
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(0.02, 0.4, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def conv_net(activation: str | None = None, shape: tuple[int, int, int] = SHAPE, units: int = 4) -> keras.Model:
    layers = [
        keras.layers.Conv2D(5, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(4, 3, padding="same"),
        keras.layers.ReLU(max_value=6),
        keras.layers.Flatten(),
        keras.layers.Dense(units, activation=activation),
    ]
    return filled(keras.Sequential([keras.Input(shape), *layers]))


class Subclassed(keras.Model):
    """The same network without a Functional graph, its ReLUs written as operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Conv2D(5, 3, padding="same")
        self.pool = keras.layers.MaxPooling2D()
        self.second = keras.layers.Conv2D(4, 3, padding="same")
        self.flatten = keras.layers.Flatten()
        self.head = keras.layers.Dense(4)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.pool(tf.nn.relu(self.first(x)))
        return self.head(self.flatten(keras.ops.relu6(self.second(x))))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((1, *SHAPE), np.float32))
    return filled(model)


def nested() -> keras.Model:
    """The layers of `conv_net` two models deep, and softmax at the end."""
    flat = conv_net()
    inner = keras.Sequential([keras.Input(SHAPE), *flat.layers[:3]], name="inner")
    outer = keras.Sequential([keras.Input(SHAPE), inner, *flat.layers[3:5]], name="outer")
    x = keras.Input(SHAPE)
    return keras.Model(x, keras.layers.Softmax()(flat.layers[5](outer(x))))


def linear(weights: Image) -> keras.Model:
    dense = keras.layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.Input(weights.shape), keras.layers.Flatten(), dense])
    model.set_weights([np.stack([np.zeros(weights.size), weights.ravel()], axis=1).astype(np.float32)])
    return model


def maps_of(
    model: keras.Model, methods: Sequence[str] = BASELINES, x: Image | None = None, **more: Any
) -> dict[str, Image]:
    x = image() if x is None else x
    target, identity = more.pop("target", CLASS), more.pop("identity", "cat")
    return Baselines(model, methods, x.shape, **({"costs": QUICK} | more)).maps(x, target, identity)


@cache
def plain_maps() -> dict[str, Image]:
    """The maps of the plain network."""
    return maps_of(conv_net())


def assert_same(found: dict[str, Image], truth: dict[str, Image], tolerance: float = 1e-4) -> None:
    assert found.keys() == truth.keys()
    for method, values in found.items():
        scale = float(np.abs(truth[method]).max())
        np.testing.assert_allclose(values, truth[method], atol=tolerance * scale, err_msg=method)


def backwards(x: Image, layers: Sequence[tuple[Image, Image]], target: int, rule: str) -> Image:
    """The two papers' backward pass through ReLU layers and a linear one, in float64."""
    inputs, a = [], x.ravel().astype(np.float64)
    for kernel, bias in layers[:-1]:
        inputs.append(a @ kernel + bias)
        a = np.maximum(inputs[-1], 0)
    g = layers[-1][0][:, target]
    for z, (kernel, _) in zip(reversed(inputs), reversed(layers[:-1]), strict=True):
        g = np.where(g > 0, g, 0)
        if rule == "guided-backprop":
            g = np.where(z > 0, g, 0)
        g = kernel @ g
    return g.reshape(x.shape)


@pytest.mark.parametrize("method", RELU_RULES)
@pytest.mark.parametrize("target", [0, 2])
def test_relu_rules_are_those_of_the_papers(method: str, target: int) -> None:
    shape = (3, 4, 2)
    dense = [keras.layers.Dense(n, activation=a) for n, a in ((40, "relu"), (30, "relu"), (3, "softmax"))]
    model = filled(keras.Sequential([keras.Input(shape), keras.layers.Flatten(), *dense]))
    x = image(shape)
    truth = backwards(x, [layer.get_weights() for layer in dense], target, method)
    assert np.abs(truth).max() > 0
    assert_same(maps_of(model, [method], x, target=target), {method: np.abs(truth).max(axis=-1)})


@pytest.mark.parametrize(("method", "peer"), [("guided-backprop", "GuidedBackprop"), ("deconvnet", "DeconvNet")])
def test_relu_rules_are_xpliques_on_a_model_it_can_take(method: str, peer: str) -> None:
    model = conv_net()
    one_hot = np.eye(1, 4, CLASS, dtype=np.float32)
    gradient = getattr(attributions, peer)(model, reducer=None).explain(image()[None], one_hot).numpy()[0]
    assert_same(maps_of(model, [method]), {method: np.abs(gradient).max(axis=-1)})


@pytest.mark.parametrize("twin", [nested, subclassed, lambda: conv_net("softmax"), lambda: conv_net("sigmoid")])
def test_how_a_network_is_written_does_not_matter(twin: Callable[[], keras.Model]) -> None:
    assert_same(maps_of(twin()), plain_maps())


def test_a_single_sigmoid_unit_has_two_classes() -> None:
    model = conv_net("sigmoid", units=1)
    methods = ["integrated-gradients", "occlusion"]
    yes, no = (maps_of(model, methods, target=target) for target in (1, 0))
    assert_same(yes, {method: -values for method, values in no.items()})


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels_gives_one_value_a_pixel(channels: int) -> None:
    shape = (9, 12, channels)
    found = maps_of(conv_net(shape=shape), x=image(shape))
    assert set(found) == set(BASELINES)
    for method, values in found.items():
        assert values.shape == shape[:2], method
        assert values.dtype == np.float32, method
        assert np.isfinite(values).all(), method
        assert np.ptp(values) > 0, method


def test_mixed_precision_changes_little() -> None:
    low = keras.models.clone_model(
        conv_net(),
        clone_function=lambda layer: type(layer).from_config(layer.get_config() | {"dtype": "mixed_bfloat16"}),
    )
    assert_same(maps_of(filled(low), RELU_RULES), maps_of(conv_net(), RELU_RULES), tolerance=0.05)


def test_integrated_gradients_add_up_to_the_difference_of_the_scores() -> None:
    dense = [keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(4, activation="softmax")]
    model = filled(keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *dense]))
    fill, x = 0.3, image() / 8
    first, last = (layer.get_weights() for layer in dense)

    def score(flat: Image) -> float:
        return float(np.tanh(flat.astype(np.float64) @ first[0] + first[1]) @ last[0][:, CLASS])

    found = maps_of(model, ["integrated-gradients"], x, costs=Costs(steps=200, fill=fill))["integrated-gradients"]
    difference = score(x.ravel()) - score(np.full(x.size, fill))
    assert found.sum() == pytest.approx(difference, rel=1e-3)


def test_integrated_gradients_of_a_linear_score_are_its_terms() -> None:
    weights, x = image(seed=5), image()
    found = maps_of(linear(weights), ["integrated-gradients"], x, target=1)
    assert_same(found, {"integrated-gradients": (weights * x).sum(axis=-1)})


def test_occlusion_is_the_mean_drop_over_the_patches_on_a_pixel() -> None:
    shape, fill, strides = (11, 13, 3), -0.4, 4
    model, x = conv_net(shape=shape), image((11, 13, 3))
    (height, down), (width, right) = (_patch(side, strides) for side in shape[:2])
    assert down > 1
    assert height > down
    drops: dict[tuple[int, int], list[float]] = {}
    clean = model(x[None]).numpy()[0, CLASS]
    for top in range(0, shape[0] - height + 1, down):
        for left in range(0, shape[1] - width + 1, right):
            hidden = x.copy()
            hidden[top : top + height, left : left + width] = fill
            drop = clean - model(hidden[None]).numpy()[0, CLASS]
            for i in range(top, top + height):
                for j in range(left, left + width):
                    drops.setdefault((i, j), []).append(drop)
    truth = np.array([[np.mean(drops[i, j]) for j in range(shape[1])] for i in range(shape[0])])
    assert_same(maps_of(model, ["occlusion"], x, costs=Costs(fill=fill, strides=strides)), {"occlusion": truth})


@given(side=st.integers(1, 600), strides=st.integers(1, 40))
def test_patches_reach_every_pixel_of_any_side(side: int, strides: int) -> None:
    size, stride = _patch(side, strides)
    counted = np.zeros(side, int)
    for start in range(0, side - size + 1, stride):
        counted[start : start + size] += 1
    assert counted.min() >= 1
    assert counted[-1] == counted[0]
    np.testing.assert_array_equal(_coverage(side, size, stride), counted)


def test_an_ordinary_image_gets_the_documented_patch() -> None:
    assert _patch(224, Costs().strides) == (32, 16)


@pytest.mark.parametrize("method", ["lime", "rise", "occlusion"])
def test_hiding_finds_the_only_block_that_counts(method: str) -> None:
    weights = np.zeros((24, 32, 3), np.float32)
    weights[4:12, 18:26] = 1
    x = image(weights.shape, 3) / 10 + 1
    x[4:12, 18:26] += 0.5
    found = maps_of(linear(weights), [method], x, target=1, costs=Costs(samples=200, masks=600, segments=20))[method]
    block = weights[..., 0] > 0
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert block[row, column]
    assert found[block].mean() > found[~block].mean() + 2 * found[~block].std()


def test_lime_weighs_a_superpixel_by_the_terms_it_holds() -> None:
    weights, x = image((24, 24, 3), 5), image((24, 24, 3))
    found = maps_of(linear(weights), ["lime"], x, target=1, costs=Costs(samples=600, segments=9))["lime"]
    terms = (weights * x).sum(axis=-1)
    values = np.unique(found)
    assert len(values) >= 4
    truth = np.array([terms[found == value].sum() for value in values])
    np.testing.assert_allclose(values, truth, atol=0.1 * np.abs(truth).max())


def test_maps_follow_from_the_seed_and_the_image_alone() -> None:
    model = conv_net()
    worker = Baselines(model, BASELINES, SHAPE, seed=4, costs=QUICK)
    worker.maps(image(seed=9), 1, "dog")
    later = worker.maps(image(), CLASS, "cat")
    fresh = maps_of(model, seed=4)
    alone = {method: maps_of(model, [method], seed=4)[method] for method in BASELINES}
    for method in BASELINES:
        np.testing.assert_array_equal(later[method], fresh[method], err_msg=method)
        np.testing.assert_array_equal(later[method], alone[method], err_msg=method)
    for other in (maps_of(model, seed=5), maps_of(model, seed=4, identity="dog")):
        differs = {method for method in BASELINES if not np.array_equal(other[method], fresh[method])}
        assert differs == {"lime", "rise"}


def test_the_callers_random_numbers_run_on_undisturbed() -> None:
    def draws(between: Callable[[], object]) -> list[float]:
        tf.random.set_seed(3)
        np.random.seed(3)
        first = float(tf.random.uniform(()))
        between()
        return [first, float(tf.random.uniform(())), float(tf.random.uniform(())), float(np.random.rand())]

    assert draws(lambda: maps_of(conv_net())) == draws(lambda: None)
    assert not tf.config.functions_run_eagerly()


@pytest.mark.parametrize("build", [nested, subclassed, lambda: conv_net("softmax")])
def test_the_model_stays_as_it_was(build: Callable[[], keras.Model]) -> None:
    model = build()
    inner = list(model._flatten_layers())
    inner[-1].trainable = False

    def state() -> list[Any]:
        parts = [(layer.__dict__.get("call"), getattr(layer, "activation", None), layer.trainable) for layer in inner]
        return [parts, [w.numpy().tobytes() for w in model.weights], list(model._flatten_layers()) == inner]

    before = state()
    answer = model(image()[None]).numpy()
    maps_of(model)
    assert state() == before
    np.testing.assert_array_equal(model(image()[None]).numpy(), answer)


SILENT = """
from cam_cli.quiet import native_chatter_silenced
with native_chatter_silenced():  # TensorFlow prints when it is imported
    import keras, numpy as np
    from cam_cli.engine.baselines import BASELINES, Baselines, Costs
import sys; assert "xplique" not in sys.modules
for side in range(7, 14):  # new shapes make TensorFlow trace anew, and complain of it
    model = keras.Sequential([keras.Input((side, 9, 3)), keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(2)])
    methods = BASELINES if side == 7 else ("occlusion", "rise")
    worker = Baselines(model, methods, (side, 9, 3), costs=Costs(samples=20, masks=20, batch=512))
    found = worker.maps(np.ones((side, 9, 3), "f"), 0)
    assert tuple(found) == methods
"""


@pytest.mark.long
def test_nothing_reaches_the_terminal() -> None:
    done = subprocess.run([sys.executable, "-W", "always", "-c", SILENT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_requests_that_cannot_be_met_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"unknown method 'shap': the baselines are guided-backprop, "):
        maps_of(conv_net(), ["rise", "shap"])
    for target in (4, -1):
        with pytest.raises(UsageError, match=rf"class {target} does not exist: the model has 4 classes"):
            maps_of(conv_net(), ["occlusion"], target=target)
    for method in RELU_RULES:
        with pytest.raises(UsageError, match=rf"{method} changes how gradients pass ReLUs, and this model has none"):
            maps_of(linear(image()), [method])
    for name in ("xplique", "xplique.attributions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"^method 'rise' needs the extra: pip install 'smoothcam\[baselines\]'"):
        maps_of(conv_net(), ["rise"])


def test_relus_in_a_loop_are_not_passed_by_in_silence() -> None:
    layers = [keras.layers.ReLU(), keras.layers.Reshape((-1, SHAPE[-1])), keras.layers.SimpleRNN(4, activation="relu")]
    with pytest.raises(UsageError, match="guided-backprop cannot reach the model's ReLUs"):
        maps_of(keras.Sequential([keras.Input(SHAPE), *layers]), ["guided-backprop"])


def test_relus_in_a_compiled_function_are_reached() -> None:
    compiled = tf.function(lambda x: tf.nn.relu(x - 0.1), autograph=False)
    maps = []
    for cut in (compiled, lambda x: tf.nn.relu(x - 0.1)):
        keras.utils.set_random_seed(3)
        head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
        layers = [keras.layers.Conv2D(3, 3, name="conv"), keras.layers.Lambda(cut), *head]
        maps.append(maps_of(keras.Sequential([keras.Input(SHAPE), *layers]), ["guided-backprop"])["guided-backprop"])
    assert maps[0].any()
    np.testing.assert_allclose(*maps, rtol=1e-5)
