"""Right and wrong from the command line to the mail of a night: the truth of folders and files, and what a run tells of it."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASSES, Command, write_card
from launcher import CommandServer
from PIL import Image

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SIDE = 32


def network(file: Path, *, activation: str = "softmax", without: int | None = None) -> Path:
    """A classifier that knows an image by its mean colours; `without`: a class that it never names."""
    import keras

    layers = [
        keras.layers.Conv2D(3, 1, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(CLASSES), activation=activation),
    ]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    bias = np.zeros(len(CLASSES), np.float32)
    head = np.zeros((3, len(CLASSES)), np.float32)
    head[:, :3] = 6 * np.eye(3)  # red is class 0, green is 1, blue is 2
    if activation == "sigmoid":
        bias[:] = (-3, -3, -3, 2, 2)
    if without is not None:
        bias[without] = -50
    model.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3), np.zeros(3, np.float32), head, bias])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras saves through an interface that NumPy deprecates
        model.save(file)
    return write_card(file, input={"size": [SIDE, SIDE], "mean": [0], "std": [255]}, layer="conv")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("model") / "colours.keras")


def draw(folder: Path, images: dict[str, tuple[int, ...]]) -> Path:
    """Images of one colour each; the channels named are 1."""
    for number, (name, channels) in enumerate(images.items()):
        pixels = np.full((SIDE, SIDE, 3), number, np.uint8)  # no two files are the same
        pixels[..., list(channels)] = 220
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_the_truth_of_folders_from_the_image_to_the_last_line(smoothcam: Command, model: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "val", {"circle/1.png": (0,), "square/2.png": (0,), "cube/3.png": (2,)})
    run = ("explain", images, "--model", model, "-o", tmp_path / "out", "--target", "predicted", "--target", "truth")
    ended = smoothcam(*run, "--truth", "folder", "--progress-every", "0.001", "--audit", "min_accuracy=90%")
    assert ended.code == 5
    lines = ended.err.splitlines()
    out = tmp_path / "out"
    said = [line for line in lines if ".overlay." in line]
    assert said[0].startswith("smoothcam: circle/1.png: circle 9")
    assert ", right; see " in said[0]
    assert ", wrong: it is square " in said[2]
    assert "its label 'cube' is no class of the model; see " in said[1]
    assert all(Path(line.split("; see ")[1]).is_file() for line in said)
    assert "audit: min_accuracy: 0.5 found" in ended.err
    assert "1 of 2 right (50%, 9% to 91%), 1 wrong" in lines[-1], "the summary is the last line"
    assert "1 of unknown class" in lines[-1]
    record = json.loads((out / "run.json").read_text())["totals"]
    assert (record["right"], record["wrong"], record["unknown_truth"], record["top1"]["share"]) == (1, 1, 1, 0.5)

    import keras

    p = keras.saving.load_model(model).predict(
        np.asarray(Image.open(images / "square/2.png"))[None] / 255.0, verbose=0
    )[0]
    manifest = json.loads((out / "square/2.png/manifest.json").read_text())
    rank, probability = 1 + int((p > p[1]).sum()), pytest.approx(float(p[1]), rel=1e-4)
    assert manifest["truth"] == {
        "index": 1, "label": "square", "wnid": None, "rank": rank, "probability": probability,
    }  # fmt: skip
    assert manifest["correct"] is False
    assert [entry["target"]["index"] for entry in manifest["maps"]] == [0, 1], "the predicted class, and the true one"
    again = smoothcam(*run, "--truth", "folder", "--json")
    assert [row["skipped"] for row in again.rows] == [True, True, True]
    assert {row["path"]: row["correct"] for row in again.rows} == {
        "circle/1.png": True,
        "square/2.png": False,
        "cube/3.png": None,
    }


def test_a_file_of_truth_goes_into_the_fingerprint_of_its_images_alone(
    smoothcam: Command, model: Path, tmp_path: Path
) -> None:
    images = draw(tmp_path / "in", {"1.png": (0,), "2.png": (1,)})
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label\n1.png,0\n2.png,star\n")
    run = ("explain", images, "--model", model, "-o", tmp_path / "out", "--json")
    assert [row["correct"] for row in smoothcam(*run, "--truth", truth).rows] == [True, False]
    truth.write_text("path,label\n1.png,0\n2.png,square\n")
    rows = smoothcam(*run, "--truth", truth).rows
    assert [(row["skipped"], row["correct"]) for row in rows] == [(True, True), (False, True)]
    missing = smoothcam(*run, "--target", "truth")
    assert missing.code == 2
    assert "needs truth, such as --truth folder" in missing.err
    folder = smoothcam(*run, "--target", "folder")
    assert [row["unknown_truth"] for row in folder.rows] == ["in", "in"], "--target folder implies --truth folder"


def test_a_network_of_several_labels_records_all_that_it_predicts(smoothcam: Command, tmp_path: Path) -> None:
    model = network(tmp_path / "labels.keras", activation="sigmoid")
    images = draw(tmp_path / "in", {"1.png": (0, 1), "2.png": (0,)})
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label\n" + "".join(f"1.png,{i}\n" for i in (0, 1, 3, 4)) + "2.png,0\n")
    ended = smoothcam(
        "explain", images, "--model", model, "-o", tmp_path / "out", "--truth", truth, "--target", "truth", "--json"
    )
    assert ended.code == 0, ended.err
    first, second = ended.rows
    assert (first["correct"], second["correct"]) == (True, False)
    assert [first["truth"]["index"], *(one["index"] for one in first["also_true"])] == [0, 1, 3, 4]
    assert [entry["target"]["index"] for entry in first["maps"]] == [0, 1, 3, 4]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"]["multi_label"]
    said = json.loads(smoothcam("evaluate", tmp_path / "out", "--format", "json").out)["classification"]
    assert said["label_precision"]["share"] == pytest.approx(5 / 7)
    assert said["label_recall"]["share"] == 1


def test_the_mail_of_a_night_names_a_wrong_label_and_a_class_that_broke(
    command_server: CommandServer, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    command_server.install(tmp_path / "bin" / "smoothcam")
    images = draw(tmp_path / "val", {f"{CLASSES[c]}/{i}.png": (c,) for c in range(3) for i in range(3)})
    config = tmp_path / "audit.yaml"
    bounds = "audit: {min_class_accuracy: 0.6, max_confidently_wrong: 0, max_broke: 5%}"
    config.write_text(f"truth: folder\nlayers: conv\nwrite: raw, overlay\n{bounds}\n")
    model = tmp_path / "model.keras"

    def night(name: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "IMAGES": str(images), "CONFIG": str(config),
            "NIGHTS": str(tmp_path / "nights"), "TONIGHT": str(tmp_path / "nights" / name), "SMOOTHCAM_MODEL": str(model),
        }  # fmt: skip
        return subprocess.run(
            ["/bin/sh", str(CONFIGS / "audit.sh")], env=environment, capture_output=True, text=True, check=False
        )

    network(model)
    first = night("monday")
    assert (first.returncode, first.stderr) == (0, "")
    (images / "moon").mkdir()
    (images / "circle" / "1.png").rename(images / "moon" / "planted.png")
    second = night("tuesday")
    assert second.returncode == 5
    assert "audit: max_confidently_wrong: 0.1111 found, at most 0 allowed" in second.stderr
    assert "  moon/planted.png: circle 98%, but it is moon 1%" in second.stderr
    (images / "moon" / "planted.png").rename(images / "circle" / "1.png")
    network(model, without=1)
    third = night("wednesday")
    assert third.returncode == 5
    assert "audit: min_class_accuracy: 0 found, at least 0.6 allowed" in third.stderr
    mail: Any = third.stderr
    for number in range(3, 6):
        name = f"square/{number - 3}.png"
        assert f"  {name}: " in mail
        assert f"  {name}: square before, " in mail, "compare names what broke"
    assert "audit: max_broke: 0.3333 found" in mail
