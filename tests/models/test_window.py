"""The heat of an overlay lies on what the network saw there, whatever the network cuts, pads, flips or swaps on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from cam_cli import Request, explain
from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage
from cam_cli.engine.maps import SaliencyMap
from cam_cli.errors import UsageError
from cam_cli.executors.artefacts import publish_map
from cam_cli.images.fit import InputBox
from cam_cli.models.labels import Labels
from cam_cli.render.colour import table

SHAPE = (64, 48, 3)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
Step = Callable[[Any], Any]


class Operations(layers.Layer):
    """Plain operations inside a model."""

    def __init__(self, run: Step) -> None:
        super().__init__()
        self.run = run

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.run(x)


def bright() -> np.ndarray:
    """Where the image is bright: a letter L, which looks otherwise mirrored, upside down or on its side."""
    where = np.zeros(SHAPE[:2], np.bool_)
    where[24:40, 20:24] = where[36:40, 20:32] = True
    return where


def network(branches: Mapping[str, Sequence[Step]]) -> keras.Model:
    """A network with a layer for each branch, as bright as its input: all that moves anything are the steps below."""
    image = keras.Input(SHAPE)
    pooled = []
    for number, steps in enumerate(branches.values()):
        x = image
        for step in steps:
            x = step(x)
        x = layers.DepthwiseConv2D(1, depthwise_initializer="ones", use_bias=False, name=f"seen_{number}")(x)
        pooled.append(layers.GlobalAveragePooling2D()(x))
    joined = layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
    return keras.Model(image, layers.Dense(2, kernel_initializer="ones")(joined))


def heats(branches: Mapping[str, Sequence[Step]], folder: Path) -> dict[str, np.ndarray]:
    """Where the heatmap that a run writes is brighter than half of its brightest colour, (64, 48), for each branch."""
    pixels = np.repeat(bright()[..., None], 3, axis=2).astype(np.float32)
    paths = [f"seen_{number}" for number in range(len(branches))]
    request = Request(methods=("activations",), nsamples=0)
    maps = explain(network(branches), pixels[None], paths, [0], request)[0].maps
    return {name: drawn(saliency, pixels, folder) for name, saliency in zip(branches, maps, strict=True)}


def drawn(saliency: SaliencyMap, pixels: np.ndarray, folder: Path) -> np.ndarray:
    box = InputBox(0, 0, SHAPE[1], SHAPE[0])
    image = DecodedImage("0" * 64, SHAPE[1], SHAPE[0], (), pixels, (255 * pixels).astype(np.uint8), box)
    record = publish_map(saliency, image, Labels(), folder, RunConfig(write=("heatmap",)))
    assert record.files.heatmap is not None
    path = folder / record.files.heatmap
    with Image.open(path) as written:
        shown = np.asarray(written.convert("RGB"), np.float32)
    path.unlink()
    return shown @ LUMA > table("inferno")[128] @ LUMA


def conv(size: int, padding: str = "same", **how: Any) -> Step:
    """A convolution that leaves every pixel as it is."""
    kernel = np.zeros((size, size, 3, 3), np.float32)
    kernel[size // 2, size // 2] = np.eye(3)

    def initial(shape: Any, dtype: Any = None) -> Any:
        return tf.constant(kernel, dtype)

    return layers.Conv2D(3, size, padding=padding, kernel_initializer=initial, **how)


KERAS_LAYERS: dict[str, list[Step]] = {
    "CenterCrop": [layers.CenterCrop(40, 32)],
    "Cropping2D": [layers.Cropping2D(((3, 11), (7, 1)))],
    "Resizing that crops": [layers.Resizing(48, 48, crop_to_aspect_ratio=True)],
    "Resizing that pads": [layers.Resizing(64, 64, pad_to_aspect_ratio=True)],
    "ZeroPadding2D": [layers.ZeroPadding2D(((16, 4), (0, 8)))],
    "ZeroPadding2D before a convolution that pads too": [layers.ZeroPadding2D(2), conv(3)],
    "ZeroPadding2D larger than its convolution needs": [layers.ZeroPadding2D(8), conv(1, "valid")],
    "Permute": [layers.Permute((2, 1, 3))],
    "Cropping2D of deeper maps": [conv(3), layers.AveragePooling2D(2), layers.Cropping2D(((6, 2), (4, 2)))],
    "ZeroPadding2D of deeper maps": [layers.AveragePooling2D(2), layers.ReLU(), layers.ZeroPadding2D(((4, 0), (0, 6)))],
    "crop of a crop": [layers.CenterCrop(56, 40), conv(3), layers.Cropping2D(((8, 0), (4, 4)))],
    "crop in a nested model": [lambda x: keras.Sequential([layers.CenterCrop(40, 32), conv(3)])(x)],
    "crop, then enlarged": [layers.CenterCrop(40, 32), layers.UpSampling2D(2, interpolation="nearest")],
    "crop, then residual": [layers.Cropping2D(4), lambda x: layers.Add()([x, conv(3)(x)])],
    "crop, then squeeze and excite": [
        layers.Cropping2D(4),
        lambda x: layers.Multiply()([x, layers.Dense(3, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))]),
    ],
    "crop, then normalised": [layers.Cropping2D(4), layers.Rescaling(2.0), layers.Lambda(lambda x: tf.nn.relu(x))],
}  # fmt: skip
PLAIN_OPERATIONS: dict[str, Step] = {
    "slice": lambda x: x[:, 16:-16, 8:-8],
    "slice from a shape": lambda x: x[:, (tf.shape(x)[1] - 40) // 2 : (tf.shape(x)[1] + 40) // 2, 6:],
    "slice with an ellipsis": lambda x: x[..., 8:, :],
    "tf.slice": lambda x: tf.slice(x, [0, 8, 4, 0], [-1, 40, -1, -1]),
    "central_crop": lambda x: tf.image.central_crop(x, 0.75),
    "crop_to_bounding_box": lambda x: tf.image.crop_to_bounding_box(x, 9, 5, 40, 40),
    "pad_to_bounding_box": lambda x: tf.image.pad_to_bounding_box(x, 9, 5, 80, 60),
    "resize_with_crop_or_pad": lambda x: tf.image.resize_with_crop_or_pad(x, 40, 80),
    "resize_with_pad": lambda x: tf.image.resize_with_pad(x, 64, 64),
    "crop_and_resize": lambda x: tf.image.crop_and_resize(
        x, tf.tile([[8 / 63, 4 / 47, 55 / 63, 43 / 47]], [tf.shape(x)[0], 1]), tf.range(tf.shape(x)[0]), (48, 40)
    ),
    "gather": lambda x: tf.gather(x, tf.range(10, 50), axis=1),
    "split": lambda x: tf.split(x, [16, 40, 8], axis=1)[1],
    "concatenated zeros": lambda x: tf.concat([tf.zeros_like(x[:, :8]), x], axis=1),
    "mirror pad": lambda x: tf.pad(x, [[0, 0], [6, 0], [0, 0], [0, 0]], "REFLECT"),
    "every second row upwards": lambda x: x[:, ::-1],
    "mirrored": lambda x: x[:, :, ::-1],
    "reversed": lambda x: tf.reverse(x, [1]),
    "flip_left_right": tf.image.flip_left_right,
    "upside down": tf.image.flip_up_down,
    "transposed": lambda x: tf.transpose(x, (0, 2, 1, 3)),
    "a quarter turn": lambda x: tf.reverse(tf.transpose(x, (0, 2, 1, 3)), [1]),
    "cropped and mirrored": lambda x: x[:, 8:60, 40:7:-1],
    "cropped image by image": lambda x: tf.map_fn(lambda one: tf.image.central_crop(one, 0.75), x),
    "cropped where the shape says so": lambda x: tf.cond(tf.shape(x)[1] > 60, lambda: x[:, 8:48], lambda: x[:, 0:40]),
}


@pytest.fixture(scope="module")
def of_layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return heats(KERAS_LAYERS, tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="module")
def of_operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    branches = {name: [Operations(step)] for name, step in PLAIN_OPERATIONS.items()}
    return heats(branches, tmp_path_factory.mktemp("operations"))


@pytest.mark.parametrize("name", KERAS_LAYERS)
def test_heat_lies_where_layers_of_keras_leave_the_image(name: str, of_layers: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(of_layers[name], bright())


@pytest.mark.parametrize("name", PLAIN_OPERATIONS)
def test_heat_lies_where_plain_operations_leave_the_image(name: str, of_operations: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(of_operations[name], bright())
