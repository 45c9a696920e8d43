"""Evaluations of runs that no network made: which map judges which class, what is missing, and what is odd in a class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from numpy.typing import NDArray

from cam_cli.evaluate.evaluation import evaluate
from cam_cli.evaluate.records import Evaluation
from cam_cli.results.manifest import Manifest
from cam_cli.results.reader import RunReader

pytestmark = pytest.mark.pure
SIDE = 16
WHOLE = {"filters": None, "region": False, "subset": None, "top": None}
MODEL = {"name": "m", "sha256": "0" * 64, "input_size": [SIDE, SIDE]}
SETTINGS = {"input": {"size": [SIDE, SIDE], "fit": "stretch", "channels": "rgb", "mean": [0.0], "std": [1.0]}}
Values = NDArray[np.float32] | None


@dataclass(frozen=True)
class Explained:
    """An image, its maps by class (None: not saved), and its predicted class, by default that of the first map."""

    path: str
    maps: Mapping[int, Values]
    predicted: int | None = None
    root: str | None = None
    sha256: str = ""
    failed: bool = False


def spot(row: int, column: int) -> NDArray[np.float32]:
    values = np.zeros((SIDE, SIDE), np.float32)
    values[row, column] = 1
    return values


BLANK = np.zeros((SIDE, SIDE), np.float32)


def write_run(folder: Path, images: Sequence[Explained], **record: Any) -> Path:
    folder.mkdir(parents=True)
    run = {
        "schema_version": 1,
        "root": str(folder.parent / "images"),
        "settings": SETTINGS,
        "model": MODEL,
        "config": {},
    }
    (folder / "run.json").write_text(json.dumps(run | record))
    with (folder / "index.jsonl").open("w") as index:
        for image in images:
            (folder / image.path).mkdir(parents=True)
            best = next(iter(image.maps), 0) if image.predicted is None else image.predicted
            ranked = [best, *(index for index in image.maps if index != best)]
            manifest = Manifest.model_validate(
                {
                    "status": "failed" if image.failed else "ok",
                    "error": {"stage": "read", "type": "ImageError", "message": "cut off"} if image.failed else None,
                    "fingerprint": "f",
                    "image": {
                        "path": image.path, "root": image.root, "sha256": image.sha256 or image.path, "width": SIDE,
                        "height": SIDE,
                    },
                    "model": MODEL,
                    "settings": SETTINGS,
                    "predictions": [
                        {"index": c, "label": f"class {c}", "probability": 1 / n, "logit": 0.0} for n, c in enumerate(ranked, 1)
                    ],
                    "maps": [
                        {
                            "layer": "last", "method": "gradcam", "target": {"index": c, "label": f"class {c}"},
                            "selection": WHOLE, "state": "blank" if values is not None and values.max() <= 0 else "ok",
                            "grid": [SIDE, SIDE], "min": 0, "max": 1, "derivatives": "exact", "head": "affine", "noise": "",
                            "guarded_cells": 0, "noise_effect": None, "standard_error": None,
                            "files": {"raw": None if values is None else f"{c}.npy"},
                        }
                        for c, values in image.maps.items()
                    ],
                    "versions": {},
                }
            )  # fmt: skip
            manifest.write(folder / image.path)
            for c, values in image.maps.items():
                if values is not None:
                    np.save(folder / image.path / f"{c}.npy", values)
            index.write(json.dumps(manifest.row() | {"finished": "2026-01-01T00:00:00+00:00"}) + "\n")
    return folder


def write_boxes(file: Path, objects: Mapping[str, Mapping[int, tuple[int, int, int, int]]]) -> Path:
    """COCO's instances by the name of the image, then by class: left, top, width, height."""
    names = [*objects]
    kinds = sorted({kind for of_image in objects.values() for kind in of_image})
    coco = {
        "images": [{"id": n, "file_name": name, "width": SIDE, "height": SIDE} for n, name in enumerate(names)],
        "categories": [{"id": kind, "name": f"class {kind}"} for kind in kinds],
        "annotations": [
            {"image_id": n, "category_id": kind, "bbox": box}
            for n, name in enumerate(names)
            for kind, box in objects[name].items()
        ],
    }
    file.write_text(json.dumps(coco))
    return file


def means(found: Evaluation, layer: str = "last") -> dict[tuple[str, str], float]:
    return {(total.method, total.metric): total.mean for total in found.totals if total.layer == layer}


def test_each_annotated_class_is_judged_by_its_own_map(tmp_path: Path) -> None:
    """Image a: the map of class 1 is right, that of class 2 wrong. In image b class 3, which is predicted, is not annotated."""
    images = [
        Explained("a.png", {1: spot(2, 2), 2: spot(2, 2)}),
        Explained("b.png", {3: spot(2, 2), 2: spot(13, 13)}),
    ]
    there, elsewhere = (1, 1, 3, 3), (12, 12, 3, 3)
    boxes = {"a.png": {1: there, 2: elsewhere}, "b.png": {2: elsewhere}}
    run = RunReader(write_run(tmp_path / "out", images))
    found = evaluate(run, write_boxes(tmp_path / "boxes.json", boxes))
    assert means(found)["gradcam", "pointing_game"] == pytest.approx((0.5 + 1) / 2)
    (total,) = [t for t in found.totals if t.metric == "pointing_game" and t.layer == "last"]
    assert total.images == 2
    assert found.missing == {}
    assert found.figures()["pointing_game"] == pytest.approx(0.75), "the baselines are no figure of the run"


