"""Operations that the converter of TensorFlow Lite writes for a model of any number of images: they compute what Keras does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from cam_cli.frozen_graphs.cut import cut_out
from cam_cli.frozen_graphs.description import Choice
from cam_cli.frozen_graphs.model import GraphModel
from cam_cli.frozen_graphs.tflite import read_tflite
from cam_cli.graph.layers import describe_layers
from cam_cli.graph.trace import trace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def _flat(x: Any) -> Any:
    x = layers.Reshape((12, 12, 4, 2))(layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x))
    return layers.Flatten()(layers.Conv1D(4, 3)(layers.Reshape((-1, 8))(layers.Permute((1, 2, 4, 3))(x))))


def _dilated(x: Any) -> Any:
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu", name="wide")(x)
    x = layers.UpSampling2D(2)(layers.DepthwiseConv2D(3, dilation_rate=2, name="deep")(x))
    return layers.GlobalAveragePooling2D()(layers.ReLU(4.0, 0.1, 0.5)(layers.GroupNormalization(4)(x)))


@pytest.mark.parametrize(("body", "grids"), [(_flat, {}), (_dilated, {"wide": (6, 6), "deep": (2, 2)})])
def test_a_converted_file_computes_what_its_model_does(
    body: Callable[[Any], Any], grids: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    scores = layers.Dense(4, activation="softmax")(body(layers.Conv2D(8, 3, padding="same")(image)))
    model = keras.Model(image, scores)
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    network = cut_out(read_tflite(path), Choice(), None)
    graph = GraphModel(network.description, network.definition)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(graph(x), model(x), atol=1e-5)
    found = {info.path: info.grid for info in describe_layers(trace(graph, (6, 6, 3)))}
    assert {name: found[name] for name in grids} == grids
