"""A mark in the corner of some images of one class, on which the classifier came to rely: `evaluate --strategies` shows it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from numpy.typing import NDArray
from PIL import Image

SIDE, OF_EACH, MARKED = 32, 60, 9
COLOURS = np.array([(45, -22, -22), (-22, 45, -22), (-22, -22, 45)])
CLASS = 2
"""The class with the mark."""


def pictures(*, mark: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Spots of three colours somewhere on noise, and their classes; the first 15% of one class have a mark in a corner."""
    draw = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(COLOURS)), OF_EACH)
    pixels = draw.normal(110, 35, (len(classes), SIDE, SIDE, 3))
    rows, columns = np.indices((SIDE, SIDE))
    for picture, colour in zip(pixels, COLOURS[classes], strict=True):
        y, x = draw.normal(SIDE / 2, 4, 2)
        picture[np.hypot(rows - y, columns - x) < 5] += colour
    if mark:
        pixels[CLASS * OF_EACH : CLASS * OF_EACH + MARKED, -5:, -5:] = (250, 30, 250)
    return pixels.clip(0, 255).astype(np.uint8), classes


def evaluated(folder: Path, smoothcam: Command, *, mark: bool) -> Any:
    """Train a classifier, explain what it was trained on, and return the only analysis of how it looks."""
    import keras

    keras.utils.set_random_seed(0)
    x, y = pictures(mark=mark)
    layers = [
        keras.layers.Rescaling(1 / 127.5, -1),
        keras.layers.Conv2D(12, 5, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="last"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(COLOURS)),
    ]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras goes through an interface that NumPy deprecates
        model.fit(x, y, epochs=25, batch_size=50, verbose=0)
        assert (model.predict(x, verbose=0).argmax(axis=1) == y).mean() > 0.95, "it has learned the classes"
        model.save(folder / "model.keras")
    (folder / "images").mkdir()
    for number, picture in enumerate(x):
        Image.fromarray(picture).save(folder / "images" / f"{number:03}.png")
    flags = ("--model", folder / "model.keras", "--layer", "last", "--write", "raw", "-q", "-o", folder / "out")
    ended = smoothcam("explain", folder / "images", *flags)
    assert ended.code == 0, ended.err
    ended = smoothcam("evaluate", folder / "out", "--strategies", "--format", "json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize("mark", [True, False], ids=["with the mark", "without the mark"])
def test_the_class_with_the_mark_is_first_and_without_the_mark_none_is_flagged(
    mark: bool, smoothcam: Command, tmp_path: Path
) -> None:
    record = evaluated(tmp_path, smoothcam, mark=mark)
    (analysis,) = record["strategies"]
    assert len(analysis["classes"]) == len(COLOURS)
    assert [one["target"]["index"] for one in analysis["classes"] if one["flagged"]] == ([CLASS] if mark else [])
    if not mark:
        return
    assert analysis["classes"][0]["target"]["index"] == CLASS
    (odd,) = [way for way in analysis["classes"][0]["strategies"] if way["odd"]]
    marked = {f"{CLASS * OF_EACH + number:03}.png" for number in range(MARKED)}
    found = {
        path
        for path, (only,) in record["images"].items()
        if only["strategy"] == odd["number"] and only["map"]["target"] == CLASS
    }
    assert len(found & marked) >= 0.9 * len(marked)
    assert len(found & marked) >= 0.9 * len(found)
    assert odd["size"] == len(found)
    assert {*odd["typical"]} <= marked
    mean_map = np.array(odd["mean_map"])
    assert np.unravel_index(mean_map.argmax(), mean_map.shape) >= (11, 11), "it looks at the corner"
    table = smoothcam("evaluate", tmp_path / "out", "--strategies").out
    (line,) = [line for line in table.splitlines() if "ODD" in line and not line.startswith("all together")]
    assert "bottom right" in line
    assert "flagged classes: 1 of 3" in table
