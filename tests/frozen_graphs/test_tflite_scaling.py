"""A `.tflite` file whose converter folded the division by 255 into the first weights gets values from 0 to 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from cam_cli.frozen_graphs.tflite import read_tflite
from cam_cli.models.inputs import Overrides
from cam_cli.models.load import load_network

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def _converted(path: Path, *, scaled: bool, normed: bool, half: bool) -> Path:
    """Write a network as trained: its batch norm makes outputs of spread 1 of images of a quarter's spread."""
    keras.utils.set_random_seed(0)
    image: Any = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(image) if scaled else image
    x = layers.Conv2D(8, 3, name="first")(x)
    norm = layers.BatchNormalization()
    x = layers.ReLU()(norm(x) if normed else x)
    scores = layers.Dense(4, activation="softmax")(layers.Flatten()(layers.Conv2D(8, 3)(x)))
    model = keras.Model(image, scores)
    if normed:
        norm.moving_variance.assign(np.full(8, 1 / 16, np.float32))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(("normed", "half"), [(True, False), (False, True)])
def test_the_size_of_the_first_weights_tells_the_values_of_images(
    scaled: bool, normed: bool, half: bool, tmp_path: Path
) -> None:
    source = read_tflite(_converted(tmp_path / "a.tflite", scaled=scaled, normed=normed, half=half))
    assert (source.mean, source.std) == (((0.0,), (1.0,)) if scaled else ((), ()))
    assert ("0 to 255" if scaled else "--mean 0 --std 1") in source.scaling_remark


def test_what_was_found_is_used_and_said_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    path = _converted(tmp_path / "a.tflite", scaled=True, normed=True, half=False)
    network = load_network(str(path))
    assert set(network.preprocessing.std) == {1.0}
    assert any("0 to 255" in remark for remark in network.remarks)
    network = load_network(str(path), overrides=Overrides(mean=(0.0,), std=(255.0,)))
    assert set(network.preprocessing.std) == {255.0}
    assert not any("first weights" in remark for remark in network.remarks)
