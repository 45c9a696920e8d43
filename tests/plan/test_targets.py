"""Which classes an image is explained for, and the picture that shows several at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from cam_cli.errors import ImageError, UsageError
from cam_cli.models.labels import Label, Labels
from cam_cli.plan.targets import read_targets
from cam_cli.render.colour import class_colours
from cam_cli.render.joint import MOST_CLASSES, joint

LABELS = Labels((Label(0, "hen", "n01"), Label(1, "ice bear", "n02", ("polar bear",)), Label(2, "macaw", "n03")))
ROOT = Path("photos")


def test_the_common_targets_come_first_and_each_once() -> None:
    targets = read_targets(["top2", "macaw", "predicted", "2"], None, LABELS, 3, ROOT)
    assert targets.of(PurePosixPath("a.jpg")) == (-1, -2, 2)
    assert targets.count == 3


@pytest.mark.parametrize("folder", ["n02", "ice bear", "ice_bear", "Polar Bear", "1"])
def test_a_folder_is_named_for_a_class_in_several_ways(folder: str) -> None:
    targets = read_targets(["predicted", "folder"], None, LABELS, 3, ROOT)
    assert targets.of(PurePosixPath("val") / folder / "a.jpg") == (-1, 1)
    assert targets.count == 2
    at_the_root = read_targets(["folder"], None, LABELS, 3, Path("x") / folder)
    assert at_the_root.of(PurePosixPath("a.jpg")) == (1,)


def test_a_folder_named_for_no_class_is_that_images_failure() -> None:
    with pytest.raises(ImageError, match="its folder 'misc' is named for no class") as caught:
        read_targets(["folder"], None, LABELS, 3, ROOT).of(PurePosixPath("misc/a.jpg"))
    assert caught.value.stage == "target"


def test_a_table_gives_single_images_further_classes(tmp_path: Path) -> None:
    table = tmp_path / "targets.csv"
    table.write_text("path,target\na.jpg,hen\nb/c.jpg,n03\nb/c.jpg,0\n./d.jpg,polar bear\n")
    targets = read_targets(["predicted"], table, LABELS, 3, ROOT)
    assert targets.count == 3
    assert targets.of(PurePosixPath("a.jpg")) == (-1, 0)
    assert targets.of(PurePosixPath("b/c.jpg")) == (-1, 2, 0)
    assert targets.of(PurePosixPath("d.jpg")) == (-1, 1)
    with pytest.raises(ImageError, match="has no row for it"):
        targets.of(PurePosixPath("e.jpg"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,target\na.jpg,hen\n", r"targets\.csv:1: the first line must name the columns path and target"),
        (
            "path,target\na.jpg,hen\nb.jpg,hem\n",
            r"targets\.csv:3: target 'hem': no class of that name; the model has 'hen'",
        ),
        ("path,target\na.jpg,7\n", r"targets\.csv:2: target 7: the model has 3 classes"),
        ("", r"targets\.csv:1: the first line"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "targets.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_targets(["predicted"], table, LABELS, 3, ROOT)


def test_predicted_and_true_class_side_by_side(smoothcam: Callable, model_file: Path, tmp_path: Path) -> None:
    """The ImageNet layout: one folder a class; an image whose prediction is its true class has one map, not two alike."""
    rng = np.random.default_rng(0)
    for folder in ("0", "1", "2"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "val" / folder / "a.png")
    common = ("explain", tmp_path / "val", "--model", model_file, "-o", tmp_path / "out", "--json")
    ended = smoothcam(*common, "--target", "predicted", "--target", "folder", "--write", "overlay,joint")
    assert ended.code == 0, ended.err
    for row in ended.rows:
        predicted, true = row["predictions"][0]["index"], int(row["path"].split("/")[0])
        assert [entry["target"]["index"] for entry in row["maps"]] == list(dict.fromkeys((predicted, true)))
        shown = [entry["target"]["index"] for entry in row["maps"] if entry["state"] == "ok"]
        assert [entry["targets"] for entry in row["joint"]] == ([shown] if len(shown) > 1 else [])
        for entry in row["joint"]:
            assert (tmp_path / "out" / row["path"] / entry["file"]).is_file()
    again = smoothcam(*common, "--target", "predicted", "--target", "folder", "--write", "overlay,joint")
    assert all(row["skipped"] for row in again.rows)
    other = smoothcam(*common, "--target", "folder", "--write", "overlay,joint")
    assert not any(row["skipped"] for row in other.rows)


def test_a_changed_row_of_the_table_redoes_its_image_alone(
    smoothcam: Callable, model_file: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "in" / f"{name}.png")
    table = tmp_path / "targets.csv"
    run = ("explain", tmp_path / "in", "--model", model_file, "-o", tmp_path / "out", "--json", "--targets-from", table)
    table.write_text("path,target\na.png,0\nb.png,1\n")
    assert smoothcam(*run).code == 0
    table.write_text("path,target\na.png,0\nb.png,2\n")
    assert [row["skipped"] for row in smoothcam(*run).rows] == [True, False]
    manifest = json.loads((tmp_path / "out" / "b.png" / "manifest.json").read_text())
    assert manifest["settings"]["targets"] == [-1, 2]


def names_of(maps: np.ndarray) -> list[str]:
    return [f"class {i}" for i in range(len(maps))]


def test_each_pixel_has_the_colour_of_the_class_that_claims_it() -> None:
    photo = np.full((60, 90, 3), 128, np.uint8)
    maps = np.zeros((3, 60, 90), np.float32)
    maps[0, :, :30], maps[1, :, 30:60], maps[2, :, 60:] = 1, 1, 1
    maps[:, :, 85:] = np.nan
    picture = np.asarray(joint(photo, maps, names_of(maps), 1.0))
    assert picture.shape[1] == 90
    assert picture.shape[0] > 60
    for i, column in enumerate((15, 45, 75)):
        np.testing.assert_array_equal(picture[30, column], class_colours()[i])
    assert np.ptp(picture[30, 87].astype(int)) == 0
    legend = picture[60:].reshape(-1, 3)
    for colour in class_colours()[:3]:
        assert (legend == colour).all(axis=1).any()


def test_where_nothing_is_claimed_the_grey_photo_shows() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    maps = np.zeros((2, 40, 50), np.float32)
    picture = np.asarray(joint(photo, maps, names_of(maps), 0.6))[:40]
    assert np.ptp(picture.astype(int), axis=-1).max() == 0


@pytest.mark.parametrize("count", [0, MOST_CLASSES + 1])
def test_more_classes_than_colours_are_refused(count: int) -> None:
    maps = np.zeros((count, 8, 8), np.float32)
    with pytest.raises(ValueError, match="classes fit in one picture"):
        joint(np.zeros((8, 8, 3), np.uint8), maps, names_of(maps), 0.6)
