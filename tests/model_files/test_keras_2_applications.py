"""Networks of keras.applications, saved by Keras 2: some consist of layers that are nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cam_cli.errors import ModelError
from cam_cli.model_files.open import open_model

tf_keras = pytest.importorskip("tf_keras")
convnext = pytest.importorskip("tf_keras.src.applications.convnext")
inception_resnet = pytest.importorskip("tf_keras.src.applications.inception_resnet_v2")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

_SIDES = {
    "ConvNeXtTiny": 32, "DenseNet121": 32, "EfficientNetB0": 32, "EfficientNetV2B0": 32, "InceptionResNetV2": 75,
    "InceptionV3": 75, "MobileNet": 32, "MobileNetV2": 32, "MobileNetV3Small": 32, "NASNetMobile": 32, "RegNetX002": 32,
    "RegNetY002": 32, "ResNet50": 32, "ResNet50V2": 32, "ResNetRS50": 32, "VGG16": 32, "Xception": 71,
}  # fmt: skip
"""A network of each family, and rows and columns of the smallest image that it takes."""

_OWN = {kind.__name__: kind for kind in (convnext.LayerScale, convnext.StochasticDepth)}
"""The layers that Keras 2 itself does not find in a file."""


def with_random_weights(model: Any) -> Any:
    """Give every weight a value of its own, and keep the activations away from 0 and from the largest numbers."""
    random = np.random.default_rng(0)
    values = []
    for weight in model.weights:
        shape, kind = tuple(weight.shape), weight.name.rpartition("/")[2]
        if kind.startswith(("gamma", "moving_variance", "variance")):
            values.append(random.uniform(0.5, 1.5, shape))
        elif shape:
            values.append(random.normal(0, 1.2 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape))
        else:
            values.append(np.asarray(weight))
    model.set_weights(values)
    return model


def check(model: Any, folder: Path) -> None:
    with_random_weights(model)
    x = np.random.default_rng(1).uniform(0, 255, (2, *model.input_shape[1:])).astype(np.float32)
    for name in ("model.h5", "model.keras"):
        model.save(folder / name)
        again = tf_keras.models.load_model(folder / name, custom_objects=_OWN, compile=False)
        expected = again(x, training=False).numpy()
        assert np.ptp(expected) > 1e-3
        np.testing.assert_allclose(open_model(folder / name)(x, training=False), expected, rtol=1e-4, atol=1e-4)


def small_convnext() -> Any:
    return convnext.ConvNeXt([1] * 4, [2, 3, 4, 5], 0.1, input_shape=(32, 32, 3), weights=None, classes=4)


def test_a_convnext_opens(tmp_path: Path) -> None:
    check(small_convnext(), tmp_path)


def test_a_residual_sum_of_inception_resnet_opens(tmp_path: Path) -> None:
    L = tf_keras.layers
    image = tf_keras.Input((8, 8, 3))
    x = inception_resnet.CustomScaleLayer(0.17)([image, L.Conv2D(3, 3, padding="same")(image)])
    check(tf_keras.Model(image, L.Dense(4)(L.GlobalAveragePooling2D()(x))), tmp_path)


def test_another_layer_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    """Own layers called LayerScale are common, and compute something else."""
    small_convnext().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        description = json.loads(file.attrs["model_config"])
        for entry in description["config"]["layers"]:
            if entry["class_name"] == "LayerScale":
                entry |= {"module": "mine", "registered_name": "Custom>LayerScale"}
        file.attrs["model_config"] = json.dumps(description)
    with pytest.raises(ModelError, match="uses 'LayerScale', which no network of Keras consists of"):
        open_model(tmp_path / "model.h5")


@pytest.mark.long
@pytest.mark.parametrize("name", _SIDES)
def test_a_network_of_each_family_opens(name: str, tmp_path: Path) -> None:
    tf_keras.backend.clear_session()
    side = _SIDES[name]
    try:
        model = getattr(tf_keras.applications, name)(input_shape=(side, side, 3), weights=None, classes=4)
    except TypeError:
        pytest.skip("this tf_keras cannot build it beside Keras 3")
    check(model, tmp_path)
