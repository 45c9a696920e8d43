"""Windows without a network: geometry, enlarging, the metrics that move maps, and manifests of before and after."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.images.fit import InputBox
from cam_cli.metrics.stability import stability
from cam_cli.render.upsample import upsample
from cam_cli.results.manifest import MapRecord
from cam_cli.window import WHOLE, Window

pytestmark = pytest.mark.pure

TURNS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@given(TURNS, st.integers(1, 4), st.integers(1, 5))
def test_a_map_turned_upright_turns_back(turns: tuple[bool, bool, bool], rows: int, columns: int) -> None:
    values = np.arange(rows * columns).reshape(rows, columns)
    window = Window(0, 0, 1, 1, *turns)
    np.testing.assert_array_equal(window.as_grid(window.upright(values)), values)
    np.testing.assert_array_equal(WHOLE.upright(values), values)


@pytest.mark.parametrize("sides", [(0, 0, 0, 1), (0, 1, 1, 0.5), (0, 0, float("nan"), 1), (0, 0, float("inf"), 1)])
def test_a_window_without_an_area_is_none(sides: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="area"):
        Window(*sides)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_the_whole_input_lies_where_it_lies_to_the_last_bit(left: float, side: float) -> None:
    box = (left, left / 3, left + side, left / 3 + side)
    assert WHOLE.within(box) == box


@pytest.mark.parametrize(
    "turns", [(False, False, False), (True, False, True), (False, True, True), (True, True, False)]
)
def test_a_picture_cut_and_turned_by_numpy_comes_back(turns: tuple[bool, bool, bool]) -> None:
    """The network's input lies at columns 10 to 50, rows 4 to 24; the grid covers a quarter of it and reaches past it."""
    picture = np.random.default_rng(1).random((30, 60)).astype(np.float32)
    transposed, upside_down, mirrored = turns
    part = picture[14:28, 30:50]
    grid = part[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    window = Window(0.5, 0.5, 1.2, 1.0, *turns)
    found = upsample(grid.T if transposed else grid, (10, 4, 50, 24), (60, 30), window)
    expected = np.full_like(picture, np.nan)
    expected[14:24, 30:50] = picture[14:24, 30:50]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("turns", [(False, False, False), (False, True, True), (True, False, False)])
def test_the_map_of_a_moved_image_is_moved_back_by_the_cells_of_its_own_part(turns: tuple[bool, bool, bool]) -> None:
    pixels = (np.random.default_rng(2).random((40, 40, 3)) * 255).astype(np.uint8)
    window = Window(0.25, 0.25, 0.75, 0.75, *turns)

    def fit(pixels: np.ndarray) -> tuple[np.ndarray, InputBox]:
        return pixels.astype(np.float32), InputBox(0, 0, 40, 40)

    def explained(x: np.ndarray, _seed: int, _n: int) -> list[list[np.ndarray]]:
        return [[window.as_grid(one[10:30, 10:30, 0])] for one in x]

    (found,) = stability(pixels, fit, explained, 0, 0, [window])
    assert found["stability_shift"] == pytest.approx(1)


def test_manifests_of_before_cover_the_whole_input_and_those_of_now_come_back() -> None:
    record = {
        "layer": "a", "method": "gradcam", "target": {"index": 0, "label": "0"}, "state": "ok", "grid": [1, 1], "min": 0,
        "selection": {"filters": None, "region": False, "subset": None}, "max": 1, "derivatives": "exact", "head": "affine",
        "noise": "", "guarded_cells": 0, "noise_effect": None, "standard_error": None, "files": {},
    }  # fmt: skip
    before = MapRecord.model_validate_json(json.dumps(record))
    assert before.window is None
    part = Window(0.1, 0.2, 0.7, 0.9, mirrored=True)
    now = MapRecord.model_validate_json(before.model_copy(update={"window": part}).model_dump_json())
    assert now.window == part
    broken = record | {"window": {"top": 1, "left": 0, "bottom": 0, "right": 1}}
    with pytest.raises(ValueError, match="area"):
        MapRecord.model_validate_json(json.dumps(broken))
