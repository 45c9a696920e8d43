"""The layer that `auto` takes: the deepest grid that all information goes through, after its last activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

from cam_cli.errors import ModelError
from cam_cli.graph.activations import is_activated
from cam_cli.graph.layers import LayerInfo, choose_layer, describe_layers
from cam_cli.graph.operations import bottlenecks
from cam_cli.graph.trace import trace

layers = keras.layers
SHAPE = (32, 32, 3)


def conv(filters: int, name: str, activation: str | None = "relu", strides: int = 1, size: int = 3) -> Any:
    return layers.Conv2D(filters, size, strides, padding="same", activation=activation, name=name)


def pooled(x: Any, classes: int = 4) -> Any:
    return layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def residual_sums(x: Any) -> Any:
    """A small Xception: the stem has an activation, blocks end in a sum of signed maps, and maps of the classes are pooled."""
    x = conv(8, "stem")(x)
    for number in range(2):
        shortcut = conv(8, f"shortcut{number}", None, 2, 1)(x)
        branch = layers.MaxPooling2D(2, padding="same")(conv(8, f"branch{number}", None)(layers.ReLU()(x)))
        x = layers.Add(name=f"sum{number}")([shortcut, branch])
    return layers.Softmax()(layers.GlobalAveragePooling2D()(conv(4, "classes", None)(x)))


def sums_on_the_stems_grid(x: Any) -> Any:
    x = conv(8, "stem", strides=2)(x)
    for number in range(2):
        x = layers.Add(name=f"sum{number}")([x, conv(8, f"branch{number}", None)(x)])
    return pooled(x)


def preactivated(x: Any) -> Any:
    x = conv(8, "stem", None, 2)(x)
    x = layers.Add(name="sum")([x, conv(8, "branch", None)(layers.ReLU(name="before")(x))])
    return pooled(layers.ReLU(name="last")(layers.BatchNormalization(name="norm")(x)))


def branches(x: Any) -> Any:
    x = conv(8, "stem")(x)
    return pooled(layers.Concatenate(name="joined")([conv(4, "left", None, 2)(x), conv(4, "right", "relu", 2)(x)]))


def pooled_and_normalised(x: Any) -> Any:
    x = layers.BatchNormalization(name="norm")(layers.MaxPooling2D(name="pool")(conv(8, "features")(x)))
    return layers.Dense(4)(layers.Flatten()(x))


def flattened_maps(x: Any) -> Any:
    return layers.Flatten()(conv(1, "maps", "sigmoid", size=1)(conv(8, "features", strides=4)(x)))


def maps_of_classes(x: Any) -> Any:
    return layers.GlobalAveragePooling2D()(conv(4, "maps", "softmax", size=1)(conv(8, "features", strides=4)(x)))


def rescaled(x: Any) -> Any:
    return pooled(conv(8, "features", None)(layers.ReLU(name="on_image")(layers.Rescaling(1 / 255.0)(x))))


def ensemble(x: Any) -> Any:
    left = pooled(conv(8, "left", None, 4)(conv(8, "left_stem")(x)))
    right = pooled(conv(8, "right", "relu", 4)(conv(8, "right_stem")(x)))
    return layers.Average()([left, right])


def whole_numbers_inside(x: Any) -> Any:
    return pooled(conv(8, "features")(keras.ops.cast(keras.ops.cast(x, "uint8"), "float32") / 255.0))


EXPECTED: dict[Callable[[Any], Any], str] = {
    residual_sums: "sum1",
    sums_on_the_stems_grid: "sum1",
    preactivated: "last",
    branches: "joined",
    pooled_and_normalised: "features",
    flattened_maps: "features",
    maps_of_classes: "features",
    rescaled: "features",
    ensemble: "right",
    whole_numbers_inside: "features",
}


def described(build: Callable[[Any], Any]) -> tuple[LayerInfo, ...]:
    inputs = keras.Input(SHAPE)
    return describe_layers(trace(keras.Model(inputs, build(inputs)), SHAPE))


@pytest.mark.parametrize("build", EXPECTED, ids=lambda f: f.__name__)
def test_auto(build: Callable[[Any], Any]) -> None:
    chosen = choose_layer(described(build))
    assert chosen.path == EXPECTED[build]
    assert chosen.bottleneck == (build is not ensemble)


def test_a_network_without_convolutions_has_no_layer_to_explain() -> None:
    with pytest.raises(ModelError, match="no layer with feature maps"):
        choose_layer(described(lambda x: layers.Dense(4)(layers.Flatten()(layers.Rescaling(1 / 255.0)(x)))))


def bilinear_pooling(x: Any) -> Any:
    """The products of all pairs of channels look like tokens on a grid of 2 x 2."""
    cells = layers.Reshape((256, 4), name="cells")(conv(4, "features", strides=2)(x))
    products = layers.Dot(axes=1, name="products")([cells, cells])
    return layers.Dense(4)(layers.Flatten()(products))


def mixed_pixels(x: Any) -> Any:
    """A dense layer of all pixels, whose outputs are arranged in rows and columns."""
    x = layers.Reshape((4, 4, 4))(layers.Dense(64)(layers.Flatten()(conv(4, "features", strides=2)(x))))
    return pooled(conv(4, "mixed")(x))


@pytest.mark.parametrize(("build", "path"), [(bilinear_pooling, "cells"), (mixed_pixels, "features")])
def test_auto_takes_no_layer_of_unknown_position(build: Callable[[Any], Any], path: str) -> None:
    infos = described(build)
    assert choose_layer(infos).path == path
    assert "position unknown" in {info.suitability for info in infos}


def test_without_a_layer_of_known_position_other_methods_are_named() -> None:
    with pytest.raises(ModelError, match=r"'mixed' covers cannot be told; take .* --method gradient"):
        choose_layer(
            described(
                lambda x: pooled(conv(4, "mixed")(layers.Reshape((4, 4, 4))(layers.Dense(64)(layers.Flatten()(x)))))
            )
        )


def class_token(x: Any) -> Any:
    """A transformer whose score reads a class token; the activations lie in branches beside the shortcuts."""
    x = layers.ZeroPadding1D((1, 0), name="tokens")(layers.Reshape((16, 8))(conv(8, "patches", None, 8)(x)))
    for number in range(2):
        x = layers.Add()([x, layers.MultiHeadAttention(1, 4, name=f"attention{number}")(x, x)])
        x = layers.Add()([x, layers.Dense(8, "gelu", name=f"branch{number}")(x)])
    return layers.Dense(4)(layers.LayerNormalization()(x)[:, 0])


@pytest.mark.parametrize("build", [class_token, sums_on_the_stems_grid, preactivated, branches])
def test_the_better_layer_is_read_and_has_no_less_information(build: Callable[[Any], Any]) -> None:
    infos = described(build)
    known = {info.path: info for info in infos}
    signed = [info for info in infos if info.signed]
    better = [(info, known[info.better]) for info in signed if info.better]
    assert all(other.activated and other.read and other.bottleneck >= info.bottleneck for info, other in better)
    if build is preactivated:
        assert {(info.path, other.path) for info, other in better} >= {("sum", "last"), ("norm", "last")}
    if build is class_token:
        assert known["tokens"].signed
        assert known["attention1"].better is None


def test_all_information_goes_through_a_product_that_carries_a_custom_gradient() -> None:
    """tf.nn.silu ends in IdentityN(x * sigmoid(x), x), of which only the first output is used."""
    found: dict[str, Any] = {}

    @tf.function(autograph=False)
    def run(x: Any) -> Any:
        product = x * tf.sigmoid(x)
        copies = tf.raw_ops.IdentityN(input=[product, x])
        left, right = tf.split(copies[0], 2, axis=-1)
        joined = tf.concat([left, right], -1)
        total = tf.reduce_sum(joined)
        found.update(x=x, product=product, copy=copies[0], beside=copies[1], left=left, joined=joined, total=total)
        return total

    graph = run.get_concrete_function(tf.TensorSpec((1, 4, 4, 2))).graph
    narrow = bottlenecks(found["x"], found["total"])
    assert graph is found["total"].graph
    inside = {name for name, tensor in found.items() if tensor.ref() in narrow}
    assert inside == {"x", "product", "copy", "joined", "total"}


ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    **{
        name: (getattr(keras.activations, name), True)
        for name in ("relu", "relu6", "silu", "gelu", "hard_silu", "mish", "elu")
    },
    "tf.nn.silu": (tf.nn.silu, True),
    "prelu": (layers.PReLU(shared_axes=(1, 2)), True),
    "leaky": (layers.LeakyReLU(), True),
    "written": (lambda x: x * tf.sigmoid(1.702 * x), True),
    "two joined": (lambda x: tf.concat([tf.nn.relu(x), tf.nn.tanh(x)], -1), True),
    "shifted": (lambda x: 2.0 * x - 1.0, False),
    "norm after relu": (lambda x: tf.nn.relu(x) * tf.constant([1.0, 2.0, -3.0]) + tf.constant([0.1, 0.2, 0.3]), False),
    "sum of two": (lambda x: tf.nn.relu(x) + tf.nn.relu(tf.reverse(x, [1])), False),
    "gated by the mean": (lambda x: (x - 1.0) * tf.sigmoid(tf.reduce_mean(x, (1, 2), keepdims=True)), False),
    "pooled": (lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), False),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_are_known_by_what_they_compute(kind: str) -> None:
    function, activated = ACTIVATIONS[kind]
    found: list[bool] = []

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run(x: Any) -> Any:
        y = function(tf.nn.conv2d(x, tf.ones((1, 1, 3, 3)), 1, "SAME"))
        found.append(is_activated(y))
        return y

    run.get_concrete_function(tf.TensorSpec((1, *SHAPE), tf.float32))
    assert found[0] == activated
