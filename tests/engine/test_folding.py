"""The graph is made faster without changing what it says: folded batch norms, mirrored convolutions, bfloat16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import NO_BFLOAT16
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.folding import folded
from cam_cli.engine.gradients import mirror
from cam_cli.engine.request import Request, Subject
from cam_cli.engine.tracing import FrozenGraph, trace_pass
from cam_cli.graph.trace import trace

RNG = np.random.default_rng(3)
SHAPE = (11, 9, 4)
Layer = keras.layers.Layer


def learned(layers: Sequence[Layer]) -> keras.Model:
    """A network whose batch norms have statistics of a life lived."""
    model = keras.Sequential([keras.Input(SHAPE), *layers])
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = RNG.uniform(0.3, 2, weight.shape) if positive else RNG.normal(0, 0.4, weight.shape)
        weight.assign(values.astype(np.float32))
    return model


def frozen(run: Callable[[tf.Tensor], Sequence[tf.Tensor]]) -> tuple[tf.Graph, str, list[str]]:
    function = tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec((2, *SHAPE), tf.float32))
    constant = convert_variables_to_constants_v2(function)
    return constant.graph, constant.inputs[0].name, [tensor.op.inputs[0].name for tensor in constant.outputs]


def run_of(definition: tf.compat.v1.GraphDef, source: str, outputs: Sequence[str], x: np.ndarray) -> list[np.ndarray]:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return list(session.run(list(outputs), {source: x}))


BATCH_NORM = keras.layers.BatchNormalization
NETWORKS: dict[str, Callable[[], list[Layer]]] = {
    "convolution": lambda: [keras.layers.Conv2D(5, 3, use_bias=False), BATCH_NORM()],
    "convolution with a bias": lambda: [keras.layers.Conv2D(5, 3, strides=2), BATCH_NORM()],
    "depthwise": lambda: [keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False), BATCH_NORM()],
    "depthwise with a bias": lambda: [keras.layers.DepthwiseConv2D(3, padding="same"), BATCH_NORM()],
    "depthwise, two of each": lambda: [keras.layers.DepthwiseConv2D(3, depth_multiplier=2), BATCH_NORM()],
    "one channel": lambda: [keras.layers.Conv2D(1, 3, use_bias=False), BATCH_NORM()],
    "a chain": lambda: [
        keras.layers.Conv2D(6, 1, use_bias=False), BATCH_NORM(), keras.layers.ReLU(6.0),
        keras.layers.DepthwiseConv2D(3, use_bias=False), BATCH_NORM(), keras.layers.ReLU(6.0),
        keras.layers.Conv2D(3, 1, use_bias=False), BATCH_NORM(scale=False), keras.layers.Activation("silu"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norms_go_into_their_convolutions_and_nothing_else_changes(name: str) -> None:
    model = learned(NETWORKS[name]())
    graph, source, outputs = frozen(lambda x: [model(x, training=False)])
    definition = folded(graph.as_graph_def(), [source, *outputs])
    left = Counter(node.op for node in definition.node)
    expected = 1 if name == "a chain" else 0  # silu is x * sigmoid(x)
    assert left["Mul"] <= expected
    assert not left["AddV2"] + left["Sub"] + left["Rsqrt"]
    x = RNG.normal(size=(2, *SHAPE)).astype(np.float32)
    (before,) = run_of(graph.as_graph_def(), source, outputs, x)
    (after,) = run_of(definition, source, outputs, x)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


def test_what_is_watched_or_used_twice_is_not_folded_away() -> None:
    convolution, norm = keras.layers.Conv2D(4, 3, padding="same"), BATCH_NORM()
    learned([convolution, norm])

    def run(x: tf.Tensor) -> list[tf.Tensor]:
        raw = convolution(x)
        return [tf.nn.relu(raw), norm(raw, training=False) + 0 * raw]

    def watched(x: tf.Tensor) -> list[tf.Tensor]:
        raw = convolution(x)
        return [tf.identity(raw), tf.nn.relu(norm(raw, training=False))]

    x = RNG.normal(size=(2, *SHAPE)).astype(np.float32)
    for several in (run, watched):
        graph, source, outputs = frozen(several)
        definition = folded(graph.as_graph_def(), [source, *outputs])
        pairs = zip(
            run_of(graph.as_graph_def(), source, outputs, x), run_of(definition, source, outputs, x), strict=True
        )
        for before, after in pairs:
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("sides", "strides", "dilation"), [(1, 1, 1), (3, 1, 1), ((5, 3), 1, 1), (3, 2, 1), (2, 1, 1), (3, 1, 2)]
)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_mirrored_convolutions_have_the_gradient_that_tensorflow_gives(
    sides: int | tuple[int, int], strides: int, dilation: int, padding: str, depthwise: bool
) -> None:
    kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    own = {} if depthwise else {"filters": 5}
    layer = kind(kernel_size=sides, strides=strides, dilation_rate=dilation, padding=padding, **own)
    model = learned([layer])
    graph, source, outputs = frozen(lambda x: [model(x, training=False)])
    definition = graph.as_graph_def()
    x = RNG.normal(size=(2, *SHAPE)).astype(np.float32)

    def gradient() -> np.ndarray:
        with tf.Graph().as_default() as imported, tf.compat.v1.Session(graph=imported) as session:
            given = tf.constant(x)
            (found,) = tf.graph_util.import_graph_def(definition, {source: given}, outputs)
            weights = np.random.default_rng(5).normal(size=found.shape).astype(np.float32)
            return np.asarray(session.run(tf.gradients(tf.reduce_sum(found * weights), given)[0]))

    truth = gradient()
    mirror(definition)
    assert any("_gradient_op_type" in node.attr for node in definition.node)
    np.testing.assert_allclose(gradient(), truth, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    layers = [
        keras.layers.Conv2D(16, 3, use_bias=False), BATCH_NORM(), keras.layers.ReLU(6.0, name="first"),
        keras.layers.DepthwiseConv2D(3, use_bias=False), BATCH_NORM(), keras.layers.ReLU(6.0),
        keras.layers.Conv2D(16, 1, use_bias=False), BATCH_NORM(), keras.layers.ReLU(name="last"),
        keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7),
    ]  # fmt: skip
    return learned(layers)


def test_a_frozen_graph_survives_being_written_down(small: keras.Model) -> None:
    engine = Explainer(small, analyse(trace(small, SHAPE), ["first"]), Request())
    traced = trace_pass(small, engine._run.spec)
    assert isinstance(traced, FrozenGraph)
    again = FrozenGraph.from_bytes(traced.to_bytes())
    assert (again.inputs, again.outputs) == (traced.inputs, traced.outputs)
    assert again.definition == traced.definition


ACTIVATIONS = (
    "relu6",
    "elu",
    "selu",
    "gelu",
    "mish",
    "silu",
    "tanh",
    "softsign",
    "softplus",
    "hard_silu",
    "leaky_relu",
)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_gradient_passes_an_explained_activation_on_its_way_to_another_one(activation: str) -> None:
    """TensorFlow gives some activations, such as swish, a gradient that only the graph they were made in can use."""
    convolutions = [keras.layers.Conv2D(6, 3, use_bias=False) for _ in range(2)]
    first, last = (keras.layers.Activation(activation, name=name) for name in ("first", "last"))
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7)]
    model = learned([convolutions[0], BATCH_NORM(), first, convolutions[1], BATCH_NORM(), last, *head])
    analysis = analyse(trace(model, SHAPE), ["first", "last"])
    x = RNG.normal(size=SHAPE).astype(np.float32)
    (found,) = Explainer(model, analysis, Request(("gradcam",)), targets=1).explain([Subject(x, "a", (3,))])
    with tf.GradientTape(persistent=True) as tape:
        value, activations = tf.constant(x[None]), []
        for layer in model.layers:
            value = layer(value)
            if layer in (first, last):
                tape.watch(value)
                activations.append(value)
        score = value[0, 3]
    for saliency, A in zip(found.maps, activations, strict=True):
        alpha = tf.reduce_mean(tape.gradient(score, A), (1, 2))
        expected = tf.nn.relu(tf.reduce_sum(alpha * A, axis=-1))[0].numpy()  # Grad-CAM, Eq. 1 and 2
        assert expected.max() > 0
        np.testing.assert_allclose(saliency.values, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.skipif(bool(NO_BFLOAT16), reason=NO_BFLOAT16)
def test_bfloat16_rounds_the_network_and_keeps_the_map(small: keras.Model) -> None:
    analysis = analyse(trace(small, SHAPE), ["first"])
    subject = Subject(RNG.normal(size=SHAPE).astype(np.float32), "a")
    exact, rounded = (
        Explainer(small, analysis, Request(), precision=precision).explain([subject])[0]
        for precision in ("float32", "bfloat16")
    )
    assert exact.logits.tolist() != rounded.logits.tolist()
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.03 * np.abs(exact.logits).max())
    a, b = exact.maps[0].values, rounded.maps[0].values
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
