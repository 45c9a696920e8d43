"""Opening any model file, and settling its input: what works, and the one line that says why something does not."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cam_cli.api import explain
from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.layers import choose_layer, describe_layers
from cam_cli.graph.trace import trace
from cam_cli.images.fit import fit
from cam_cli.images.image import RgbImage
from cam_cli.model_files.open import open_model
from cam_cli.models.inputs import Overrides, traced_at_sizes
from cam_cli.models.load import Network, load_network
from cam_cli.models.source import sha256_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

RNG = np.random.default_rng(11)
layers = keras.layers
Array = NDArray[np.float32]


def classifier(shape: tuple[int | None, ...] = (8, 8, 3), *first: Any, kernel: int = 3) -> keras.Model:
    body = [layers.Conv2D(4, kernel, activation="relu", name="conv"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input(shape), *first, *body])


def saved(model: keras.Model, folder: Path, name: str = "model.keras", card: str = "") -> Path:
    path = folder / name
    model.save(path)
    if card:
        path.with_suffix(".yaml").write_text(card)
    return path


def load(path: Path, **overrides: Any) -> Network:
    return load_network(str(path), overrides=Overrides(**overrides))


def refusal(path: Path, error: type[Exception] = ModelError, **overrides: Any) -> str:
    with pytest.raises(error) as caught:
        load(path, **overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outputs(model: keras.Model, x: Array) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), np.float32)


# --- files of Keras 2, written with h5py ------------------ ----------------------------------------------------------

ZEROS, ONES = ({"class_name": kind, "config": {"dtype": "float32"}} for kind in ("Zeros", "Ones"))
GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None, "dtype": "float32"}}


def keras2(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}


def keras2_conv(name: str, kind: str = "Conv2D", **config: Any) -> dict[str, Any]:
    common = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "data_format": "channels_last"}
    more = {
        "dilation_rate": [1, 1],
        "groups": 1,
        "use_bias": False,
        "bias_initializer": ZEROS,
        "bias_regularizer": None,
    }
    return keras2(kind, name, **common, **more, **config)


def keras2_file(path: Path, model: dict[str, Any], weights: dict[str, dict[str, Array]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(model)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"] = b"2.4.0"
        for layer, values in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{key}:0".encode() for key in values]
            for key, value in values.items():
                inner.create_dataset(f"{layer}/{key}:0", data=value)
    return path


KERNEL, DEPTHWISE = RNG.normal(size=(3, 3, 3, 4)).astype("f4"), RNG.normal(size=(3, 3, 4, 1)).astype("f4")
NORM = {key: RNG.uniform(0.5, 2, 4).astype("f4") for key in ("gamma", "beta", "moving_mean", "moving_variance")}
HEAD = {"kernel": RNG.normal(size=(4, 3)).astype("f4"), "bias": RNG.normal(size=3).astype("f4")}
SHAPE = [None, 8, 8, 3]


def keras2_layers(slash: str = "_", **first: Any) -> list[dict[str, Any]]:
    norm = {"axis": [3], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True, "beta_initializer": ZEROS}
    more = {"gamma_initializer": ONES, "moving_mean_initializer": ZEROS, "moving_variance_initializer": ONES}
    return [
        keras2_conv(f"c{slash}1", filters=4, activation="relu", kernel_initializer=GLOROT, **first),
        keras2_conv(
            f"c{slash}2", "DepthwiseConv2D", depth_multiplier=1, activation="linear", depthwise_initializer=GLOROT
        ),
        keras2("BatchNormalization", f"bn{slash}2", **norm, **more),
        keras2("ReLU", "relu6", max_value=6.0, negative_slope=0.0, threshold=0.0),
        keras2("GlobalAveragePooling2D", "pool", data_format="channels_last"),
    ]


def keras2_weights(slash: str = "_") -> dict[str, dict[str, Array]]:
    return {f"c{slash}1": {"kernel": KERNEL}, f"c{slash}2": {"depthwise_kernel": DEPTHWISE}, f"bn{slash}2": NORM}


def dense() -> dict[str, Any]:
    return keras2("Dense", "head", units=3, activation="softmax", use_bias=True, kernel_initializer=GLOROT)


def keras2_functional(entries: list[dict[str, Any]], name: str = "backbone") -> dict[str, Any]:
    listed = [keras2("InputLayer", "image", batch_input_shape=SHAPE, sparse=False, ragged=False), *entries]
    del listed[0]["config"]["trainable"]
    names = [entry["config"]["name"] for entry in listed]
    for entry, before in zip(listed, [None, *names], strict=False):
        entry["name"] = entry["config"]["name"]
        entry["inbound_nodes"] = [[[before, 0, 0, {}]]] if before else []
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[names[-1], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": name, "layers": listed, **ends}}


def late(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries as Keras 2.13 and later wrote them inside a nested model."""
    return [{"module": "keras.layers", **entry, "registered_name": None} for entry in entries]


