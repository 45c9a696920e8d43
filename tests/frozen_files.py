"""Writers of SavedModels, frozen graphs and `.tflite` files, and readers of them in this process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cam_cli import Request, explain
from cam_cli.frozen_graphs.description import Choice, Kind, ReadRequest
from cam_cli.frozen_graphs.model import GraphModel
from cam_cli.frozen_graphs.read import read_graph
from cam_cli.quiet import native_chatter_silenced

layers = keras.layers
NO_CHOICE = Choice()
KINDS: tuple[Kind, ...] = ("saved_model", "frozen_graph", "tflite")


def written(model: keras.Model, kind: Kind, folder: Path) -> Path:
    """Write a Keras model as a file of a kind, by the tools that people use for it."""
    if kind in ("saved_model", "tflite"):
        exported = folder / "exported"
        with native_chatter_silenced():
            model.export(exported, verbose=False)
            if kind == "saved_model":
                return exported
            path = folder / "lite.tflite"
            path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(exported)).convert())
        return path
    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    path = folder / "frozen.pb"
    path.write_bytes(convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString())
    return path


def opened(path: Path, kind: Kind, choice: Choice = NO_CHOICE, size: tuple[int, int] | None = None) -> GraphModel:
    """Open a file as the product does, but without a process of its own for the parsing."""
    network = read_graph(ReadRequest(path, kind, choice, size))
    return GraphModel(network.description, tf.compat.v1.GraphDef.FromString(network.definition.SerializeToString()))


def with_random_weights(model: keras.Model, seed: int = 1) -> keras.Model:
    """Give a model weights of the size that trained ones have; variances are positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        fan = max(1, int(np.prod(weight.shape[:-1])))
        values = random.normal(0, (2 / fan) ** 0.5 if len(weight.shape) > 1 else 0.1, weight.shape)
        weight.assign(1 + np.abs(values) if "variance" in weight.path or "gamma" in weight.path else values)
    return model


def nested(activation: str = "swish") -> keras.Model:
    """A classifier with what converters treat in different ways: a model inside, batch norms, activations of several steps."""
    backbone = keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            layers.Conv2D(6, 3, padding="same", use_bias=False, name="c1"),
            layers.BatchNormalization(name="bn"),
            layers.Activation(activation, name="act"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu", name="dw"),
        ],
        name="backbone_1.0",
    )
    image = keras.Input((24, 24, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    x = backbone(x)
    y = layers.Conv2D(6, 3, padding="same", activation="gelu", name="c2")(x)
    x = layers.Add(name="sum")([x, y])
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    scores = layers.Dense(5, activation="softmax", name="scores")(layers.Dropout(0.5)(x))
    return with_random_weights(keras.Model(image, scores, name="net"))


def largest_difference(
    first: keras.Model,
    second: keras.Model,
    images: Any,
    names: Iterable[str],
    methods: Iterable[str],
    nsamples: int = 2,
) -> float:
    """Return the largest difference of the maps of two models, as a share of the peak of the first."""
    names = tuple(names)
    wanted = Request(methods=tuple(methods), nsamples=nsamples)
    worst = 0.0
    for one, two in zip(
        explain(first, images, names, (-1, 0), wanted), explain(second, images, names, (-1, 0), wanted), strict=True
    ):
        assert len(one.maps) == len(two.maps)
        for a, b in zip(one.maps, two.maps, strict=True):
            assert (a.layer, a.method, a.target) == (b.layer, b.method, b.target)
            assert a.values.max() > 0 or a.method != "gradcam++"
            worst = max(worst, float(np.abs(a.values - b.values).max() / (a.values.max() or 1)))
    return worst
