"""`Normalization` computes with its statistics from the file, however deep it lies and whoever wrote the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cam_cli.model_files.open import load_weights, open_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
SHAPE = (6, 6, 3)
L = keras.layers
Array = NDArray[np.float32]


def images(seed: int) -> Array:
    return np.random.default_rng(seed).uniform(20, 220, (4, *SHAPE)).astype(np.float32)


def adapted() -> Any:
    layer = L.Normalization()
    layer.adapt(images(0))
    return layer


def in_a_model() -> keras.Model:
    i = keras.Input(SHAPE)
    backbone = keras.Model(i, L.Conv2D(4, 3, activation="tanh")(adapted()(i)))
    return keras.Sequential([keras.Input(SHAPE), keras.Sequential([backbone]), L.Flatten(), L.Dense(3)])


def in_a_wrapper() -> keras.Model:
    return keras.Sequential(
        [keras.Input(SHAPE), L.Reshape((1, *SHAPE)), L.TimeDistributed(adapted()), L.Flatten(), L.Dense(3)]
    )


@pytest.mark.parametrize("build", [in_a_model, in_a_wrapper])
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_model_file_brings_the_statistics(build: Any, name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = build()
    model.save(tmp_path / name)
    np.testing.assert_allclose(open_model(tmp_path / name)(images(1)), model(images(1)), atol=1e-5)


def test_a_weights_file_brings_the_statistics(tmp_path: Path) -> None:
    model, other = in_a_model(), in_a_model()
    model.save(tmp_path / "model.h5")
    for layer in other._flatten_layers():
        if isinstance(layer, L.Normalization):
            layer.adapt(images(0) * 3 + 40)
    load_weights(other, tmp_path / "model.h5")
    np.testing.assert_allclose(other(images(1)), model(images(1)), atol=1e-5)
