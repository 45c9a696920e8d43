"""Every kind of Keras classifier gives the maps of its plain Functional twin, and none is changed by being explained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import cam_cli
from cam_cli.api import explain
from cam_cli.engine.analysis import Link, analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.head import Head
from cam_cli.engine.maps import correlation
from cam_cli.engine.noise import Noise
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.errors import ModelError, SmoothcamError, UsageError
from cam_cli.graph.trace import trace, walk

Array = NDArray[Any]
SHAPE = (12, 10, 3)
CLASSES = 4
RELATIVE = 1e-5
CONVS = ("conv1", "conv2")
EVERYTHING = Request(methods=("smoothgradcam++", "gradcam++", "gradcam"), nsamples=3, noise=Noise(0.3), seed=2)
CLEAN = Request(methods=("gradcam++", "gradcam"), nsamples=0)
EVERY_METHOD = replace(EVERYTHING, nsamples=0)
"""For what noise has no part in: each noisy copy makes a pass longer to trace."""
layers = keras.layers


def draw(*shapes: tuple[int, ...], seed: int = 5) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0.05, 1 / np.sqrt(max(1, math.prod(s[:-1]))), s).astype(np.float32) for s in shapes]


WEIGHTS = draw((3, 3, 3, 4), (4,), (3, 3, 4, 6), (6,), (6, CLASSES), (CLASSES,))
IMAGE = np.random.default_rng(1).uniform(-1, 1, SHAPE).astype(np.float32)


def conv(name: str, filters: int, strides: int = 1, activation: str | None = "relu", **kwargs: Any) -> Any:
    return layers.Conv2D(filters, 3, strides=strides, padding="same", activation=activation, name=name, **kwargs)


def parts(activation: str | None = None, **kwargs: Any) -> list[Any]:
    return [
        conv("conv1", 4, **kwargs),
        conv("conv2", 6, 2, **kwargs),
        layers.GlobalAveragePooling2D(name="pool", **kwargs),
        layers.Dense(CLASSES, activation=activation, name="head", **kwargs),
    ]


def chain(inputs: Any, *following: Callable[[Any], Any], stem: Any = None) -> Any:
    x = inputs if stem is None else stem
    for layer in following:
        x = layer(x)
    model = keras.Model(inputs, x, name="chain")
    if [v.shape for v in model.weights] == [w.shape for w in WEIGHTS]:
        model.set_weights(WEIGHTS)
    return model


def functional(*finish: Any, activation: str | None = None, **kwargs: Any) -> Any:
    return chain(keras.Input(SHAPE), *parts(activation, **kwargs), *finish)


def sequential(late: bool) -> Any:
    model = keras.Sequential(([] if late else [keras.Input(SHAPE)]) + parts("softmax"))
    model(IMAGE[None])
    model.set_weights(WEIGHTS)
    return model


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model in plain Python, ending in whatever `finish` computes from the logits."""

    def __init__(self, finish: Callable[[Any], Any] = lambda z: z) -> None:
        super().__init__()
        self.conv1, self.conv2, self.pool, self.head = parts()
        self.spare = conv("spare", 2)
        self.aside = conv("aside", 2)
        self.finish = finish

    def build(self, shape: Sequence[int | None]) -> None:
        self.spare.build(shape)
        super().build(shape)

    def call(self, x: Any) -> Any:
        self.aside(x)
        return self.finish(self.head(self.pool(self.conv2(self.conv1(x)))))


def subclassed(finish: Callable[[Any], Any] = lambda z: z, kind: type[Subclassed] = Subclassed) -> Any:
    model = kind(finish)
    model(IMAGE[None])
    for layer, kernel, bias in ((model.conv1, 0, 1), (model.conv2, 2, 3), (model.head, 4, 5)):
        layer.set_weights([WEIGHTS[kernel], WEIGHTS[bias]])
    return model