def test_maps_that_cost_nothing_stand_beside_the_methods(tmp_path: Path) -> None:
    run = RunReader(write_run(tmp_path / "out", [Explained("a.png", {1: spot(2, 2)})]))
    found = evaluate(run, write_boxes(tmp_path / "boxes.json", {"a.png": {1: (6, 6, 4, 4)}}))
    free = means(found, layer="none")
    assert {method for method, _ in free} == {"centred gaussian", "flat"}
    assert free["centred gaussian", "pointing_game"] == 1
    assert free["flat", "energy_inside"] == free["flat", "iou_half"] == pytest.approx(16 / 256)
    assert free["flat", "instance_coverage"] == 1
    assert free["centred gaussian", "energy_inside"] > 16 / 256
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["baselines"]["a.png"]["flat"]["energy_inside"] == free["flat", "energy_inside"]
    assert not any(layer == "none" for layer in (t.layer for t in evaluate(run).totals)), (
        "there is nothing to compare with"
    )


def test_the_published_tolerance_is_to_be_had(tmp_path: Path, smoothcam: Command) -> None:
    out = write_run(tmp_path / "out", [Explained("a.png", {1: spot(2, 2)})])
    boxes = write_boxes(tmp_path / "boxes.json", {"a.png": {1: (8, 8, 4, 4)}})
    for flags, hit in (((), 0), (("--tolerance", "pixels"), 1)):
        ended = smoothcam("evaluate", out, "--annotations", boxes, *flags, "--format", "json")
        record = json.loads(ended.out)
        (mean,) = [t["mean"] for t in record["totals"] if (t["layer"], t["metric"]) == ("last", "pointing_game")]
        assert mean == hit
        assert record["what"]["pointing_tolerance"] == ("pixels" if flags else "share")


def test_what_is_not_measured_is_counted_and_said(tmp_path: Path, smoothcam: Command) -> None:
    images = [
        Explained("both.png", {1: spot(2, 2), 2: spot(2, 2)}),
        Explained("one of two.png", {1: spot(2, 2)}),
        Explained("another.png", {3: spot(2, 2)}),
        Explained("unknown.png", {1: spot(2, 2)}),
        Explained("unsaved.png", {1: None}),
        Explained("failed.png", {}, failed=True),
    ]
    box = (1, 1, 3, 3)
    boxes = {"both.png": {1: box, 2: box}, "one of two.png": {1: box, 2: box}, "another.png": {1: box, 2: box}}
    file = write_boxes(tmp_path / "boxes.json", boxes)
    out = write_run(tmp_path / "out", images)
    found = evaluate(RunReader(out), file)
    assert found.counted == 6
    assert found.missing == {
        "an annotated class without a map": 1,
        "no map of an annotated class": 1,
        "not annotated": 2,
        "no saved map": 1,
    }
    said = smoothcam("evaluate", out, "--annotations", file).err.splitlines()
    assert len([line for line in said if "of 6 images" in line]) == 4
    assert any("2 of 6 images have no annotation" in line for line in said)
    assert not [line for line in smoothcam("evaluate", out).err.splitlines() if "annot" in line]


def test_images_of_two_roots_are_found_and_measured(tmp_path: Path) -> None:
    """As of a run from one folder and then from another into the same OUT."""
    roots = [tmp_path / "first", tmp_path / "second"]
    for root in roots:
        root.mkdir()
        (root / f"{root.name}.png").touch()
    images = [Explained(f"{root.name}.png", {1: spot(2, 2)}, root=str(root)) for root in roots]
    out = write_run(tmp_path / "out", images, root=str(roots[1]), earlier_roots=[str(roots[0])])
    run = RunReader(out)
    assert [image.image_file for image in run.images()] == [root / f"{root.name}.png" for root in roots]
    boxes = {f"../{root.name}/{root.name}.png": {1: (1, 1, 3, 3)} for root in roots}
    (tmp_path / "notes").mkdir()
    found = evaluate(run, write_boxes(tmp_path / "notes" / "boxes.json", boxes))
    assert [t.images for t in found.totals if t.metric == "pointing_game"] == [2, 2, 2]
    assert found.missing == {}


def test_the_root_of_a_run_of_one_root_may_be_written_anew(tmp_path: Path) -> None:
    images = [Explained("a.png", {1: spot(2, 2)}, root=str(tmp_path / "old"))]
    (image,) = RunReader(write_run(tmp_path / "out", images, root=str(tmp_path / "new"))).images()
    assert image.image_file == tmp_path / "new" / "a.png"


