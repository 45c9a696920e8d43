"""`evaluate` with the run's model: found where it is now, and no other; images within limits; what is written stays whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, write_card
from PIL import Image

from cam_cli.evaluate.opened import open_model_of
from cam_cli.results.reader import RunReader


@pytest.fixture
def made(smoothcam: Command, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `models/tiny.keras`, and a run in `out` that named it by a relative path."""
    draw = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "models").mkdir()
    write_card(Path(shutil.copy(model_file, tmp_path / "models" / "tiny.keras")))
    monkeypatch.chdir(tmp_path)
    ended = smoothcam(
        "explain", "in", "--model", "models/tiny.keras", "--method", "gradcam", "--write", "raw", "-o", "out"
    )
    assert ended.code == 0, ended.err
    return tmp_path


def stable(smoothcam: Command, made: Path, *flags: object) -> tuple[int, str]:
    ended = smoothcam("evaluate", made / "out", "--stability", "-q", *flags)
    return ended.code, ended.err


def test_a_relative_model_is_found_from_another_folder(
    smoothcam: Command, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert stable(smoothcam, made) == (0, "")
    (elsewhere / "models" / "tiny.keras").write_bytes(b"a file of that name here is another one")
    assert stable(smoothcam, made) == (0, "")


def test_a_model_that_moved_is_asked_for_and_taken(smoothcam: Command, made: Path) -> None:
    (made / "models").rename(made / "moved")
    code, said = stable(smoothcam, made)
    assert code == 2
    assert "/models/tiny.keras' any more; say where it is with --model" in said
    assert stable(smoothcam, made, "--model", made / "moved" / "tiny.keras") == (0, "")


def test_another_model_is_refused(smoothcam: Command, made: Path) -> None:
    with (made / "models" / "tiny.keras").open("ab") as file:
        file.write(b"\0")
    write_card(made / "models" / "tiny.keras")
    code, said = stable(smoothcam, made)
    assert code == 2
    assert "is another model than the one" in said
    assert stable(smoothcam, made, "--model", "efficientnet-lite0")[0] == 2


def test_the_same_model_fed_otherwise_is_refused(smoothcam: Command, made: Path) -> None:
    write_card(made / "models" / "tiny.keras", input={"size": [32, 32], "mean": [0], "std": [255]})
    code, said = stable(smoothcam, made)
    assert code == 2
    assert "prepares images otherwise" in said


def test_figures_are_taken_in_the_runs_own_precision(smoothcam: Command, made: Path) -> None:
    for precision in ("bfloat16", "float32"):
        flags = ("--precision", precision, "--write", "raw", "-o", f"out-{precision}")
        assert smoothcam("explain", "in", "--model", "models/tiny.keras", *flags).code == 0
        assert open_model_of(RunReader(made / f"out-{precision}")).precision == precision
    ended = smoothcam("evaluate", made / "out-bfloat16", "--faithfulness", "blur", "--stability", "--format", "json")
    assert ended.code == 0, ended.err
    assert {"deletion_auc", "stability_seed"} <= {total["metric"] for total in json.loads(ended.out)["totals"]}


def test_images_are_decoded_in_other_processes_alone(
    smoothcam: Command, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened in this process")

    monkeypatch.setattr("cam_cli.decoding.image.decode", refused)
    monkeypatch.setattr("cam_cli.images.decode.decode", refused)
    ended = smoothcam("evaluate", made / "out", "--stability", "--sanity", "--faithfulness", "mean", "--format", "json")
    assert ended.code == 0, ended.err
    totals = {total["metric"]: total["images"] for total in json.loads(ended.out)["totals"]}
    assert totals["stability_jpeg"] == totals["deletion_auc"] == 3


def test_an_evaluation_that_fails_leaves_the_last_one_whole(smoothcam: Command, made: Path) -> None:
    assert smoothcam("evaluate", made / "out", "-q").code == 0
    before = (made / "out" / "evaluation.json").read_bytes()
    (made / "boxes.json").write_text('{"other.png": {"size": [9, 9], "class_index": 1, "boxes": [[1, 1, 5, 5]]}}')
    assert smoothcam("evaluate", made / "out", "--annotations", made / "boxes.json").code == 2
    assert (made / "out" / "evaluation.json").read_bytes() == before
    assert not [path for path in (made / "out").iterdir() if path.name.endswith(".part")]


def test_the_file_has_every_image_and_what_was_printed(smoothcam: Command, made: Path) -> None:
    ended = smoothcam("evaluate", made / "out", "--sanity", "--images", "1", "--format", "json")
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record == json.loads((made / "out" / "evaluation.json").read_bytes())
    assert [*record["images"]] == ["0.png", "1.png", "2.png"]
    assert record["sanity"]["survivals"][0]["method"] == "gradcam"


def test_sanity_leaves_out_the_maps_of_the_input(smoothcam: Command, made: Path) -> None:
    methods = ("--method", "gradient", "--method", "gradcam")
    assert (
        smoothcam("explain", "in", "--model", "models/tiny.keras", *methods, "--write", "raw", "-o", "both").code == 0
    )
    ended = smoothcam("evaluate", made / "both", "--sanity", "--images", "1", "--format", "json")
    assert ended.code == 0, ended.err
    assert [one["method"] for one in json.loads(ended.out)["sanity"]["survivals"]] == ["gradcam"]
