"""Kinds of models against an independent GradientTape: each layer, each class, each selection.

Each kind gives a model and a function that computes its layers' outputs and its scores by calling its parts one by one. The
gradients of that function are the tape's, and the maps are the float64 formulas of `oracle`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracle import Options, combine, relu, saliency_from_samples

from cam_cli.api import explain
from cam_cli.engine.request import Request
from cam_cli.engine.selection import Selection

layers, ops = keras.layers, keras.ops
SHAPE, CLASSES = (12, 10, 3), 3
Parts = Callable[[Any], tuple[dict[str, Any], Any]]
Kind = Callable[[], tuple[Any, Parts]]

SELECTIONS = (
    Selection(),
    Selection(filters=(0, 2)),
    Selection(region=True, subset=((0, 1), (2, 3))),
    Selection(filters=(1,), subset=((1, 1), (2, 0))),
)


def conv(name: str, filters: int = 4, **kwargs: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", name=name, **{"activation": "relu", **kwargs})


def dense(units: int = CLASSES, **kwargs: Any) -> Any:
    return layers.Dense(units, name="head", **kwargs)


def mean(x: Any) -> Any:
    return ops.mean(x, axis=(1, 2))


def logits(head: Any, x: Any) -> Any:
    """What a Dense layer computes before its activation."""
    return x @ tf.cast(head.kernel, x.dtype) + tf.cast(head.bias, x.dtype)


def plain() -> tuple[Any, Parts]:
    inputs, c1, c2, head = keras.Input(SHAPE), conv("c1"), conv("c2", 5, strides=2), dense(activation="softmax")
    model = keras.Model(inputs, head(layers.Flatten()(c2(c1(inputs)))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        second = c2(first)
        return {"c1": first, "c2": second}, logits(head, tf.reshape(second, (1, -1)))

    return model, parts


def nested() -> tuple[Any, Parts]:
    inputs, c1, c2 = keras.Input(SHAPE), conv("c1"), conv("c2", 5, strides=2)
    backbone = keras.Model(inputs, c2(c1(inputs)), name="backbone")
    image, head = keras.Input(SHAPE), dense(activation="sigmoid")
    model = keras.Model(image, head(layers.Flatten()(backbone(image))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        second = c2(first)
        return {"backbone/c1": first, "backbone/c2": second}, logits(head, tf.reshape(second, (1, -1)))

    return model, parts


class Written(keras.Model):  # type: ignore[misc]
    """A subclass with operations of its own: squeeze and excite, and layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.norm, self.head = conv("c1"), conv("c2"), layers.LayerNormalization(), dense()
        self.excite = layers.Dense(4, activation="sigmoid", name="excite")

    def call(self, x: Any) -> Any:
        x = self.c2(self.c1(x))
        x = x * self.excite(mean(x))[:, None, None]
        return tf.nn.softmax(self.head(mean(self.norm(x))))


def subclassed() -> tuple[Any, Parts]:
    model = Written()
    model(np.zeros((1, *SHAPE), np.float32))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = model.c1(x)
        second = model.c2(first)
        excited = second * model.excite(mean(second))[:, None, None]
        return {"c1": first, "c2": second}, model.head(mean(model.norm(excited)))

    return model, parts


