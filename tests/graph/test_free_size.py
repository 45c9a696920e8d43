"""Networks at sizes other than their own: the same layers run, nothing of the model changes, and what goes wrong is told."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cam_cli.errors import ModelError
from cam_cli.graph.free_size import partial_pooling
from cam_cli.graph.trace import predict, trace, walk

layers = keras.layers


def sequential() -> keras.Model:
    body = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((24, 24, 3)), *body])


def nested() -> keras.Model:
    x = keras.Input((24, 24, 3))
    inner = keras.Input((24, 24, 3))
    branch = keras.Model(inner, layers.Conv2D(5, 3, padding="same")(inner), name="branch")
    stem = keras.Sequential([keras.Input((24, 24, 3)), layers.Conv2D(4, 3, padding="same")], name="stem")
    joined = layers.Concatenate()([stem(x), branch(x)])
    return keras.Model(x, layers.Dense(2, activation="softmax")(layers.GlobalMaxPooling2D()(joined)))


def named_input() -> keras.Model:
    x = keras.Input((24, 24, 3), name="image")
    return keras.Model({"image": x}, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x))))


def grey() -> keras.Model:
    x = keras.Input((24, 24))
    maps = layers.Conv2D(3, 3)(keras.ops.expand_dims(x, -1))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))


def pooled_by(side: int) -> keras.Model:
    x = keras.Input((4 * side, 4 * side, 3))
    maps = layers.Conv2D(3, 3, strides=4, padding="same")(x)
    pooled = layers.AveragePooling2D(side, name="last_pool")(maps)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(pooled)))


@pytest.mark.parametrize("build", [sequential, nested, named_input, grey])
def test_another_size_runs_the_same_layers_and_leaves_the_model_as_it_was(build: Any) -> None:
    model = build()
    channels = 1 if len(model.inputs[0].shape) == 3 else 3
    before = {path: set(vars(layer)) for path, layer in walk(model)}
    x = np.random.default_rng(0).random((40, 36, channels)).astype(np.float32)
    traced = trace(model, x.shape)
    (own,) = predict(model, x[None])
    np.testing.assert_allclose(traced.evaluate([traced.output], [x])[0][0][0], own, atol=1e-6)
    assert {path: set(vars(layer)) for path, layer in walk(model)} == before
    assert model.input_shape in ((None, 24, 24, 3), (None, 24, 24), {"image": (None, 24, 24, 3)})


def test_a_network_with_weights_for_its_cells_refuses_other_sizes() -> None:
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    trace(flat, (8, 8, 3))
    with pytest.raises(ModelError):
        trace(flat, (12, 12, 3))


@pytest.mark.parametrize(
    ("side", "size", "partial"),
    [(7, 28, False), (7, 40, True), (7, 56, False), (7, 60, True), (2, 28, False), (2, 20, False)],
)
def test_a_pooling_that_sees_only_a_part_of_a_larger_grid_is_told(side: int, size: int, partial: bool) -> None:
    traced = trace(pooled_by(side), (size, size, 3))
    why = partial_pooling(traced.input, traced.output)
    assert bool(why) is partial
    if partial:
        cells = size // 4
        assert why == f"a pooling of 7x7 cells in this model sees only a part of a grid of {cells}x{cells} cells"


def test_a_global_pooling_of_few_cells_that_leaves_some_out_is_told() -> None:
    traced = trace(pooled_by(3), (20, 20, 3))  # 5x5 cells, pooled 3x3 to one
    assert "a pooling of 3x3 cells" in partial_pooling(traced.input, traced.output)
