"""Files of Keras 2 give what Keras 2 computed: files that it wrote, and every kind of layer and composition, by tf_keras."""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import mostly_long
from keras_2_networks import SHAPE, networks, with_random_weights
from numpy.typing import NDArray

from cam_cli.errors import ModelError
from cam_cli.graph.trace import walk
from cam_cli.model_files.legacy_operations import OPERATIONS
from cam_cli.model_files.open import open_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

DATA = Path(__file__).parent.parent / "data" / "keras2"
NETWORKS: dict[str, Any] = {}
with suppress(ImportError):
    import tf_keras

    NETWORKS = networks(tf_keras, tf)
needs_tf_keras = pytest.mark.skipif(not NETWORKS, reason="needs tf_keras")
WRITTEN = sorted(path.name for path in DATA.iterdir() if path.suffix != ".npy")
WITHOUT_KERAS_FORMAT = {"preprocess_input of ResNet50", "an ellipsis", "a new axis"}
"""Networks with an index that Keras 2 cannot write into a `.keras` file."""

Array = NDArray[np.float32]


def outputs(model: Any, x: Array) -> Array:
    return np.asarray(model(x, training=False), np.float32)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_keras_2_wrote_gives_what_keras_2_computed(name: str) -> None:
    """Written by TensorFlow 2.15.1, and 2.13.1 where the name says so; the arrays are its outputs."""
    path = DATA / name
    x = np.load(DATA / ("x_2_13.npy" if "2_13" in name else "x.npy"))
    np.testing.assert_allclose(outputs(open_model(path), x), np.load(path.with_suffix(".npy")), atol=1e-5)


@needs_tf_keras
@pytest.mark.parametrize("kind", mostly_long(sorted(NETWORKS, key=lambda kind: zlib.crc32(kind.encode())), 50))
def test_a_network_of_tf_keras_gives_the_same_from_both_formats(kind: str, tmp_path: Path) -> None:
    tf_keras.backend.clear_session()
    try:
        model = with_random_weights(NETWORKS[kind]())
    except TypeError:
        pytest.skip("this tf_keras cannot build it beside Keras 3")
    x = np.random.default_rng(1).uniform(0, 1, (2, *SHAPE)).astype(np.float32)
    expected = outputs(model, x)
    for name in ("model.h5", "model.keras"):
        if name == "model.keras" and kind in WITHOUT_KERAS_FORMAT:
            continue
        model.save(tmp_path / name)
        opened = open_model(tmp_path / name)
        np.testing.assert_allclose(outputs(opened, x), expected, rtol=1e-5, atol=1e-5)
        assert opened.count_params() <= model.count_params()


@needs_tf_keras
def test_a_renamed_file_is_still_read_as_what_it_is(tmp_path: Path) -> None:
    for name in ("func.h5", "func.keras"):
        path = tmp_path / f"renamed{'.keras' if name.endswith('h5') else '.h5'}"
        shutil.copy(DATA / name, path)
        np.testing.assert_allclose(
            outputs(open_model(path), np.load(DATA / "x.npy")), np.load(DATA / "func.npy"), atol=1e-5
        )


def test_an_unzipped_and_a_compressed_file_of_keras_2_are_the_same_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "mha.keras") as archive:
        archive.extractall(tmp_path / "folder")
        with zipfile.ZipFile(tmp_path / "small.keras", "w", zipfile.ZIP_DEFLATED) as target:
            for name in archive.namelist():
                target.writestr(name, archive.read(name))
    for path in (tmp_path / "folder", tmp_path / "small.keras"):
        np.testing.assert_allclose(
            outputs(open_model(path), np.load(DATA / "x.npy")), np.load(DATA / "mha.npy"), atol=1e-5
        )


def test_calls_of_an_inner_model_count_from_0_or_1(tmp_path: Path) -> None:
    """TensorFlow 2.2 and 2.3 counted those of a Sequential without an input layer from 0."""

    def from_0(config: Any) -> Any:
        text = json.dumps(config)
        assert '["encoder", 1, 0' in text
        return json.loads(text.replace('["encoder", 1, 0', '["encoder", 0, 0'))

    opened = open_model(changed(tmp_path, "nested_seq_encoder.h5", from_0))
    np.testing.assert_allclose(
        outputs(opened, np.load(DATA / "x.npy")), np.load(DATA / "nested_seq_encoder.npy"), atol=1e-5
    )


# --- what has no counterpart is refused by name


def changed(folder: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """Copy an `.h5` file of Keras 2 with its description changed."""
    path = Path(shutil.copy(DATA / name, folder))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))
    return path


def with_values(kind: str, **values: Any) -> Callable[[Any], Any]:
    """Return a change of the arguments of each layer of a kind."""

    def change(config: Any) -> Any:
        for entry in config["config"]["layers"]:
            if entry["class_name"] == kind:
                entry["config"] |= values
        return config

    return change


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("crnn.h5", with_values("LSTM", time_major=True), "LSTM layer 'lstm' with time_major=True"),
        ("func.h5", with_values("Conv2D", class_name=0, padding=7), "Keras model: "),
        ("func.h5", with_values("InputLayer", ragged=True), "with ragged=True"),
    ],
)
def test_what_keras_3_does_not_offer_is_said(file: str, change: Any, said: str, tmp_path: Path) -> None:
    message = refusal(changed(tmp_path, file, change))
    assert said in message
    assert len(message) < len(str(tmp_path)) + 500, "no dump of a config"


