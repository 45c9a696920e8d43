"""How a network scales its input is found by what its graph computes, however that is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cam_cli.graph.scaling import Scaling, scaling_of
from cam_cli.graph.trace import trace
from cam_cli.images.fit import Preprocessing
from cam_cli.models.inputs import Overrides, contradictions
from cam_cli.models.load import load_network

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
layers = keras.layers
applications = keras.applications
SHAPE = (32, 40, 3)
RNG = np.random.default_rng(4)
IMAGENET = [np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]


class Written(keras.Layer):  # type: ignore[misc]
    """A layer of one's own that computes anything."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, before: Callable[[Any], Any]) -> None:
        super().__init__()
        self.before = before
        self.body = [layers.Conv2D(3, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(3)]

    def call(self, x: Any) -> Any:
        x = self.before(x)
        for layer in self.body:
            x = layer(x)
        return x


def network(before: Callable[[Any], Any], dtype: str = "float32") -> Any:
    inputs = keras.Input(SHAPE, dtype=dtype)
    maps = layers.Conv2D(3, 3, activation="relu", name="conv")(before(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(maps)))


def adapted(top: float) -> Any:
    norm = layers.Normalization()
    norm.adapt(RNG.uniform(0, top, (8, *SHAPE)))
    return norm


def batch_norm(mean: float, variance: float) -> Any:
    norm = layers.BatchNormalization()
    norm.build((None, *SHAPE))
    norm.set_weights([np.ones(3), np.zeros(3), np.full(3, mean), np.full(3, variance)])
    return norm


def nested(*inside: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE), *inside])


def squashed(x: Any) -> Any:
    return tf.clip_by_value(x, 0.0, 1.0)


OF_BYTES: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "x / 255": lambda: lambda x: x / 255.0,
    "x * (1 / 255)": lambda: lambda x: x * (1 / 255.0),
    "tf mode": lambda: applications.mobilenet_v2.preprocess_input,
    "torch mode": lambda: applications.densenet.preprocess_input,
    "caffe mode": lambda: applications.resnet50.preprocess_input,
    "Rescaling": lambda: layers.Rescaling(1 / 127.5, offset=-1),
    "Normalization": lambda: adapted(255.0),
    "nested": lambda: nested(layers.Resizing(24, 24), layers.Rescaling(1 / 255.0)),
    "batch norm": lambda: batch_norm(120.0, 4000.0),
    "standardisation of each image": lambda: Written(tf.image.per_image_standardization),
    "cast to whole numbers": lambda: Written(lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32)),
    "grey": lambda: Written(lambda x: tf.image.rgb_to_grayscale(x) / 255.0),
    "gamma": lambda: Written(lambda x: (x / 255.0) ** 2.2),
    "transposed": lambda: lambda x: layers.Permute((2, 1, 3))(x) / 255.0,
}
OF_SHARES: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "2x - 1": lambda: lambda x: 2 * x - 1,
    "x - 0.5": lambda: lambda x: x - 0.5,
    "torch mode without / 255": lambda: lambda x: (x - IMAGENET[0]) / IMAGENET[1],
    "Normalization": lambda: adapted(1.0),
    "batch norm": lambda: batch_norm(0.45, 0.06),
    "back to 255, then -1 to 1": lambda: lambda x: layers.Rescaling(1 / 127.5, -1)(layers.Rescaling(255.0)(x)),
    "bounded by 1": lambda: Written(squashed),
}
UNTOLD: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "nothing": lambda: lambda x: x,
    "padding": lambda: layers.ZeroPadding2D(3),
    "resizing": lambda: layers.Resizing(24, 24),
    "crop": lambda: layers.CenterCrop(24, 24),
    "new batch norm": lambda: layers.BatchNormalization(),
    "on features": lambda: lambda x: layers.Conv2D(3, 1)(x) / 255.0,
}
CASES = [
    (top, kind, make)
    for top, cases in ((255, OF_BYTES), (1, OF_SHARES), (None, UNTOLD))
    for kind, make in cases.items()
]


@pytest.mark.parametrize(("top", "kind", "make"), CASES, ids=lambda v: str(v) if not callable(v) else "")
def test_the_values_that_a_network_is_made_for(top: int | None, kind: str, make: Callable[[], Any]) -> None:
    assert scaling_of(trace(network(make()), SHAPE)).top == top


def test_a_subclass_that_scales_in_its_call() -> None:
    model = Subclassed(applications.vgg16.preprocess_input)
    model(np.zeros((1, *SHAPE), np.float32))
    assert scaling_of(trace(model, SHAPE)).top == 255


@pytest.mark.parametrize(
    ("before", "steps"),
    [
        (applications.mobilenet_v2.preprocess_input, "subtracts 127.5 and divides by 127.5"),
        (applications.resnet50.preprocess_input, "reverses the channels and subtracts 103.9, 116.8, 123.7"),
        (lambda x: x / 255.0, "divides by 255"),
        (lambda x: 2 * x - 1, "subtracts 0.5 and multiplies by 2"),
    ],
)
def test_it_is_said_what_the_graph_does(before: Callable[[Any], Any], steps: str) -> None:
    assert scaling_of(trace(network(before), SHAPE)).steps == steps


@pytest.mark.parametrize(
    ("before", "std", "said"),
    [
        (applications.mobilenet_v2.preprocess_input, 1.0, "rescales its input itself, so it gets values from 0 to 255"),
        (lambda x: 2 * x - 1, 255.0, "from values of 0 to 1, so it gets x / 255"),
        (lambda x: x, 255.0, "assuming input values x / 255"),
    ],
)
def test_a_file_without_a_card_is_fed_what_its_graph_wants(
    before: Callable[[Any], Any], std: float, said: str, tmp_path: Path
) -> None:
    network(before).save(tmp_path / "model.keras")
    loaded = load_network(str(tmp_path / "model.keras"))
    assert loaded.preprocessing == Preprocessing(std=(std,))
    assert any(said in remark for remark in loaded.remarks)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_whole_numbers_are_fed_from_0_to_255(dtype: str, tmp_path: Path) -> None:
    network(layers.Rescaling(1 / 255.0), dtype).save(tmp_path / "model.keras")
    loaded = load_network(str(tmp_path / "model.keras"))
    assert loaded.preprocessing.std == (1.0,)
    assert any(f"takes whole numbers, {dtype}" in remark for remark in loaded.remarks)


@pytest.mark.parametrize(
    ("top", "std", "said"),
    [
        (255, 255.0, "scales its input again"),
        (255, 1.0, ""),
        (1, 1.0, "made for values from 0 to 1"),
        (1, 255.0, ""),
        (None, 255.0, ""),
    ],
)
def test_a_card_that_contradicts_the_graph_is_told_so(top: Any, std: float, said: str) -> None:
    found = contradictions(Scaling(top, "divides by 255"), Preprocessing(std=(std,)))
    assert [said in remark for remark in found] == ([True] if said else [])


def test_another_size_than_the_cards_is_said_aloud(tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(inputs))))
    path = tmp_path / "model.keras"
    model.save(path)
    path.with_suffix(".yaml").write_text("name: mine\ninput: {size: [96, 96]}\n")
    assert load_network(str(path)).remarks == ()
    told = load_network(str(path), overrides=Overrides(input_size=(224, 224)))
    assert any("--input-size 224x224: the model's card says 96x96" in remark for remark in told.remarks)
