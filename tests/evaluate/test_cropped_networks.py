"""A network that sees a part of the image: a run of it, measured on the whole image, and its report."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import Command
from PIL import Image


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Its layers see the middle of an image of 64 x 48 pixels: rows 12 to 52, columns 8 to 40; it is brightness that counts."""
    network = keras.Sequential(
        [
            keras.Input((64, 48, 3)),
            keras.layers.CenterCrop(40, 32),
            keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", activation="relu", name="fine"),
            keras.layers.AveragePooling2D(2),
            keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", activation="relu", name="coarse"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, kernel_initializer="ones"),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save(tmp_path / "cropped.keras")
    return tmp_path / "cropped.keras"


def test_figures_and_report_know_where_the_maps_are(smoothcam: Command, model: Path, tmp_path: Path) -> None:
    pixels = np.full((128, 96, 3), 5, np.uint8)
    pixels[48:80, 40:48] = pixels[72:80, 40:64] = 255
    images, boxes, out = tmp_path / "images", tmp_path / "boxes.json", tmp_path / "out"
    images.mkdir()
    Image.fromarray(pixels).save(images / "l.png")
    corners = [40, 48, 48, 48, 48, 72, 64, 72, 64, 80, 40, 80]
    annotation = {"id": 1, "image_id": 1, "category_id": 0, "bbox": [40, 48, 24, 32], "area": 448, "iscrowd": 0}
    boxes.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "l.png", "width": 96, "height": 128}],
                "categories": [{"id": 0, "name": "0"}, {"id": 1, "name": "1"}],
                "annotations": [annotation | {"segmentation": [corners]}],
            }
        )
    )
    how = ("--mean", 0, "--std", 255, "--layer", "coarse", "--method", "gradcam,twoscale", "--target", 0)
    assert smoothcam("explain", images, "--model", model, *how, "--write", "raw", "-o", out).code == 0
    maps = json.loads((out / "l.png" / "manifest.json").read_text())["maps"]
    part = {"top": 12 / 64, "left": 8 / 48, "bottom": 52 / 64, "right": 40 / 48}
    assert [one["window"] for one in maps] == [
        pytest.approx(part | {"transposed": False, "upside_down": False, "mirrored": False}) for _ in range(2)
    ]
    done = smoothcam("evaluate", out, "--annotations", boxes, "--faithfulness", "mean", "--format", "json")
    figures = {(total["method"], total["metric"]): total["mean"] for total in json.loads(done.out)["totals"]}
    assert figures["gradcam", "iou_half"] > 0.9
    assert figures["twoscale", "iou_best"] > 0.9
    assert figures["gradcam", "border_energy"] == 0
    # The pixels of the map are hidden first, which leaves nothing of the score's rise above the mean colour.
    assert figures["gradcam", "deletion_auc"] <= figures["gradcam", "insertion_auc"]
    assert smoothcam("report", out).code == 0
    assert '"window":{"top":' in (out / "report.html").read_text()