def sequential(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": list(entries)}}


LEGACY: dict[str, Callable[[], tuple[dict[str, Any], dict[str, Any]]]] = {
    "batch_input_shape in the first layer": lambda: (
        sequential(*keras2_layers(batch_input_shape=SHAPE), dense()),
        keras2_weights() | {"head": HEAD},
    ),
    "a Sequential that is a bare list": lambda: (
        {"class_name": "Sequential", "config": [*keras2_layers(batch_input_shape=SHAPE), dense()]},
        keras2_weights() | {"head": HEAD},
    ),
    "an InputLayer": lambda: (
        sequential(keras2("InputLayer", "x", batch_input_shape=SHAPE), *keras2_layers(), dense()),
        keras2_weights() | {"head": HEAD},
    ),
    "Functional, layer names with slashes": lambda: (
        keras2_functional([*keras2_layers("/"), dense()]),
        {"image": {}, **keras2_weights("/"), "head": HEAD},
    ),
    "a backbone inside a Sequential": lambda: (
        sequential(
            keras2("InputLayer", "backbone_input", batch_input_shape=SHAPE),
            keras2_functional(late(keras2_layers())),
            dense(),
        ),
        {"backbone": {k: v for part in keras2_weights().values() for k, v in part.items()}, "head": HEAD},
    ),
}


def reference(x: Array) -> Array:
    """The same network in NumPy: 3x3 convolution, ReLU, depthwise 3x3, batch norm, ReLU6, mean, softmax."""

    def patches(values: Array) -> Array:
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
        return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))

    a = np.maximum(np.einsum("hwcij,ijck->hwk", patches(x), KERNEL), 0)
    b = np.einsum("hwcij,ijc->hwc", patches(a), DEPTHWISE[..., 0])
    n = (b - NORM["moving_mean"]) / np.sqrt(NORM["moving_variance"] + 1e-3) * NORM["gamma"] + NORM["beta"]
    logits = np.clip(n, 0, 6).mean((0, 1)) @ HEAD["kernel"] + HEAD["bias"]
    scores = np.exp(logits - logits.max())
    return np.asarray(scores / scores.sum(), np.float32)