def residual() -> tuple[Any, Parts]:
    inputs, c1, c2, c3, head = keras.Input(SHAPE), conv("c1"), conv("c2"), conv("c3"), dense()
    add = layers.Add(name="sum")
    x = c1(inputs)
    model = keras.Model(inputs, layers.Softmax()(head(layers.GlobalMaxPooling2D()(c3(add([x, c2(x)]))))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        total = first + c2(first)
        third = c3(total)
        return {"c1": first, "sum": total, "c3": third}, head(tf.reduce_max(third, (1, 2)))

    return model, parts


def scaled_inside() -> tuple[Any, Parts]:
    inputs, c1, head = keras.Input(SHAPE, dtype="uint8"), conv("c1"), dense(activation="softmax")
    model = keras.Model(inputs, head(layers.Flatten()(c1(layers.Rescaling(1 / 127.5, -1)(inputs)))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x / 127.5 - 1)
        return {"c1": first}, logits(head, tf.reshape(first, (1, -1)))

    return model, parts


def cropped_and_normalised() -> tuple[Any, Parts]:
    inputs, c1, norm, head = keras.Input(SHAPE), conv("c1", activation=None), layers.BatchNormalization(), dense()
    x = layers.ReLU(name="active")(norm(c1(layers.Cropping2D(2)(inputs))))
    model = keras.Model(inputs, layers.Activation("softmax")(head(layers.Flatten()(x))))
    rng = np.random.default_rng(8)
    norm.set_weights([rng.uniform(0.5, 1.5, 4).astype(np.float32) for _ in range(4)])

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = tf.nn.relu(norm(c1(x[:, 2:-2, 2:-2]), training=False))
        return {"active": first}, head(tf.reshape(first, (1, -1)))

    return model, parts


def mean_of_two_softmaxes() -> tuple[Any, Parts]:
    inputs, c1, one, other = (
        keras.Input(SHAPE),
        conv("c1"),
        dense(activation="softmax"),
        layers.Dense(CLASSES, "softmax"),
    )
    flat = layers.Flatten()(c1(inputs))
    model = keras.Model(inputs, layers.Average()([one(flat), other(flat)]))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        flat = tf.reshape(first, (1, -1))
        return {"c1": first}, tf.math.log((one(flat) + other(flat)) / 2)

    return model, parts


def smoothed_probabilities() -> tuple[Any, Parts]:
    inputs, c1, head = keras.Input(SHAPE), conv("c1"), dense(activation="softmax")
    model = keras.Model(inputs, 0.9 * head(layers.Flatten()(c1(inputs))) + 0.1 / CLASSES)

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        return {"c1": first}, tf.math.log(0.9 * head(tf.reshape(first, (1, -1))) + 0.1 / CLASSES)

    return model, parts


def softmax_of_each_cell() -> tuple[Any, Parts]:
    inputs, c1, scores = keras.Input(SHAPE), conv("c1"), layers.Conv2D(CLASSES, 1, activation="softmax")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(scores(c1(inputs))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        return {"c1": first}, tf.math.log(mean(scores(first)))

    return model, parts


def one_unit() -> tuple[Any, Parts]:
    inputs, c1, head = keras.Input(SHAPE), conv("c1"), dense(1, activation="sigmoid")
    model = keras.Model(inputs, head(layers.Flatten()(c1(inputs))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        z = logits(head, tf.reshape(first, (1, -1)))
        return {"c1": first}, tf.concat([-z, z], -1)

    return model, parts


def recurrent() -> tuple[Any, Parts]:
    inputs, c1, rows = keras.Input(SHAPE), conv("c1", strides=2), layers.Reshape((6, 20))
    lstm, head = layers.LSTM(5, unroll=True), dense(activation="softmax")
    model = keras.Model(inputs, head(lstm(rows(c1(inputs)))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        return {"c1": first}, logits(head, lstm(tf.reshape(first, (1, 6, 20))))

    return model, parts


def attention() -> tuple[Any, Parts]:
    inputs, c1, attend, head = keras.Input(SHAPE), conv("c1", strides=3), layers.MultiHeadAttention(2, 3), dense()
    tokens = layers.Reshape((16, 4))(c1(inputs))
    model = keras.Model(inputs, layers.Softmax()(head(layers.GlobalAveragePooling1D()(attend(tokens, tokens)))))

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        tokens = tf.reshape(first, (1, 16, 4))
        return {"c1": first}, head(tf.reduce_mean(attend(tokens, tokens), 1))

    return model, parts


def grouped(groups: int) -> tuple[Any, Parts]:
    """Convolutions in groups with a bias, as in ResNeXt; the parts convolve the groups one by one."""
    inputs, c1, head, c4 = keras.Input(SHAPE), conv("c1"), dense(), layers.ReLU(name="c4")
    own = {"groups": groups, "activation": None, "bias_initializer": "random_normal"}
    c2, c3 = conv("c2", 4, **own), conv("c3", 8, strides=2, **own)
    model = keras.Model(inputs, head(layers.Flatten()(c4(c3(c2(c1(inputs)))))))

    def run(layer: Any, x: Any) -> Any:
        pairs = zip(tf.split(x, groups, -1), tf.split(layer.kernel.value, groups, -1), strict=True)
        convolved = [tf.nn.conv2d(part, kernel, layer.strides, "SAME") for part, kernel in pairs]
        return tf.concat(convolved, -1) + layer.bias.value

    def parts(x: Any) -> tuple[dict[str, Any], Any]:
        first = c1(x)
        second = run(c2, first)
        third = run(c3, second)
        fourth = tf.nn.relu(third)
        return {"c1": first, "c2": second, "c3": third, "c4": fourth}, logits(head, tf.reshape(fourth, (1, -1)))

    return model, parts


def two_groups() -> tuple[Any, Parts]:
    return grouped(2)


def as_many_groups_as_channels() -> tuple[Any, Parts]:
    return grouped(4)


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        plain, nested, subclassed, residual, scaled_inside, cropped_and_normalised, mean_of_two_softmaxes,
        smoothed_probabilities, softmax_of_each_cell, one_unit, recurrent, attention, two_groups,
        as_many_groups_as_channels,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_maps_are_those_of_a_gradient_tape(name: str) -> None:
    keras.utils.set_random_seed(3)
    model, parts = KINDS[name]()
    whole_numbers = name == "scaled_inside"
    draw = np.random.default_rng(2)
    image = (
        draw.integers(0, 256, SHAPE).astype(np.float32) if whole_numbers else draw.normal(size=SHAPE).astype(np.float32)
    )
    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(image[None])
        tape.watch(x)
        outputs, scores = parts(x)
        each = tf.unstack(scores[0])
    classes = tuple(range(len(each)))
    request = Request(methods=("gradcam++", "gradcam"), selections=SELECTIONS, nsamples=0)
    (found,) = explain(model, image[None], tuple(outputs), classes, request)
    np.testing.assert_allclose(found.logits, scores[0], rtol=1e-4, atol=1e-5)
    expected = {}
    for path, c in product(outputs, classes):
        A, g = (np.asarray(t, np.float64)[0] for t in (outputs[path], tape.gradient(each[c], outputs[path])))
        for s in SELECTIONS:
            chosen = Options(filters=s.filters, region=s.region, subset=s.subset)
            w = g.mean(axis=(0, 1))
            expected[path, "gradcam", c, s] = relu(combine(w, A, s.filters, s.region, s.subset))
            expected[path, "gradcam++", c, s] = saliency_from_samples([float(each[c])], [g], A, chosen).map
    assert {(m.layer, m.method, m.target, m.selection) for m in found.maps} == expected.keys()
    assert sum(m.state == "ok" for m in found.maps) > len(found.maps) / 3
    for m in found.maps:
        right = expected[m.layer, m.method, m.target, m.selection]
        np.testing.assert_allclose(
            m.values, right, rtol=0, atol=1e-4 * max(float(right.max()), 1e-9), err_msg=str(m.selection)
        )