class Written(keras.Model):  # type: ignore[misc]
    """A subclass that calls TensorFlow's own relu, mean and softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv("conv1", 4, activation=None)
        self.conv2 = conv("conv2", 6, 2, activation=None)
        self.head = layers.Dense(CLASSES, name="head")

    def call(self, x: Any) -> Any:
        x = tf.nn.relu(self.conv2(tf.nn.relu(self.conv1(x))))
        return tf.nn.softmax(self.head(tf.reduce_mean(x, (1, 2))))


class Block(keras.Layer):  # type: ignore[misc]
    """A composite layer whose parts are reached by path."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = parts()[:2]

    def call(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x

    def compute_output_shape(self, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (shape[0], -(-SHAPE[0] // 2), -(-SHAPE[1] // 2), 6)


def backbone(name: str) -> Any:
    inputs = keras.Input(SHAPE)
    conv1, conv2, *_ = parts()
    return keras.Model(inputs, conv2(conv1(inputs)), name=name)


def nested(depth: int) -> Any:
    inside = backbone("mobile_1.00_v2")
    if depth == 2:
        inputs = keras.Input(SHAPE)
        inside = keras.Model(inputs, inside(inputs), name="wrap.1")
    return chain(keras.Input(SHAPE), inside, *parts("softmax")[2:])


def structured(wrap: Callable[[Any], Any]) -> Any:
    inputs = keras.Input(SHAPE, name="image")
    x = inputs
    for layer in parts("softmax"):
        x = layer(x)
    model = keras.Model(wrap(inputs), x)
    model.set_weights(WEIGHTS)
    return model


def fully_convolutional(shape: tuple[int | None, int | None, int]) -> Any:
    conv1, conv2, pool, _ = parts()
    inputs = keras.Input(shape)
    scores = layers.Conv2D(CLASSES, 1, name="scores")(conv2(conv1(inputs)))
    model = keras.Model(inputs, layers.Softmax()(pool(scores)))
    model.set_weights([*WEIGHTS[:4], WEIGHTS[4][None, None], WEIGHTS[5]])
    return model


def flattened_after_softmax(last: Any) -> Any:
    conv1, conv2, *_ = parts()
    inputs = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(conv2(conv1(inputs)))
    model = keras.Model(inputs, last(layers.Conv2D(CLASSES, 1, activation="softmax")(pooled)))
    model.set_weights([*WEIGHTS[:4], WEIGHTS[4][None, None], WEIGHTS[5]])
    return model


def frozen() -> Any:
    model = functional(activation="softmax")
    model.trainable = False
    return model


def regularised() -> Any:
    model = functional(activation="softmax", activity_regularizer="l2")
    model(IMAGE[None])
    return model


def compiled_and_trained() -> Any:
    model = functional(activation="softmax")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(IMAGE[None], np.array([1]), verbose=0)
    model.set_weights(WEIGHTS)
    return model


@dataclass(frozen=True)
class Snapshot:
    """All that explaining must leave alone, in a form that compares."""

    weights: tuple[bytes, ...]
    layers: tuple[tuple[str, int, Any, Any, Any, Any, frozenset[str]], ...]
    losses: tuple[float, ...]
    metrics: int

    @classmethod
    def of(cls, model: Any) -> Snapshot:
        return cls(
            tuple(np.asarray(v).tobytes() for v in model.variables),
            tuple(
                (
                    path,
                    id(at),
                    getattr(at, "trainable", None),
                    getattr(at, "built", None),
                    at.call,
                    getattr(at, "activation", None),
                    frozenset(vars(at)),
                )
                for path, at in [("", model), *walk(model)]
            ),
            tuple(float(loss) for loss in model.losses),
            len(model.metrics),
        )


def engine(model: Any, names: Sequence[str], request: Request = EVERYTHING, targets: int = 1) -> Explainer:
    return Explainer(model, analyse(trace(model, IMAGE.shape), names), request, targets)


def agree(ours: Explanation, truth: Explanation, relative: float = RELATIVE) -> None:
    assert len(ours.maps) == len(truth.maps) > 0
    assert any(m.state == "ok" for m in truth.maps)
    np.testing.assert_allclose(ours.logits, truth.logits, rtol=relative, atol=relative)
    for a, b in zip(ours.maps, truth.maps, strict=True):
        assert (a.method, a.target, a.head) == (b.method, b.target, b.head)
        assert a.values.dtype == np.float32
        np.testing.assert_allclose(a.values, b.values, rtol=0, atol=relative * max(float(b.values.max()), 1e-12))


TARGETS = (2,)
"""One that is not the predicted class; each further one makes a pass longer to trace."""


@pytest.fixture(scope="module")
def truth() -> Explanation:
    return explain(functional(), IMAGE[None], CONVS, TARGETS, EVERY_METHOD)[0]


NESTED = ("mobile_1.00_v2/conv1", "mobile_1.00_v2/conv2")
DEEP = ("wrap.1/mobile_1.00_v2/conv1", "wrap.1/mobile_1.00_v2/conv2")

FORMS: dict[str, tuple[Callable[[], Any], Sequence[str], Link]] = {
    "functional": (functional, CONVS, Link.LOGITS),
    "softmax fused in Dense": (lambda: functional(activation="softmax"), CONVS, Link.SOFTMAX),
    "Softmax layer": (lambda: functional(layers.Softmax()), CONVS, Link.SOFTMAX),
    "Activation layer": (lambda: functional(layers.Activation("softmax")), CONVS, Link.SOFTMAX),
    "ops.softmax": (lambda: functional(keras.ops.softmax), CONVS, Link.SOFTMAX),
    "softmax kept in float32": (lambda: functional(layers.Softmax(dtype="float32")), CONVS, Link.SOFTMAX),
    "softmax before Flatten": (lambda: flattened_after_softmax(layers.Flatten()), CONVS, Link.SOFTMAX),
    "softmax before Reshape": (lambda: flattened_after_softmax(layers.Reshape((CLASSES,))), CONVS, Link.SOFTMAX),
    "multi-label sigmoid": (lambda: functional(activation="sigmoid"), CONVS, Link.SIGMOID),
    "ops.sigmoid": (lambda: functional(keras.ops.sigmoid), CONVS, Link.SIGMOID),
    "Sequential": (lambda: sequential(False), CONVS, Link.SOFTMAX),
    "Sequential built late": (lambda: sequential(True), CONVS, Link.SOFTMAX),
    "subclassed": (subclassed, CONVS, Link.LOGITS),
    "subclassed, tf.nn.softmax": (lambda: subclassed(tf.nn.softmax), CONVS, Link.SOFTMAX),
    "nested": (lambda: nested(1), NESTED, Link.SOFTMAX),
    "nested, by suffix": (lambda: nested(1), CONVS, Link.SOFTMAX),
    "nested twice": (lambda: nested(2), DEEP, Link.SOFTMAX),
    "nested twice, by long suffix": (lambda: nested(2), NESTED, Link.SOFTMAX),
    "composite layer": (
        lambda: chain(keras.Input(SHAPE), Block(name="block"), *parts()[2:]),
        ("block/conv1", "block/conv2"),
        Link.LOGITS,
    ),
    "input in a list": (lambda: structured(lambda t: [t]), CONVS, Link.SOFTMAX),
    "input in a dict": (lambda: structured(lambda t: {"image": t}), CONVS, Link.SOFTMAX),
    "fully convolutional": (lambda: fully_convolutional((None, None, 3)), CONVS, Link.SOFTMAX),
    "batch size fixed to 1": (
        lambda: chain(keras.Input(batch_shape=(1, *SHAPE)), *parts("softmax")),
        CONVS,
        Link.SOFTMAX,
    ),
    "frozen": (frozen, CONVS, Link.SOFTMAX),
    "regularised": (regularised, CONVS, Link.SOFTMAX),
    "compiled and trained": (compiled_and_trained, CONVS, Link.SOFTMAX),
    "float64": (lambda: functional(activation="softmax", dtype="float64"), CONVS, Link.SOFTMAX),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_its_functional_twin_and_stays_as_it_was(form: str, truth: Explanation) -> None:
    build, names, link = FORMS[form]
    model = build()
    gives = np.asarray(keras.ops.convert_to_numpy(model(tf.nest.pack_sequence_as(input_of(model), [IMAGE[None]]))))[0]
    before = Snapshot.of(model)
    ours = explain(model, IMAGE[None], names, TARGETS, EVERY_METHOD)[0]
    assert Snapshot.of(model) == before
    agree(ours, truth)
    expected = ours.logits if link is Link.LOGITS else ours.probabilities
    np.testing.assert_allclose(expected, gives, rtol=1e-5, atol=1e-7)


def input_of(model: Any) -> Any:
    return getattr(model, "_inputs_struct", 0)


def test_a_subclass_that_calls_relu_and_softmax_itself() -> None:
    model = Written()
    model(IMAGE[None])
    model.set_weights(WEIGHTS)
    conv1, conv2 = conv("conv1", 4, activation=None), conv("conv2", 6, 2, activation=None)
    twin = chain(keras.Input(SHAPE), conv1, layers.ReLU(), conv2, layers.ReLU(), *parts()[2:])
    before = Snapshot.of(model)
    ours = explain(model, IMAGE[None], CONVS, TARGETS, EVERY_METHOD)[0]
    assert Snapshot.of(model) == before
    agree(ours, explain(twin, IMAGE[None], CONVS, TARGETS, EVERY_METHOD)[0])


class Compiled(Subclassed):
    """A model whose own call is a compiled function."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def call(self, x: Any) -> Any:
        return super().call(x)


@pytest.mark.parametrize("kind", [Compiled, Subclassed])
def test_a_compiled_function_is_looked_into_or_refused(kind: type[Subclassed], truth: Explanation) -> None:
    """Never a softmax taken for a logit because a `tf.function` hides it, nor a layer said not to run."""
    model = subclassed(tf.function(tf.nn.softmax), kind)
    before = Snapshot.of(model)
    try:
        ours = explain(model, IMAGE[None], CONVS, TARGETS, EVERY_METHOD)[0]
    except ModelError as refusal:
        assert "compiled function" in str(refusal)  # noqa: PT017
    else:
        agree(ours, truth)
    assert Snapshot.of(model) == before


def test_a_shared_layer_is_explained_at_its_last_call() -> None:
    kernel, bias = draw((3, 3, 4, 4), (4,), seed=9)
    stem, shared, last = conv("stem", 4), conv("shared", 4), conv("last", 4)
    inputs = keras.Input(SHAPE)
    head = parts("softmax")[2:]
    model = keras.Model(inputs, head[1](head[0](layers.ReLU(1.5)(shared(shared(stem(inputs)))))))
    shared.set_weights([kernel, bias])
    first = conv("first", 4)
    twin = chain(keras.Input(SHAPE), stem, first, last, layers.ReLU(1.5), *head)
    first.set_weights([kernel, bias])
    last.set_weights([kernel, bias])
    shared.trainable = False
    before = Snapshot.of(model)
    ours = explain(model, IMAGE[None], ["shared"], TARGETS, EVERY_METHOD)[0]
    assert Snapshot.of(model) == before
    agree(ours, explain(twin, IMAGE[None], ["last"], TARGETS, EVERY_METHOD)[0])
    other = explain(twin, IMAGE[None], ["first"], TARGETS, EVERY_METHOD)[0]
    assert not np.allclose(ours.maps[0].values, other.maps[0].values, rtol=1e-2)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_sigmoid_unit_is_explained_on_either_side(activation: str | None) -> None:
    kernel, bias = WEIGHTS[4][:, :1], WEIGHTS[5][:1]
    inputs = keras.Input(SHAPE)
    conv1, conv2, pool, _ = parts()
    maps = pool(conv2(conv1(inputs)))
    model = keras.Model(inputs, layers.Dense(1, activation=activation)(maps))
    model.set_weights([*WEIGHTS[:4], kernel, bias])
    twin = keras.Model(inputs, layers.Dense(2)(maps))
    twin.set_weights([*WEIGHTS[:4], np.hstack([-kernel, kernel]), np.hstack([-bias, bias])])
    ours = explain(model, IMAGE[None], CONVS, (0, 1), EVERYTHING)[0]
    agree(ours, explain(twin, IMAGE[None], CONVS, (0, 1), EVERYTHING)[0])
    z = float(kernel.T[0] @ np.asarray(keras.Model(inputs, maps)(IMAGE[None]))[0] + bias[0])
    np.testing.assert_allclose(ours.logits, [-z, z], rtol=1e-4)
    np.testing.assert_allclose(ours.probabilities, [1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], rtol=1e-4)
    with pytest.raises(UsageError, match="class 2 does not exist"):
        explain(model, IMAGE[None], CONVS, (2,), EVERYTHING)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_picture(policy: str, truth: Explanation) -> None:
    model = functional(layers.Softmax(dtype="float32"), dtype=policy)
    before = Snapshot.of(model)
    ours = explain(model, IMAGE[None], CONVS, TARGETS, EVERY_METHOD)[0]
    assert Snapshot.of(model) == before
    assert ours.targets == truth.targets
    for a, b in zip(ours.maps, truth.maps, strict=True):
        assert a.values.dtype == np.float32
        assert np.isfinite(a.values).all()
        if b.state == "ok":
            assert (correlation(a.values, b.values) or 0) >= 0.99, (a.layer, a.method, a.target)


@pytest.mark.parametrize("shape", [(9, 14, 1), (8, 8, 4), (7, 19, 3)])
def test_any_number_of_channels_and_any_format(shape: tuple[int, int, int]) -> None:
    """A grey image as one channel, or as the same image in a network whose kernels ignore the others."""
    x = np.random.default_rng(2).uniform(0, 1, shape).astype(np.float32)
    kernel = draw((3, 3, shape[2], 4), seed=3)[0]
    weights = [kernel, *WEIGHTS[1:]]
    model = chain(keras.Input(shape), *parts("softmax"))
    model.set_weights(weights)
    padded = np.concatenate([x, np.repeat(x[..., :1], 2, axis=-1)], axis=-1)
    twin = chain(keras.Input((None, None, shape[2] + 2)), *parts())
    twin.set_weights([np.concatenate([kernel, np.zeros((3, 3, 2, 4))], axis=2), *weights[1:]])
    agree(explain(model, x[None], CONVS, TARGETS, CLEAN)[0], explain(twin, padded[None], CONVS, TARGETS, CLEAN)[0])


def test_preprocessing_inside_the_model() -> None:
    inputs = keras.Input(SHAPE)
    scaled = layers.Normalization(mean=0.25, variance=4.0)(layers.Rescaling(1 / 64, offset=-1)(inputs))
    model = chain(inputs, *parts("softmax"), stem=scaled)
    kept = [w for w in model.weights if w.path.startswith(("conv", "head"))]
    for variable, value in zip(kept, WEIGHTS, strict=True):
        variable.assign(value)
    raw = np.round(np.random.default_rng(3).uniform(0, 255, SHAPE)).astype(np.float32)
    ours = engine(model, CONVS).explain([Subject(raw, "a")])[0]
    theirs = engine(functional(), CONVS).explain([Subject(((raw / 64 - 1.25) / 2).astype(np.float32), "a")])[0]
    agree(ours, theirs)


def test_resizing_inside_the_model() -> None:
    inputs = keras.Input((24, 20, 3))
    model = chain(inputs, *parts("softmax"), stem=layers.Resizing(*SHAPE[:2])(inputs))
    large = np.random.default_rng(3).uniform(-1, 1, (24, 20, 3)).astype(np.float32)
    small = tf.image.resize(large[None], SHAPE[:2]).numpy()
    agree(explain(model, large[None], CONVS, TARGETS, CLEAN)[0], explain(functional(), small, CONVS, TARGETS, CLEAN)[0])


def test_batch_norm_and_dropout_run_as_in_inference() -> None:
    norm = layers.BatchNormalization(name="norm")
    inputs = keras.Input(SHAPE)
    x = layers.Activation("relu", name="act")(norm(conv("conv1", 4, activation=None)(inputs)))
    x = layers.GaussianNoise(0.5)(layers.SpatialDropout2D(0.5)(layers.Dropout(0.5, seed=1)(x)))
    _, conv2, pool, head = parts("softmax")
    model = keras.Model(inputs, head(pool(conv2(x))))
    model.get_layer("conv1").set_weights(WEIGHTS[:2])
    gamma, beta, mean, variance = (w + 1.5 for w in draw((4,), (4,), (4,), (4,), seed=8))
    norm.set_weights([gamma, beta, mean, variance])
    conv2.set_weights(WEIGHTS[2:4])
    head.set_weights(WEIGHTS[4:])
    gain = gamma / np.sqrt(variance + norm.epsilon)
    twin = functional()
    twin.set_weights([WEIGHTS[0] * gain, (WEIGHTS[1] - mean) * gain + beta, *WEIGHTS[2:]])
    before = Snapshot.of(model)
    ours = engine(model, ["act", "conv2"]).explain([Subject(IMAGE, "a")])[0]
    assert Snapshot.of(model) == before
    agree(ours, engine(twin, CONVS).explain([Subject(IMAGE, "a")])[0])


HEADS: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda x: layers.LSTM(5)(layers.Reshape((-1, 6))(x)),
    "gru": lambda x: layers.GRU(5)(layers.Reshape((-1, 6))(x)),
    "bidirectional": lambda x: layers.Bidirectional(layers.SimpleRNN(4))(layers.Reshape((-1, 6))(x)),
    "attention": lambda x: layers.GlobalAveragePooling1D()(
        layers.MultiHeadAttention(2, 3)(*[layers.Reshape((-1, 6))(x)] * 2)
    ),
    "layer norm": lambda x: layers.GlobalAveragePooling2D()(layers.LayerNormalization()(x)),
    "squeeze and excite": lambda x: layers.GlobalAveragePooling2D()(
        layers.Multiply()([x, layers.Dense(6, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))])
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_recurrent_and_attention_heads(kind: str) -> None:
    """The oracle is Grad-CAM by a GradientTape through the head as a model of its own."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    maps = conv("conv2", 6, 2)(inputs)
    bottom, cells = keras.Model(inputs, maps), keras.Input(maps.shape[1:])
    top = keras.Model(cells, layers.Dense(CLASSES)(HEADS[kind](cells)))
    model = keras.Model(inputs, layers.Softmax()(top(maps)))
    model(IMAGE[None])
    before = Snapshot.of(model)
    ours = explain(model, IMAGE[None], ["conv2"], (1,), EVERY_METHOD)[0]
    assert Snapshot.of(model) == before
    A = bottom(IMAGE[None])
    with tf.GradientTape() as tape:
        tape.watch(A)
        score = top(A)[0, 1]
    g = tape.gradient(score, A).numpy()[0]
    truth = np.maximum(A.numpy()[0] @ g.mean(axis=(0, 1)), 0)
    assert truth.max() > 0
    found = {m.method: m for m in ours.maps}
    np.testing.assert_allclose(found["gradcam"].values, truth, rtol=0, atol=1e-4 * truth.max())
    assert {m.head for m in ours.maps} == {Head.SMOOTH}


GATES: dict[str, Callable[[Any], Any]] = {
    "mask by a threshold": lambda x: x * tf.cast(x > 0.3, x.dtype),
    "tf.where as a factor": lambda x: x * tf.where(x > 0.3, tf.ones_like(x), 0.1 * tf.ones_like(x)),
    "largest cell of each map": lambda x: (
        tf.reshape(x, (-1, 30, 6)) * tf.one_hot(tf.argmax(tf.reshape(x, (-1, 30, 6)), 1), 30, axis=1)
    ),
    "maps in the order of their sums": lambda x: tf.gather(
        x, tf.argsort(tf.reduce_sum(x, (1, 2))), axis=3, batch_dims=1
    ),
}


class Gate(keras.Layer):  # type: ignore[misc]
    def __init__(self, gate: Callable[[Any], Any]) -> None:
        super().__init__()
        self.gate = gate

    def call(self, x: Any) -> Any:
        return self.gate(x)


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_depends_on_the_activations_is_not_affine(gate: str) -> None:
    """dS/dA differs between inputs although every operation that carries a gradient is linear."""
    model = chain(keras.Input(SHAPE), *parts()[:2], Gate(GATES[gate]), layers.Flatten(), layers.Dense(CLASSES))
    assert analyse(trace(model, SHAPE), ["conv2"]).heads["conv2"] is not Head.AFFINE


def test_explaining_twice_gives_the_same_arrays() -> None:
    model = functional(activation="softmax")
    one, two = (explain(model, IMAGE[None], CONVS, TARGETS, EVERYTHING)[0] for _ in range(2))
    for a, b in zip(one.maps, two.maps, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_two_explainers_on_one_model_do_not_disturb_each_other() -> None:
    model = nested(2)
    first = engine(model, DEEP[:1])
    alone = first.explain([Subject(IMAGE, "a")])[0]
    second = engine(model, DEEP, CLEAN, 2)
    other = second.explain([Subject(IMAGE[::-1], "b", (0, 1))])[0]
    for again, before in (
        (first.explain([Subject(IMAGE, "a")])[0], alone),
        (second.explain([Subject(IMAGE[::-1], "b", (0, 1))])[0], other),
    ):
        for a, b in zip(again.maps, before.maps, strict=True):
            np.testing.assert_array_equal(a.values, b.values)


def two_inputs() -> Any:
    a, b = keras.Input(SHAPE), keras.Input(SHAPE)
    conv1, conv2, pool, head = parts()
    return keras.Model([a, b], head(pool(conv2(conv1(layers.Add()([a, b]))))))


def several_outputs(wrap: Callable[[Any, Any], Any]) -> Any:
    inputs = keras.Input(SHAPE)
    conv1, conv2, pool, head = parts("softmax")
    x = pool(conv2(conv1(inputs)))
    return keras.Model(inputs, wrap(head(x), layers.Dense(2, name="other")(x)))


def two_backbones() -> Any:
    inputs = keras.Input(SHAPE)
    both = layers.Add()([backbone("left.1")(inputs), backbone("right.2")(inputs)])
    pool, head = parts()[2:]
    return keras.Model(inputs, head(pool(both)))


def blocked() -> Any:
    conv1, *rest = parts()
    return chain(keras.Input(SHAPE), conv1, Gate(tf.stop_gradient), *rest)


def rounded() -> Any:
    conv1, *rest = parts()
    return chain(keras.Input(SHAPE), conv1, Gate(tf.round), *rest)


def per_pixel() -> Any:
    return chain(keras.Input(SHAPE), *parts()[:2])


REFUSED: dict[str, tuple[Callable[[], Any], str, type[SmoothcamError], str]] = {
    "two inputs": (two_inputs, "conv1", ModelError, "the model has 2 inputs"),
    "a list of outputs": (lambda: several_outputs(lambda a, b: [a, b]), "conv1", ModelError, "2 outputs"),
    "a dict of outputs": (lambda: several_outputs(lambda a, b: {"a": a, "b": b}), "conv1", ModelError, "2 outputs"),
    "a tuple of outputs": (lambda: subclassed(lambda z: (z, z)), "conv1", ModelError, "2 outputs"),
    "a map for output": (per_pixel, "conv1", ModelError, r"output has shape .*one row of scores"),
    "ambiguous suffix": (two_backbones, "conv1", UsageError, r"'left\.1/conv1', 'right\.2/conv1'.*whole path"),
    "unknown name": (functional, "conv3", UsageError, r"no layer 'conv3'.*'conv"),
    "no grid": (functional, "pool", UsageError, r"layer 'pool' gives no feature maps: its output is \(6,\)"),
    "the input": (functional, "head", UsageError, "gives no feature maps"),
    "not on the way to the score": (subclassed, "aside", UsageError, "'aside': the class score does not depend on it"),
    "never run": (subclassed, "spare", UsageError, "'spare' is not used when the model runs"),
    "behind stop_gradient": (blocked, "conv1", UsageError, "'conv1'"),
    "behind rounding": (rounded, "conv1", UsageError, "'conv1'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_explained_is_refused_in_one_line_and_left_alone(case: str) -> None:
    build, name, kind, text = REFUSED[case]
    model = build()
    before = Snapshot.of(model)
    with pytest.raises(kind, match=text) as refusal:
        cam_cli.explain(model, IMAGE[None], [name])
    assert "\n" not in str(refusal.value)
    assert Snapshot.of(model) == before


@pytest.mark.parametrize(
    ("images", "targets", "kind"),
    [
        (np.zeros((1, 12, 10, 4), np.float32), (0,), ModelError),
        (IMAGE, (0,), UsageError),
        (np.zeros((0, *SHAPE), np.float32), (0,), UsageError),
        (IMAGE[None], (CLASSES,), UsageError),
        (IMAGE[None], (-CLASSES - 1,), UsageError),
    ],
)
def test_a_call_that_fails_leaves_the_model_alone(images: Array, targets: tuple[int, ...], kind: type) -> None:
    model = nested(2)
    before = Snapshot.of(model)
    with pytest.raises(kind) as refusal:
        explain(model, images, ["conv1"], targets, EVERYTHING)
    assert "\n" not in str(refusal.value)
    assert Snapshot.of(model) == before


def test_a_call_that_breaks_inside_a_layer_leaves_the_model_alone() -> None:
    class Breaks(keras.Layer):  # type: ignore[misc]
        broken = False

        def call(self, x: Any) -> Any:
            if Breaks.broken:
                raise RuntimeError("first line\nsecond line")
            return x

    model = chain(keras.Input(SHAPE), parts()[0], Breaks(name="breaks"), *parts()[1:])
    before = Snapshot.of(model)
    Breaks.broken = True
    with pytest.raises(ModelError) as refusal:
        explain(model, IMAGE[None], ["conv1"], (0,), EVERYTHING)
    assert "\n" not in str(refusal.value)
    assert Snapshot.of(model) == before