@pytest.mark.parametrize(
    "function", ["io.write_file", "py_function", "io.read_file", "saved_model.load", "math.__dict__"]
)
def test_only_operations_of_the_list_are_called(function: str, tmp_path: Path) -> None:
    def change(config: Any) -> Any:
        for entry in config["config"]["layers"]:
            if entry["class_name"] == "GlobalAveragePooling2D":
                entry["class_name"] = "TFOpLambda"
                entry["config"] = {"name": entry["name"], "trainable": True, "dtype": "float32", "function": function}
                entry["inbound_nodes"] = [["conv2d", 0, 0, {"contents": "x"}]]
        return config

    assert f"calls tf.{function}," in refusal(changed(tmp_path, "func.h5", change))
    assert function not in OPERATIONS


def test_every_operation_of_the_list_exists() -> None:
    for function in OPERATIONS - {"__operators__.add", "__operators__.getitem"}:
        owner: Any = tf
        for name in function.split("."):
            owner = getattr(owner, name)
        assert callable(owner)


def test_a_weight_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "func.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv2d"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:1]
    assert "it has 1 weights for layer 'conv2d', which takes 2" in refusal(path)
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["layer_names"] = [b"dense"]
    assert "it has no weights for layer 'conv2d'" in refusal(path)


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [("keras_version", "1.2.2", "was written by Keras 1"), ("backend", b"theano", "whose convolutions are mirrored")],
)
def test_older_files_than_can_be_read_right_are_refused(attribute: str, value: Any, said: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "func.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        for owner in (file, file["model_weights"]):
            owner.attrs[attribute] = value
    assert said in refusal(path)


# --- meanings


def test_hard_sigmoid_is_that_of_keras_2() -> None:
    model = open_model(DATA / "se_hardsigmoid.h5")
    gate = next(layer for _, layer in walk(model) if "smoothcam" in str(layer.get_config().get("activation")))
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    np.testing.assert_allclose(np.asarray(gate.activation(x)), np.clip(0.2 * x + 0.5, 0, 1), atol=1e-6)
    again = keras.layers.deserialize(keras.layers.serialize(gate))
    assert again.activation is gate.activation, "a copy of the model must compute the same"


def test_lambdas_of_another_python_are_told_as_such(tmp_path: Path) -> None:
    for code in (b"\x00\x01garbage", b"\xe3\x01", b""):
        function = [base64.b64encode(code).decode(), None, None]
        entry = {"name": "look", "trainable": True, "dtype": "float32", "function": function, "function_type": "lambda"}

        def change(config: Any, entry: Any = entry) -> Any:
            pool = next(e for e in config["config"]["layers"] if e["class_name"] == "GlobalAveragePooling2D")
            pool |= {"class_name": "Lambda", "config": entry | {"name": pool["name"]}}
            return config

        path = changed(tmp_path, "func.h5", change)
        assert "--unsafe-lambda" in refusal(path)
        message = refusal(path, unsafe_lambda=True)
        assert "saved by another Python version" in message
        assert "without Lambda" in message


def saved_lambda(function: Any, path: Path, **options: Any) -> Any:
    image = tf_keras.Input(SHAPE)
    x = tf_keras.layers.Lambda(function, **options)(tf_keras.layers.Conv2D(4, 3)(image))
    x = tf_keras.layers.Dense(3)(tf_keras.layers.GlobalAveragePooling2D()(x))
    model = with_random_weights(tf_keras.Model(image, x))
    model.save(path)
    return model


@needs_tf_keras
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_the_code_of_a_lambda_finds_the_names_of_keras_2(name: str, tmp_path: Path) -> None:
    K = tf_keras.backend
    K_and_tf = eval("lambda t: t * K.mean(t, axis=3, keepdims=True) + tf.nn.relu(t)", {"K": K, "tf": tf})
    with_default = eval("lambda t, axis=1: K.l2_normalize(t, axis=axis) + np.float32(2)", {"K": K, "np": np})
    x = np.random.default_rng(1).uniform(0, 1, (2, *SHAPE)).astype(np.float32)
    for function in (K_and_tf, with_default):
        model = saved_lambda(function, tmp_path / name)
        assert "add --unsafe-lambda" in refusal(tmp_path / name)
        opened = open_model(tmp_path / name, unsafe_lambda=True)
        np.testing.assert_allclose(outputs(opened, x), outputs(model, x), atol=1e-5)


@needs_tf_keras
def test_a_name_that_the_code_of_a_lambda_lacks_is_told(tmp_path: Path) -> None:
    saved_lambda(eval("lambda t: t * own_scale", {"own_scale": 3.0}), tmp_path / "model.h5")
    message = refusal(tmp_path / "model.h5", unsafe_lambda=True)
    assert "a Lambda layer whose code uses 'own_scale', which is not in the file" in message
