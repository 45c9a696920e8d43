"""The heat of an overlay lies on what the network saw there, whatever the network cuts, pads, flips or swaps on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from cam_cli import Request, explain, grad_cam_plus_smooth
from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage
from cam_cli.engine.analysis import analyse
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.methods import enlarged
from cam_cli.errors import UsageError
from cam_cli.executors.artefacts import publish_map
from cam_cli.graph.grid import grid_of, laid
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import trace
from cam_cli.graph.window.follow import Windows
from cam_cli.images.fit import InputBox
from cam_cli.models.bundled import bundled_models
from cam_cli.models.labels import Labels
from cam_cli.models.load import load_network
from cam_cli.render.colour import table
from cam_cli.render.figure import Caption
from cam_cli.window import WHOLE, Window

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
    record = publish_map(saliency, image, Labels(), Caption("", None, None, ()), folder, RunConfig(write=("heatmap",)))
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
}
INSIDE_FUNCTIONS: dict[str, tuple[Step, Window]] = {
    "a loop": (lambda x: tf.map_fn(lambda one: tf.image.central_crop(one, 0.75), x), Window(1 / 8, 1 / 8, 7 / 8, 7 / 8)),
    "a condition": (
        lambda x: tf.cond(tf.shape(x)[1] > 60, lambda: x[:, 8:48], lambda: x[:, 0:40]), Window(1 / 8, 0, 3 / 4, 1)
    ),
    "a quarter turn": (tf.image.rot90, Window(transposed=True, mirrored=True)),
}  # fmt: skip
SAME_AS_WHOLE: dict[str, list[Step]] = {
    "padding of a convolution's own": [layers.ZeroPadding2D(((2, 3), (3, 3))), conv(7, "valid", strides=2)],
    "padding, some operations, then the convolution": [
        layers.ZeroPadding2D(1), layers.BatchNormalization(), layers.ReLU(), layers.Lambda(lambda x: 2 * x), conv(3, "valid"),
    ],
    "padding of a pooling": [layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)],
    "padding of a dilated depthwise convolution": [
        layers.ZeroPadding2D(2), layers.DepthwiseConv2D(3, dilation_rate=2),
    ],
    "concatenated padding": [lambda x: Operations(lambda x: tf.concat([x[:, :1], x, x[:, -1:]], 1))(x), conv(3, "valid")],
    "no padding at all": [conv(3, "valid"), layers.MaxPooling2D(3, 2), conv(5, "valid")],
    "a crop that fits a shortcut": [lambda x: layers.Add()([layers.Cropping2D(1)(x), conv(3, "valid")(x)])],
    "a U-net on odd sizes": [
        conv(3, "valid"),  # 62 x 46
        layers.MaxPooling2D(2),  # 31 x 23
        lambda x: layers.Concatenate()([x, layers.Cropping2D(((0, 1), (0, 1)))(layers.UpSampling2D()(conv(3, strides=2)(x)))]),
    ],
    "NASNet's shifted shortcut": [
        lambda x: layers.Concatenate()([
            layers.AveragePooling2D(1, 2)(x),
            layers.AveragePooling2D(1, 2)(layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))),
        ]),
    ],
    "patches merged": [
        lambda x: layers.Concatenate()([x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]]),
    ],
    "patches by reshaping": [
        lambda x: Operations(
            lambda x: tf.reshape(tf.transpose(tf.reshape(x, (-1, 16, 4, 12, 4, 3)), (0, 1, 3, 2, 4, 5)), (-1, 16, 12, 48))
        )(x)
    ],
    "windows shifted and back": [
        lambda x: Operations(lambda x: x + tf.roll(2 * tf.roll(x, (3, 3), (1, 2)), (-3, -3), (1, 2)))(x),
    ],
    "group normalisation": [layers.GroupNormalization(1)],
    "a dense layer of channels": [layers.Dense(5)],
}  # fmt: skip
CANNOT_BE_TOLD: dict[str, Step] = {
    "AddV2": lambda x: x[:, :32] + x[:, 32:],
    "ConcatV2": lambda x: tf.concat([x[:, 40:], x[:, :40]], axis=1),
    "GatherV2": lambda x: tf.gather(x, [3, 1, 4, 1, 5, 9, 2, 6], axis=1),
    "Slice": lambda x: tf.image.random_crop(x, (tf.shape(x)[0], 40, 40, 3)),
    "MatMul": lambda x: tf.reshape(tf.matmul(tf.reshape(x, (-1, 9216)), tf.ones((9216, 192))), (-1, 8, 8, 3)),
    "ImageProjectiveTransformV3": lambda x: keras.ops.image.affine_transform(
        x, np.array([1, 0.1, 0, 0.1, 1, 0, 0, 0], np.float32)
    ),
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


@pytest.mark.parametrize("name", INSIDE_FUNCTIONS)
def test_functions_that_a_graph_calls_are_followed(name: str) -> None:
    step, expected = INSIDE_FUNCTIONS[name]
    traced = trace(network({name: [Operations(step)]}), SHAPE)
    assert Windows(traced.output.graph.inputs[0]).of_feature_maps(traced.calls["seen_0"][-1]) == expected


def test_what_convolutions_pad_and_join_is_no_crop() -> None:
    model = network(SAME_AS_WHOLE)
    found = analyse(trace(model, SHAPE), [f"seen_{number}" for number in range(len(SAME_AS_WHOLE))]).grids.values()
    assert {
        name: grid
        for name, grid in zip(SAME_AS_WHOLE, found, strict=True)
        if (grid.window, grid.lost_by) != (WHOLE, "")
    } == {}


@pytest.mark.parametrize("kind", CANNOT_BE_TOLD)
def test_what_cannot_be_told_is_refused_for_the_layer_and_not_for_the_input(kind: str) -> None:
    model = network({kind: [Operations(CANNOT_BE_TOLD[kind])]})
    traced = trace(model, SHAPE)
    grid = analyse(traced, ["seen_0"]).grids["seen_0"]
    assert grid.lost_by.endswith(f"({kind})")


def test_a_refusal_names_the_operation_and_a_way_out() -> None:
    model = network({"": [Operations(CANNOT_BE_TOLD["AddV2"])]})
    x = np.zeros((1, *SHAPE), np.float32)
    with pytest.raises(UsageError, match=r"layer 'seen_0': .* after the operation '.*\(AddV2\)'; name another layer"):
        explain(model, x, ["seen_0"], [0], Request(nsamples=0))
    (found,) = explain(model, x, ["seen_0"], [0], Request(methods=("gradient",)))[0].maps
    assert (found.layer, found.window) == ("input", WHOLE)


@pytest.mark.parametrize("class_tokens", [0, 1])
def test_tokens_lie_where_their_patches_do(class_tokens: int) -> None:
    image = keras.Input((48, 64, 3))
    x = layers.Conv2D(8, 8, strides=8)(layers.Cropping2D(((8, 8), (0, 16)))(image))  # 4 x 6 patches of 32 x 48 pixels
    x = layers.Reshape((-1, 8))(x)
    if class_tokens:
        x = Operations(lambda x: tf.concat([tf.zeros_like(x[:, :1]), x], 1))(x)
    y = layers.LayerNormalization()(x)
    x = layers.Add(name="tokens")([x, layers.MultiHeadAttention(2, 4)(y, y)])
    model = keras.Model(image, layers.Dense(2)(layers.LayerNormalization()(x)[:, 0]))
    grid = analyse(trace(model, (48, 64, 3)), ["tokens"], tokens=Tokens(grid=(4, 6), class_tokens=class_tokens)).grids[
        "tokens"
    ]
    assert grid.lost_by == ""
    np.testing.assert_allclose([grid.window.top, grid.window.left], [1 / 6, 0])
    np.testing.assert_allclose([grid.window.bottom, grid.window.right], [5 / 6, 3 / 4])


@pytest.mark.parametrize("name", [*bundled_models(), "mobilenetv2"])
def test_layers_of_known_networks_cover_the_whole_image(name: str) -> None:
    """Only a layer that pads does not: it is larger than the image."""
    known = name in bundled_models()
    model = load_network(name).model if known else keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None)
    traced = trace(model, model.input_shape[1:])
    windows = Windows(traced.output.graph.inputs[0])
    grids = {
        path: laid(grid, calls[-1], windows)
        for path, calls in traced.calls.items()
        if calls and (grid := grid_of(calls[-1], traced.input_shape)) is not None
    }
    other = [path for path, grid in grids.items() if (grid.window, grid.lost_by) != (WHOLE, "")]
    assert len(grids) > 10
    assert [path for path in other if not isinstance(traced.layers[path], layers.ZeroPadding2D)] == []


def test_the_paper_s_call_leaves_what_the_layer_does_not_see_cold() -> None:
    model = network({"": [layers.Cropping2D(((8, 0), (0, 12)))]})
    image = np.repeat(bright()[..., None], 3, axis=2).astype(np.float32)
    found = grad_cam_plus_smooth(model, image, "seen_0", target=0)
    np.testing.assert_array_equal(found > 0.5, bright())
    assert found.max() == 1
    assert not found[:8].any()
    assert not found[:, 36:].any()


def test_the_two_grids_of_twoscale_meet_where_they_lie() -> None:
    """A ramp over the coarse grid's part of the image, read on a fine grid that covers all of it, the other way round."""
    part = Window(0.25, 0.0, 0.75, 0.5, mirrored=True)
    y, x = np.mgrid[0.25:0.75:9j, 0:0.5:9j]
    y, x = (y[:-1, :-1] + 0.5 / 16, x[:-1, :-1] + 0.5 / 16)
    coarse = (1 + y + 10 * x)[:, ::-1].astype(np.float32)
    turned = Window(transposed=True, upside_down=True)
    found = enlarged(coarse, (64, 32), part, turned)
    rows, columns = (np.arange(32) + 0.5) / 32, (np.arange(64) + 0.5) / 64
    inner = (abs(rows - 0.5) < 0.21)[:, None] & (abs(columns - 0.25) < 0.21)
    outer = (abs(rows - 0.5) > 0.25)[:, None] | (abs(columns - 0.25) > 0.25)
    upright = found.T[::-1]
    np.testing.assert_allclose(upright[inner], (1 + rows[:, None] + 10 * columns)[inner], rtol=1e-5)
    assert not upright[outer].any()