def test_a_map_that_is_blank_for_the_predicted_class_alone_is_told(tmp_path: Path) -> None:
    images = [
        Explained("alone.png", {1: BLANK, 2: spot(2, 2)}),
        Explained("both.png", {1: BLANK, 2: BLANK}),
        Explained("neither.png", {1: spot(2, 2), 2: spot(3, 3)}),
        Explained("not predicted.png", {1: BLANK, 2: spot(2, 2)}, predicted=2),
        Explained("one map.png", {1: BLANK}),
    ]
    out = write_run(tmp_path / "out", images)
    evaluate(RunReader(out))
    record = json.loads((out / "evaluation.json").read_text())["images"]
    told = {path: [one["metrics"].get("blank_for_first") for one in maps] for path, maps in record.items()}
    assert told == {
        "alone.png": [1, None],
        "both.png": [0, None],
        "neither.png": [0, None],
        "not predicted.png": [None, None],
        "one map.png": [None],
    }


def around(draw: np.random.Generator, row: float, column: float) -> NDArray[np.float32]:
    rows, columns = np.indices((SIDE, SIDE))
    y, x = draw.normal((row, column), 0.7)
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18).astype(np.float32)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Any]:
    """Class 1: 60 images, 12 looked at in a corner, one in reverse. Class 2: 12 copies of one file. Class 3: 5 images."""
    draw = np.random.default_rng(4)
    images = [Explained(f"1/{n:02}.png", {1: around(draw, 7, 7)}) for n in range(47)]
    images += [Explained(f"1/corner {n:02}.png", {1: around(draw, 14, 14)}) for n in range(12)]
    images += [Explained("1/reversed.png", {1: 1.05 - around(draw, 8, 8)})]
    images += [Explained("1/blank.png", {1: BLANK})]
    images += [Explained(f"2/{n:02}.png", {2: around(draw, 7, 7)}) for n in range(40)]
    copy = around(draw, 2, 2)
    images += [Explained(f"2/copy {n:02}.png", {2: copy}, sha256="of all copies") for n in range(12)]
    images += [Explained(f"3/{n}.png", {3: around(draw, 7, 7)}) for n in range(5)]
    images += [Explained("3/failed.png", {}, failed=True)]
    out = write_run(tmp_path_factory.mktemp("run") / "out", images)
    found = evaluate(RunReader(out), strategies=True)
    return found, json.loads((out / "evaluation.json").read_text())


def test_an_odd_way_of_looking_is_told_with_its_images(looked: tuple[Evaluation, Any]) -> None:
    found, record = looked
    (analysis,) = found.strategies
    assert (analysis.left_out, analysis.fewest) == (1, 30)
    first = analysis.classes[0]
    assert len(analysis.classes) == 2
    assert (first.target and first.target.index, first.flagged, first.images, first.blank) == (1, True, 60, 1)
    (odd,) = [way for way in first.strategies if way.odd]
    assert odd.size == 12
    assert all("corner" in path for path in (*odd.typical, *odd.outlying))
    members = {
        path for path, (one,) in record["images"].items() if one["strategy"] == odd.number and path.startswith("1/")
    }
    assert members == {f"1/corner {n:02}.png" for n in range(12)}
    assert np.unravel_index(np.argmax(odd.mean_map), (14, 14)) >= (11, 11)
    assert sum(way.size for way in first.strategies) == 60
    assert record["images"]["1/blank.png"][0]["strategy"] is None
    assert record["images"]["3/0.png"][0]["strategy"] is None
    assert json.loads(json.dumps(record["strategies"])) == [json.loads(analysis.model_dump_json())]


def test_copies_of_one_file_are_no_way_of_looking(looked: tuple[Evaluation, Any]) -> None:
    second = looked[0].strategies[0].classes[1]
    assert (second.target and second.target.index, second.images, second.flagged) == (2, 52, False)


def test_a_map_of_its_class_reversed_or_far_from_it_stands_out(looked: tuple[Evaluation, Any]) -> None:
    images = looked[1]["images"]
    metrics = {path: maps[0]["metrics"] for path, maps in images.items() if maps and path.startswith("1/")}
    reversal = {path: found["class_reversal"] for path, found in metrics.items() if "class_reversal" in found}
    far = {path: found["strategy_distance"] for path, found in metrics.items() if "strategy_distance" in found}
    assert max(reversal, key=reversal.__getitem__) == max(far, key=far.__getitem__) == "1/reversed.png"
    assert reversal["1/reversed.png"] > 0.5
    assert far["1/reversed.png"] > 2.5
    assert np.median([*far.values()]) == pytest.approx(1, abs=0.05)
    assert len(reversal) == len(far) == 60
    assert "class_reversal" not in images["3/0.png"][0]["metrics"], "a class of five has no usual way"


def test_without_the_option_there_are_no_groups_but_reversed_maps_are_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    images = [Explained(f"{n:02}.png", {1: around(draw, 7, 7)}) for n in range(30)]
    out = write_run(tmp_path / "out", images)
    found = evaluate(RunReader(out))
    assert found.strategies == ()
    told = {metric for _, metric in means(found)}
    assert "class_reversal" in told
    assert "strategy_distance" not in told