@pytest.mark.parametrize("form", LEGACY)
def test_a_keras_2_file_gives_what_keras_2_computed(form: str, tmp_path: Path) -> None:
    config, weights = LEGACY[form]()
    path = keras2_file(tmp_path / "old.h5", config, weights)
    before = path.read_bytes()
    network = load(path)
    x = RNG.normal(size=(8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(outputs(network.model, x[None])[0], reference(x), atol=1e-5)
    assert network.input_shape == (8, 8, 3)
    assert path.read_bytes() == before


# --- formats of Keras 3 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "MODEL.HDF5", "model.keras.bak", "no-suffix"])
def test_the_content_decides_how_a_file_is_read(name: str, tmp_path: Path) -> None:
    model = classifier()
    source = saved(model, tmp_path, "source.h5" if "5" in name else "source.keras")
    path = source.rename(tmp_path / name)
    x = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(outputs(load(path).model, x), outputs(model, x))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_unzipped_keras_folder_is_a_model(tmp_path: Path) -> None:
    model = classifier()
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(saved(model, tmp_path)) as archive:
        archive.extractall(folder)
    x = RNG.normal(size=(1, 8, 8, 3)).astype(np.float32)
    network = load(folder)
    np.testing.assert_array_equal(outputs(network.model, x), outputs(model, x))
    (folder / "metadata.json").write_text("{}")
    assert sha256_of(folder) != network.sha256


def test_a_lambda_runs_only_when_asked(tmp_path: Path) -> None:
    for name in ("model.keras", "model.h5"):
        path = saved(classifier((8, 8, 3), layers.Lambda(lambda x: 2 * x)), tmp_path, name)
        assert "--unsafe-lambda" in refusal(path)
        assert load(path, unsafe_lambda=True).input_shape == (8, 8, 3)


class Unregistered(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


def unregistered(x: Any) -> Any:
    return keras.ops.relu(x)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize(
    ("word", "make"),
    [("Unregistered", lambda: Unregistered()), ("unregistered", lambda: layers.Activation(unregistered))],
)
def test_unknown_code_is_named(
    name: str, word: str, make: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(classifier((8, 8, 3), make()), tmp_path, name)
    if word == "Unregistered":
        assert "--import MODULE" in refusal(path)
    assert f"{word}" in refusal(path)


def truncated(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: len(data) // 2]


def zip_of(path: Path, **entries: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name.replace("__", "/"), text)
    return path.read_bytes()


WRONG: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "is empty"),
    "pickle": (lambda _: pickle.dumps({"a": 1}), "is a Python pickle, which can run any code"),
    "git-lfs": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "html": (lambda _: b"<!DOCTYPE html><p>not found", "is a web page"),
    "cut tflite": (lambda _: b"\x1c\0\0\0TFL3\0\0", "is damaged"),
    "onnx": (lambda _: b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\0\x42\x02\x10\x11", "is an ONNX model; convert it"),
    "graph of a SavedModel": (lambda _: b"\x08\x01\x12\x02\x0a\0", "its name must be saved_model.pb"),
    "zipped model": (
        lambda d: zip_of(d / "z", **{"a__keras_model.h5": "x"}),
        "holds a model, 'a/keras_model.h5'; unpack it",
    ),
    "text": (lambda _: b"hello, world", "begins with b'hello, world'"),
    "zip": (lambda d: zip_of(d / "z", notes="x"), "is a zip file but no Keras model"),
    "pytorch": (
        lambda d: zip_of(d / "z", archive__data_pkl="x").replace(b"data_pkl", b"data.pkl"),
        "is a PyTorch file",
    ),
    "cut zip": (lambda d: truncated(saved(classifier(), d, "z.keras")), "is cut short or damaged"),
    "cut h5": (lambda d: truncated(saved(classifier(), d, "z.h5")), "is cut short or damaged"),
    "no json": (lambda d: zip_of(d / "z", **{"config.json": "{"}), "the description of its layers cannot be read"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_model_is_told_for_what_it_is(kind: str, tmp_path: Path) -> None:
    make, message = WRONG[kind]
    path = tmp_path / "model.keras"
    path.write_bytes(make(tmp_path))
    assert message in refusal(path)


def test_folders_and_weights_alone_are_told_for_what_they_are(tmp_path: Path) -> None:
    model = classifier()
    (tmp_path / "ckpt").mkdir()
    for name in ("model.ckpt-1.index", "model.ckpt-1.data-00000-of-00001"):
        (tmp_path / "ckpt" / name).write_bytes(b"\0" * 64)
        assert "is a TensorFlow checkpoint" in refusal(tmp_path / "ckpt" / name)
    assert "is a TensorFlow checkpoint" in refusal(tmp_path / "ckpt")
    (tmp_path / "folder").mkdir()
    assert "is a folder without a Keras model" in refusal(tmp_path / "folder")
    model.save_weights(tmp_path / "a.weights.h5")
    assert "holds weights alone" in refusal(tmp_path / "a.weights.h5")
    legacy = keras2_file(tmp_path / "w.h5", {}, {})
    with h5py.File(legacy, "r+") as file:
        del file.attrs["model_config"]
    assert "--weights FILE" in refusal(legacy)


# --- inputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "order"), [(1, "grey"), (3, "rgb"), (4, "rgba")])
@pytest.mark.parametrize("card", ["", "name: mine\ninput: {mean: [10], std: [5]}\n"])
def test_the_models_channels_decide_the_order(count: int, order: str, card: str, tmp_path: Path) -> None:
    network = load(saved(classifier((8, 8, count)), tmp_path, card=card))
    assert network.preprocessing.channels == order
    assert network.input_shape == (8, 8, count)
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    x, _ = fit(RgbImage(pixels, 8, 8, ()), (8, 8), network.preprocessing)
    assert outputs(network.model, x[None]).shape == (1, 3)
    if order == "rgba":
        np.testing.assert_array_equal(x[..., 3], (255 - 10) / 5 if card else 1)
        np.testing.assert_allclose(x[..., :3], (pixels - 10.0) / 5 if card else pixels / 255.0, atol=1e-5)


@pytest.mark.parametrize(("count", "card"), [(2, ""), (5, ""), (13, "name: mine\ninput: {mean: [10], std: [5]}\n")])
def test_a_model_of_any_other_number_of_channels_takes_the_bands_of_a_file(
    count: int, card: str, tmp_path: Path
) -> None:
    network = load(saved(classifier((8, 8, count)), tmp_path, card=card))
    assert network.preprocessing.channels == "bands"
    assert network.input_shape == (8, 8, count)
    assert any(f"{count} bands as they are" in remark for remark in network.remarks) == (not card)
    values = RNG.random((8, 8, count)).astype(np.float32) * 1000
    image = RgbImage(np.zeros((8, 8, 3), np.uint8), 8, 8, (), values)
    x, _ = fit(image, (8, 8), network.preprocessing, count)
    np.testing.assert_allclose(x, (values - 10) / 5 if card else values, rtol=1e-5)
    assert outputs(network.model, x[None]).shape == (1, 3)


def test_other_inputs_are_refused_with_a_way_on(tmp_path: Path) -> None:
    six = saved(classifier((8, 8, 6)), tmp_path, "six.keras")
    assert "set channels to bands" in refusal(six, UsageError, channels="rgb")
    assert "mean and std must have 1 or 6 values for bands input" in refusal(six, UsageError, mean=(1.0, 2.0))
    assert "channels to rgb or bgr" in refusal(saved(classifier(), tmp_path), UsageError, channels="grey")
    first = layers.Permute((2, 3, 1))
    inside = layers.Conv2D(2, 1, data_format="channels_first")
    for shape, extra in (((3, 8, 8), (inside, first)), ((8, 8, 3), (layers.Permute((3, 1, 2)), inside, first))):
        config_only = keras.Sequential([keras.Input(shape), *extra, layers.GlobalAveragePooling2D(), layers.Dense(2)])
        assert "channels_last" in refusal(saved(config_only, tmp_path, "first.keras"))
    flat = keras.Sequential([keras.Input((64,)), layers.Dense(2)])
    message = refusal(saved(flat, tmp_path, "flat.keras"))
    assert "shape (64,), not (rows, columns, channels)" in message
    assert "keras.layers.Reshape((64,))" in message
    a, b = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    two = keras.Model([a, b], layers.Flatten()(layers.Add()([a, b])))
    assert "2 inputs ('left' (8, 8, 3), 'right' (8, 8, 3))" in refusal(saved(two, tmp_path, "two.keras"))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_input_without_an_axis_of_channels_takes_grey_images(dtype: str, tmp_path: Path) -> None:
    convolved = [layers.Rescaling(0.5), layers.Reshape((8, 10, 1)), layers.Conv2D(4, 3, activation="relu", name="conv")]
    model = keras.Sequential([keras.Input((8, 10), dtype=dtype), *convolved, layers.Flatten(), layers.Dense(3)])
    network = load(saved(model, tmp_path))
    assert network.input_shape == (8, 10, 1)
    assert network.preprocessing.channels == "grey"
    image = np.random.default_rng(4).integers(0, 9, (1, 8, 10)).astype(np.float32)
    (found,) = explain(network.model, image[..., None], request=Request(methods=("gradcam", "gradient"), nsamples=0))
    np.testing.assert_allclose(found.logits, np.asarray(model(image))[0], rtol=1e-4, atol=1e-5)
    assert [m.values.shape for m in found.maps] == [(6, 8), (8, 10)]


@pytest.mark.parametrize("values", [{"mean": (1.0, 2.0)}, {"std": (1.0, 2.0, 3.0, 4.0)}])
def test_mean_and_std_are_checked_before_the_first_image(values: dict[str, Any], tmp_path: Path) -> None:
    path = saved(classifier(), tmp_path)
    assert "must have 1 or 3 values for rgb input" in refusal(path, UsageError, **values)
    key, listed = next(iter(values.items()))
    path.with_suffix(".yaml").write_text(f"name: mine\ninput: {{{key}: {list(listed)}}}\n")
    assert "must have 1 or 3 values for rgb input" in refusal(path, UsageError)


def test_a_free_size_is_taken_aloud_or_as_told(tmp_path: Path) -> None:
    path = saved(classifier((None, None, 3), kernel=1), tmp_path)
    network = load(path)
    assert network.input_shape == (224, 224, 3)
    assert any("224x224" in remark and "--input-size" in remark for remark in network.remarks)
    told = load(path, input_size=(160, 224))
    assert told.input_shape == (160, 224, 3)
    assert not any("--input-size" in remark for remark in told.remarks)
    half = load(saved(classifier((None, 40, 3), kernel=1), tmp_path, "half.keras"))
    assert half.input_shape == (224, 40, 3)


def test_sizes_that_the_model_does_not_take_are_refused_with_the_reason() -> None:
    flat = keras.Sequential([keras.Input((8, 6, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(
        UsageError, match=r"^--sizes 16x12: this model takes 8x6 only, as a layer .*; leave --sizes out$"
    ):
        traced_at_sizes(flat, [(8, 6), (16, 12)], 3)
    pooled = keras.Sequential([keras.Input((7, 7, 3)), layers.AveragePooling2D(7), layers.Flatten(), layers.Dense(3)])
    reason = "^--sizes 10x10: a pooling of 7x7 cells .* sees only a part of a grid of 10x10 cells; leave this size out$"
    with pytest.raises(UsageError, match=reason):
        traced_at_sizes(pooled, [(10, 10)], 3)
    assert [traced.input_shape for traced in traced_at_sizes(classifier(), [(9, 12)], 3)] == [(9, 12, 3)]


@pytest.mark.parametrize("values", [{}, {"mean": (0.0,), "std": (255.0,)}])
def test_a_size_that_the_model_does_not_take_is_refused_with_the_one_it_takes(
    values: dict[str, Any], tmp_path: Path
) -> None:
    flat = keras.Sequential([keras.Input((8, 6, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    path = saved(flat, tmp_path)
    message = refusal(path, UsageError, input_size=(16, 16), **values)
    why = "as a layer in it, such as a dense layer after Flatten, is made for one size"
    assert message == f"--input-size 16x16: this model takes 8x6 only, {why}; leave --input-size out"
    assert load(path, input_size=(8, 6), **values).input_shape == (8, 6, 3)
    path.with_suffix(".yaml").write_text("name: mine\ninput: {size: [16, 16]}\n")
    wrong_card = "the model's card says size 16x16"
    assert refusal(path, UsageError) == f"{wrong_card}: this model takes 8x6 only, {why}; correct the card"
    pooled = saved(classifier(), tmp_path, "pooled.keras")
    assert load(pooled, input_size=(16, 16), **values).input_shape == (16, 16, 3), (
        "it takes any size, whatever it declares"
    )


@pytest.mark.parametrize("how", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("image_size", [(30, 90), (90, 30)])
def test_a_1x1_conv_net_is_explained_on_images_that_are_not_square(
    how: str, image_size: tuple[int, int], tmp_path: Path
) -> None:
    """Catches rows and columns swapped anywhere: with 1x1 kernels the map at a cell follows from that pixel alone."""
    network = load(saved(classifier((None, None, 3), kernel=1), tmp_path), input_size=(20, 28), fit=how)
    height, width = image_size
    image = RgbImage(RNG.integers(0, 256, (height, width, 3), np.uint8), width, height, ())
    x, _ = fit(image, network.input_shape[:2], network.preprocessing)
    assert x.shape == (20, 28, 3)
    traced = trace(network.model, network.input_shape)
    path = choose_layer(describe_layers(traced)).path
    explainer = Explainer(network.model, analyse(traced, [path]), Request(methods=("gradcam",), nsamples=0))
    found = explainer.explain([Subject(x, "a", (1,))])[0].maps[0]
    conv, head = network.model.get_layer("conv"), network.model.layers[-1]
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in conv.weights)
    maps = np.maximum(x @ kernel[0, 0] + bias, 0)
    expected = np.maximum(maps @ keras.ops.convert_to_numpy(head.kernel)[:, 1] / (20 * 28), 0)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def preprocessing_inside() -> Iterator[tuple[str, keras.Model, bool]]:
    def rescale() -> Any:
        return layers.Rescaling(1 / 255.0)

    norm = layers.Normalization(mean=[1.0, 2, 3], variance=[1.0, 1, 1])
    yield "first", classifier((8, 8, 3), rescale()), True
    yield "normalization after resizing", classifier((9, 9, 3), layers.Resizing(8, 8), norm), True
    yield "nested", classifier((8, 8, 3), keras.Sequential([keras.Input((8, 8, 3)), rescale()])), True
    yield "on features", classifier((8, 8, 3), layers.Conv2D(3, 1), rescale()), False
    nested = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1), layers.ReLU(), rescale()])
    yield "on features, nested", classifier((8, 8, 3), nested), False
    yield "none", classifier(), False


@pytest.mark.parametrize(
    ("name", "model", "inside"), list(preprocessing_inside()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_only_a_rescaling_of_the_input_means_0_to_255(
    name: str, model: keras.Model, inside: bool, tmp_path: Path
) -> None:
    network = load(saved(model, tmp_path))
    assert network.preprocessing.std == ((1.0,) if inside else (255.0,))
    assert any("rescales its input itself" in remark for remark in network.remarks) == inside
    assert any("x / 255" in remark for remark in network.remarks) != inside


# --- outputs -------------------------------------------------------------------------------------------------------


def with_outputs(*heads: Callable[[Any], Any]) -> keras.Model:
    image = keras.Input((8, 8, 3))
    features = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    return keras.Model(image, [head(features) for head in heads])


def row(name: str) -> Callable[[Any], Any]:
    return lambda x: layers.Dense(3, name=name)(layers.GlobalAveragePooling2D()(x))


def test_the_only_row_of_scores_is_taken_aloud(tmp_path: Path) -> None:
    network = load(saved(with_outputs(layers.Conv2D(1, 1, name="mask"), row("scores")), tmp_path))
    assert "the model has 2 outputs: taking 'scores', the only row of scores" in network.remarks
    assert analyse(trace(network.model, network.input_shape), ["conv"]).classes == 3


def test_outputs_that_cannot_be_told_apart_are_listed(tmp_path: Path) -> None:
    message = refusal(saved(with_outputs(row("kind"), row("colour")), tmp_path))
    assert "2 outputs ('kind' (3,), 'colour' (3,))" in message


def squeezed(x: Any) -> Any:
    return keras.ops.squeeze(layers.Dense(1)(layers.Flatten()(x)), -1)


@pytest.mark.parametrize(("head", "units"), [(lambda x: layers.Conv2D(3, 6)(x), 3), (squeezed, 1)])
def test_scores_of_one_cell_and_a_single_score_are_rows(head: Any, units: int, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abc"[: max(2, units)]), "utf-8")
    network = load(saved(with_outputs(layers.Conv2D(1, 1, name="mask"), head), tmp_path))
    assert any("taking" in remark and "labels.txt" in remark for remark in network.remarks)
    assert trace(network.model, network.input_shape).output.shape == (1, units)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, activation="relu")
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(3)

    def call(self, x: Any) -> Any:
        features = self.conv(x)
        return {"features": features, "scores": self.head(self.pool(features))}


def test_a_subclassed_model_says_its_size_and_its_scores(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 8, 10, 3), np.float32))
    network = load(saved(model, tmp_path))
    assert network.input_shape == (8, 10, 3)
    assert any("taking 'scores'" in remark for remark in network.remarks)
    assert trace(network.model, network.input_shape).output.shape == (1, 3)


def test_opening_a_file_leaves_nothing_compiled_and_no_temporary_files(tmp_path: Path) -> None:
    model = classifier()
    model.compile("sgd", "mse")
    assert not open_model(saved(model, tmp_path)).compiled
