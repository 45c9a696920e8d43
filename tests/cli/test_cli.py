"""The command from its arguments to its files, streams and exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cmap
import numpy as np
import pytest
from conftest import CLASSES, Command, Ended, write_card
from jsonschema import Draft202012Validator
from launcher import Launcher
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cam_cli.config import NOT_IN_FINGERPRINT, RunConfig
from cam_cli.results import manifest as records
from cam_cli.results.layout import LOCK

REPOSITORY = Path(__file__).parent.parent.parent
SAMPLES = REPOSITORY / "sample_images"
SCHEMA = json.loads(Path(records.__file__).with_name("manifest.schema.json").read_text("utf-8"))
ROW = Draft202012Validator(
    {
        "$defs": SCHEMA["$defs"],
        "type": "object",
        "required": ["status", "error", "fingerprint", "predictions", "maps", "path", "sha256"],
        "properties": {
            key: SCHEMA["properties"][key] for key in ("status", "error", "fingerprint", "predictions", "maps")
        },
    }
)
Explain = Callable[..., Ended]
Array = NDArray[np.float32]


@pytest.fixture
def explain(smoothcam: Command, model_file: Path, tmp_path: Path) -> Explain:
    """`smoothcam explain IN --model tiny.keras -o OUT ...`, for tmp_path/in and tmp_path/out unless said otherwise."""

    def run(
        *arguments: object, source: Sequence[object] = (), model: Path = model_file, out: Path | None = None
    ) -> Ended:
        paths = source or [tmp_path / "in"]
        return smoothcam("explain", *arguments, "--model", model, "-o", out or tmp_path / "out", "--", *paths)

    return run


def photo(path: Path, size: tuple[int, int] = (48, 36), seed: int = 0, **options: Any) -> Path:
    """Save a colourful photo, smooth enough that resampling tells little of it apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def several(folder: Path, count: int) -> list[Path]:
    return [photo(folder / f"{i}.png", seed=i) for i in range(count)]


def strict_json(text: str) -> Any:
    """Read JSON that is sorted and holds no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    def ordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert keys == sorted(keys)
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=ordered)


def manifest(folder: Path) -> dict[str, Any]:
    """Read one image's manifest, hold it against the schema and its files, and return it."""
    found: dict[str, Any] = strict_json((folder / "manifest.json").read_text("ascii"))
    Draft202012Validator(SCHEMA).validate(found)
    assert found["status"] == "ok" or not found["maps"]
    assert (found["error"] is None) == (found["status"] == "ok")
    listed = {name for entry in found["maps"] for name in entry["files"].values() if name}
    listed |= {entry["file"] for entry in found["joint"]}
    assert {path.name for path in folder.iterdir() if path.is_file()} == listed | {"manifest.json"}
    for entry in found["maps"]:
        if entry["files"]["raw"]:
            values = raw(folder, entry)
            assert values.dtype == np.float32
            assert list(values.shape) == entry["grid"]
            finite = bool(np.isfinite(values).all())
            assert finite == (entry["state"] != "nonfinite")
            assert (entry["min"], entry["max"]) == ((values.min(), values.max()) if finite else (None, None))
    return found


def manifests(out: Path) -> dict[str, dict[str, Any]]:
    """Check the whole run folder; return the manifests by folder."""
    found = {path.parent.relative_to(out).as_posix(): manifest(path.parent) for path in out.rglob("manifest.json")}
    rows = [strict_json(line) for line in (out / "index.jsonl").read_text("ascii").splitlines()]
    for row in rows:
        ROW.validate(row)
    latest = {row["path"]: row for row in rows}
    for entry in found.values():
        row = latest[entry["image"]["path"]]
        assert all(row[key] == entry[key] for key in ("status", "error", "fingerprint", "predictions", "maps"))
    strict_json((out / "run.json").read_text("ascii"))
    assert [path.name for path in out.rglob("*") if path.name.startswith(".")] == [LOCK], (
        "a temporary file was left behind"
    )
    return found


def raw(folder: Path, entry: dict[str, Any]) -> Array:
    values: Array = np.load(folder / entry["files"]["raw"], allow_pickle=False)
    return values


def only_map(folder: Path) -> Array:
    (entry,) = manifest(folder)["maps"]
    return raw(folder, entry)


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def files_of(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def done_again(ended: Ended) -> set[str]:
    return {row["path"] for row in ended.rows if not row["skipped"]}


def shown(parameter: object) -> str | None:
    """Name a test by its first list, a command line."""
    return " ".join(parameter) if isinstance(parameter, list) else None


# --- the run folder


def test_the_command_of_the_paper_makes_the_run_folder(
    smoothcam: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "sample_images"
    (source / "birds").mkdir(parents=True)
    shutil.copy(SAMPLES / "cow.jpg", source)
    shutil.copy(SAMPLES / "macaw.jpg", source / "birds")
    with Image.open(SAMPLES / "panda.jpg") as image:
        image.resize((1300, 640)).save(source / "cow.png")
    monkeypatch.chdir(tmp_path)
    ended = smoothcam("explain", "sample_images/", "--layer", "block5_conv3", "--nsamples", "0")
    assert (ended.code, ended.out) == (0, "")
    assert "vgg16-lite" in ended.err, "the choice of the model is said aloud"

    out = tmp_path / "smoothcam_out"
    found = manifests(out)
    assert set(found) == {"cow.jpg", "cow.png", "birds/macaw.jpg"}
    assert {path.name for path in out.iterdir()} == {LOCK, "run.json", "index.jsonl", "cow.jpg", "cow.png", "birds"}
    for name, entry in found.items():
        (saliency,) = entry["maps"]
        index = entry["predictions"][0]["index"]
        stem = f"block5_conv3.{index}"
        assert saliency["files"] == {
            "raw": f"{stem}.npy", "heatmap": f"{stem}.heatmap.png", "overlay": f"{stem}.overlay.jpg", "figure": None
        }  # fmt: skip
        assert saliency["target"]["index"] == index
        written = files_of(out / name)
        assert written.pop("manifest.json") >= max(written.values()), "the manifest comes last"
        with Image.open(source / name) as image:
            width, height = image.size
        assert (entry["image"]["width"], entry["image"]["height"]) == (width, height)
        expected = (width, height) if max(width, height) <= 640 else (640, round(height * 640 / width))
        for kind in ("heatmap", "overlay"):
            assert pixels(out / name / saliency["files"][kind]).shape == (*expected[::-1], 3)
        assert saliency["grid"] == [14, 14]


def test_raw_maps_are_those_of_the_python_api(explain: Explain, tmp_path: Path, model_file: Path) -> None:
    from cam_cli import Request, load_network
    from cam_cli import explain as explain_arrays
    from cam_cli.images.decode import decode
    from cam_cli.images.fit import fit

    images = several(tmp_path / "in", 3)
    assert explain("--nsamples", "0", "--layer", "conv1", "--layer", "conv2").code == 0
    network = load_network(str(model_file))
    batch = np.stack([fit(decode(image.read_bytes()), (32, 32), network.preprocessing)[0] for image in images])
    for image, expected in zip(
        images, explain_arrays(network.model, batch, ("conv1", "conv2"), request=Request(nsamples=0)), strict=True
    ):
        folder = tmp_path / "out" / image.name
        entry = manifest(folder)
        assert [p["index"] for p in entry["predictions"]] == list(np.argsort(-expected.logits, kind="stable"))
        assert [p["logit"] for p in entry["predictions"]] == pytest.approx(-np.sort(-expected.logits), rel=1e-5)
        for found, saliency in zip(entry["maps"], expected.maps, strict=True):
            assert (found["layer"], found["target"]["index"]) == (saliency.layer, saliency.target)
            np.testing.assert_allclose(raw(folder, found), saliency.values, rtol=1e-5, atol=1e-6)


def test_without_a_model_the_bundled_one_names_the_animal(smoothcam: Command, tmp_path: Path) -> None:
    ended = smoothcam("explain", SAMPLES / "panda.jpg", "-o", tmp_path / "out", "--json", "--write", "raw")
    assert ended.code == 0
    assert "efficientnet-lite0" in ended.err
    (row,) = ended.rows
    assert "panda" in row["predictions"][0]["label"]
    assert row["maps"][0]["layer"] == "top_activation"


def test_the_pictures_are_no_larger_than_asked_for(explain: Explain, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "wide.png", (90, 60))
    photo(tmp_path / "in" / "small.png", (30, 20))
    assert explain("--picture-size", "45").code == 0
    for name, size in (("wide.png", (30, 45, 3)), ("small.png", (20, 30, 3))):
        (entry,) = manifest(tmp_path / "out" / name)["maps"]
        assert pixels(tmp_path / "out" / name / entry["files"]["overlay"]).shape == size
        assert pixels(tmp_path / "out" / name / entry["files"]["heatmap"]).shape == size


def test_only_the_files_asked_for_are_there_also_after_a_run_with_more(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    assert explain().code == 0
    assert len(files_of(tmp_path / "out" / "0.png")) == 4
    assert explain("--write", "overlay", "--sheet").code == 0
    assert set(manifest(tmp_path / "out" / "0.png")["maps"][0]["files"].values()) == {None, *_endings(tmp_path, "jpg")}
    with Image.open(tmp_path / "out" / "sheet.jpg") as sheet:
        assert min(sheet.size) > 30


def test_another_format_replaces_the_pictures_and_the_same_one_does_nothing(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    folder = tmp_path / "out" / "0.png"
    flags = ("--nsamples", "0", "--target", "top2", "--write", "raw,overlay,joint,figure", "--contours")
    kinds = {"jpeg": (".jpg", "JPEG", ".svg"), "png": (".png", "PNG", ".pdf")}
    for name, (ending, kind, figure) in kinds.items():
        again = (*flags, "--picture-format", name, "--figure-format", figure[1:], "--json")
        assert [row["skipped"] for row in explain(*again).rows] == [False]
        assert [row["skipped"] for row in explain(*again).rows] == [True]
        assert len(files_of(folder)) == 1 + 2 * 3 + 1
        pictures = [path for path in folder.iterdir() if path.suffix == ending]
        assert len(pictures) == 3
        assert {Image.open(path).format for path in pictures} == {kind}
        assert len(list(folder.glob(f"*.figure{figure}"))) == 2
        assert manifest(folder)["drawing_version"] == 2


def _endings(tmp_path: Path, ending: str) -> set[str]:
    return {path.name for path in (tmp_path / "out" / "0.png").glob(f"*.{ending}")}


@pytest.mark.parametrize("name", ["sheet.jpg", "run.json", "index.jsonl", "manifest.json"])
def test_a_photo_named_like_a_record_costs_no_record(explain: Explain, tmp_path: Path, name: str) -> None:
    source = photo(tmp_path / "in" / name, format="PNG")
    other = photo(tmp_path / "in" / "other.png")
    ended = explain("--sheet", source=[source, other])
    assert "Traceback" not in ended.err
    assert strict_json((tmp_path / "out" / "run.json").read_text())["state"] == "finished"
    assert manifest(tmp_path / "out" / "other.png")["status"] == "ok"


def test_an_image_whose_files_cannot_be_written_is_a_failed_record(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 2)
    assert explain().code == 0
    (entry,) = manifest(tmp_path / "out" / "0.png")["maps"]
    for kind in ("manifest.json", entry["files"]["overlay"]):
        (tmp_path / "out" / "0.png" / kind).unlink()
    (tmp_path / "out" / "0.png" / entry["files"]["overlay"]).mkdir()
    ended = explain("--json")
    assert ended.code == 3
    assert [(row["status"], row["skipped"]) for row in ended.rows] == [("ok", True), ("failed", False)]
    assert ended.rows[1]["error"]["stage"] == "write"
    assert "0.png" in ended.rows[1]["error"]["message"]


# --- what a run refuses, and what it survives


def _huge_png(path: Path, side: int = 20_000) -> None:
    """Write a black-and-white PNG of side x side pixels in a few kilobytes, row by row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = bytes(1 + side // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def test_a_folder_of_bad_images_fails_only_the_bad_ones(explain: Explain, tmp_path: Path) -> None:
    source = tmp_path / "in"
    photo(source / "good.jpg")
    (source / "text.jpg").write_text("this is no photo\n")
    (source / "empty.png").write_bytes(b"")
    (source / "cut.jpg").write_bytes(photo(source / "whole.jpg", (300, 200)).read_bytes()[:-4000])
    (source / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(source / "pipe.jpg")
    _huge_png(source / "huge.png")
    Image.new("RGB", (1, 1), "red").save(source / "dot.png")
    with Image.open(source / "whole.jpg") as whole:
        whole.convert("CMYK").save(source / "cmyk.jpg")
        palette = whole.quantize(16)
        palette.save(source / "palette.png", transparency=3)
        palette.save(source / "moving.gif", save_all=True, append_images=[palette.rotate(90), palette.rotate(180)])
    deep = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(deep).save(source / "deep.png")

    ended = explain("--json")
    bad = {"text.jpg", "empty.png", "cut.jpg", "gone.jpg", "pipe.jpg", "huge.png"}
    assert ended.code == 3
    assert "Traceback" not in ended.err
    found = manifests(tmp_path / "out")
    assert set(found) == {path.name for path in source.iterdir()}
    assert {name for name, entry in found.items() if entry["status"] == "failed"} == bad
    assert {row["path"] for row in ended.rows if row["status"] == "failed"} == bad
    for name in bad:
        error = found[name]["error"]
        assert error["type"] == "ImageError"
        assert error["stage"] == ("read" if name in {"gone.jpg", "pipe.jpg"} else "decode")
        (line,) = [line for line in ended.err.splitlines() if str(source / name) in line]
        assert error["message"] in line
    assert "20000" in found["huge.png"]["error"]["message"]
    for name in set(found) - bad:
        assert sum(str(source / name) in line for line in ended.err.splitlines()) == bool(found[name]["image"]["notes"])
    assert "6 failed" in ended.err
    totals = json.loads((tmp_path / "out" / "run.json").read_text())["totals"]
    assert (totals["failed"], totals["explained"], totals["exit_code"]) == (6, 7, 3)

    (source / "text.jpg").write_bytes((source / "good.jpg").read_bytes())
    again = explain("--json")
    assert done_again(again) == {"text.jpg"}, "a failure is tried again when its file has changed"
    assert {row["path"] for row in again.rows if row["status"] == "failed"} == bad - {"text.jpg"}
    assert again.code == 3, "what failed before has not come right"
    assert done_again(explain("--json", "--retry-failed")) == bad - {"text.jpg"}


def test_images_that_are_left_out_are_told_before_the_summary_which_is_last(explain: Explain, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jfif")
    (tmp_path / "in" / "b.dng").write_bytes(b"II*\0")
    for number in (1, 2):
        ended = explain("--sheet") if number == 1 else explain("--sheet", "--shard", "1/2")
        lines = ended.err.splitlines()
        assert ended.code == 0
        assert lines[-2] == "smoothcam: 1 file looks like an image and was left out: 1 .dng"
        assert lines[-1].endswith(f"; see {tmp_path / 'out'}/")
        assert any("contact sheet" in line for line in lines[:-2])
    totals = json.loads((tmp_path / "out" / "run.json").read_text())["totals"]
    assert totals["left_out"] == {"dng": 1}


@pytest.mark.filterwarnings("ignore:__array__")
def test_the_values_in_files_are_fed_to_a_model_of_many_bands(smoothcam: Command, tmp_path: Path) -> None:
    import keras

    tifffile = pytest.importorskip("tifffile")
    layers = [
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((16, 16, 5)), *layers])
    model.save(tmp_path / "five.keras")
    values = np.random.default_rng(0).normal(0, 3, (16, 16, 5)).astype(np.float32)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", values)
    tifffile.imwrite(tmp_path / "in" / "b.tif", values, photometric="minisblack", planarconfig="contig")
    np.save(tmp_path / "in" / "c.npy", values[:8])
    photo(tmp_path / "in" / "d.jpg")
    settings = ["--model", tmp_path / "five.keras", "-o", tmp_path / "out", "--ext", "npy,tif,jpg"]
    ended = smoothcam("explain", tmp_path / "in", *settings)
    found = manifests(tmp_path / "out")
    wanted = keras.ops.convert_to_numpy(model(values[None]))[0]
    for name in ("a.npy", "b.tif"):
        logits = {entry["index"]: entry["logit"] for entry in found[name]["predictions"]}
        np.testing.assert_allclose(
            [logits[index] for index in sorted(logits)], wanted[sorted(logits)], rtol=1e-4, atol=1e-5
        )
    assert "8 x 16 x 5, and the network takes 16 x 16 x 5" in found["c.npy"]["error"]["message"]
    assert "3 bands, and the network takes 5" in found["d.jpg"]["error"]["message"]
    assert ended.code == 3


def test_quiet_still_names_the_images_that_failed(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    assert explain("-q") == Ended(0, "", "")
    (tmp_path / "in" / "text.jpg").write_text("no photo")
    ended = explain("-q")
    assert ended.code == 3
    assert "text.jpg" in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--layer", "conv3"], ["conv3", "conv1", "smoothcam layers"]),
        (["--filters", "0,4"], ["filter 4", "conv1", "4 feature maps"]),
        (["--subset", "0,0 16,3"], ["(16, 3)", "16 rows"]),
        (["--target", "stra"], ["stra", "'star' (2)"]),
        (["--target", "5"], ["5", "0 to 4"]),
        (["--target", "top6"], ["top6", "5 classes"]),
        (["--method", "gradcam+++"], ["--method", "gradcam+++"]),
        (["--method", "cam"], ["cam", "conv1"]),
        (["--nsamples", "-1"], ["--nsamples", "-1"]),
        (["--std-dev", "nan"], ["--std-dev"]),
        (["--region"], ["--region", "subset"]),
        (["--mean", "1,2"], ["mean"]),
    ],
    ids=shown,
)
def test_a_request_that_cannot_be_met_is_one_line_and_exit_2(
    explain: Explain, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    several(tmp_path / "in", 1)
    ended = explain(*arguments, *([] if "--layer" in arguments else ["--layer", "conv1"]))
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert all(word in line for word in words)
    assert not files_of(tmp_path / "out")


def test_a_path_that_is_not_there_is_exit_2_and_one_safe_line(explain: Explain, tmp_path: Path) -> None:
    for name in ("missing", "new\nline", "bell\x07 and \x1b[31mred", "bytes\udcff"):
        ended = explain(source=[tmp_path / name])
        assert ended.code == 2
        (line,) = ended.err.splitlines()
        assert "no such file" in line
        assert line.isprintable()


def test_a_folder_without_images_is_exit_4(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    (tmp_path / "in" / "notes.txt").write_text("nothing to see")
    ended = explain()
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (4, "", 1)
    assert str(tmp_path / "in") in ended.err
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_a_config_is_told_with_its_place(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    config = tmp_path / "run.yaml"
    config.write_text("# mine\nstd_dev: 0.2\nsampels: 5\n")
    ended = explain("--config", config)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "run.yaml:3:1" in line
    assert "nsamples" in line
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_model_is_one_line(explain: Explain, tmp_path: Path, model_file: Path) -> None:
    several(tmp_path / "in", 1)
    text, cut, photograph = tmp_path / "text.keras", tmp_path / "cut.keras", tmp_path / "photo.keras"
    text.write_text("no model")
    cut.write_bytes(model_file.read_bytes()[:-200])
    photo(photograph, format="PNG")
    for file in (text, cut, photograph, tmp_path / "missing.keras", tmp_path):
        ended = explain(model=file)
        assert ended.code in (1, 2)
        (line,) = ended.err.splitlines()
        assert str(file) in line


def test_a_model_that_is_not_the_one_its_card_describes_is_refused(
    explain: Explain, tmp_path: Path, model_file: Path
) -> None:
    several(tmp_path / "in", 1)
    copy = _copy(model_file, tmp_path / "copy.keras")
    write_card(copy, sha256="0" * 64)
    ended = explain(model=copy)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "sha256" in line
    assert str(copy) in line


def test_an_output_folder_with_foreign_files_is_refused_and_untouched(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("ten years")
    before = files_of(tmp_path)
    ended = explain()
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert files_of(tmp_path) == before


def test_an_output_folder_inside_the_input_is_not_walked_into(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 2)
    out = tmp_path / "in" / "results"
    assert len(explain("--json", "--sheet", out=out).rows) == 2
    assert [row["skipped"] for row in explain("--json", "--sheet", out=out).rows] == [True, True]


# --- what is explained


def test_filters_give_a_map_each_and_their_sum_is_the_whole(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    assert explain("--nsamples", "0").code == 0
    whole = only_map(tmp_path / "out" / "0.png")
    by_filter = tmp_path / "filters"
    assert explain("--nsamples", "0", "--filters", "0-3", "--filter-maps", "both", out=by_filter).code == 0
    entries = manifest(by_filter / "0.png")["maps"]
    assert [entry["selection"]["filters"] for entry in entries] == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert [entry["files"]["raw"].split(".filters-")[1] for entry in entries] == [
        "0-3.npy", "0.npy", "1.npy", "2.npy", "3.npy"
    ]  # fmt: skip
    combined, *each = (raw(by_filter / "0.png", entry) for entry in entries)
    np.testing.assert_allclose(combined, whole, rtol=1e-5)
    assert sum(np.any(one > 0) for one in each) >= 2, "one map alone would prove nothing"
    # weights and ReLU activations are both >= 0, so nothing was clipped before the sum
    np.testing.assert_allclose(sum(each), whole, rtol=1e-4, atol=1e-6 * whole.max())
    one_each = tmp_path / "each"
    assert explain("--nsamples", "0", "--filters", "3,1", "--filter-maps", "each", out=one_each).code == 0
    assert [entry["selection"]["filters"] for entry in manifest(one_each / "0.png")["maps"]] == [[1], [3]]


@pytest.mark.parametrize(
    ("flags", "rows", "columns"),
    [
        (["--region", "--subset", "2,3 9,5"], slice(2, 10), slice(3, 6)),
        (["--region", "--subset", "9,5 2,3"], slice(2, 10), slice(3, 6)),
        (["--subset", "2,3 9,5 15,0"], [2, 9, 15], [3, 5, 0]),
    ],
    ids=["region", "region-from-below", "neurons"],
)
def test_neurons_bound_the_map_and_leave_the_rest_at_zero(
    explain: Explain, tmp_path: Path, flags: list[str], rows: Any, columns: Any
) -> None:
    several(tmp_path / "in", 1)
    assert explain().code == 0
    assert explain(*flags, out=tmp_path / "bounded").code == 0
    whole, bounded = only_map(tmp_path / "out" / "0.png"), only_map(tmp_path / "bounded" / "0.png")
    expected = np.zeros_like(whole)
    expected[rows, columns] = whole[rows, columns]
    assert expected.any()
    np.testing.assert_allclose(bounded, expected, rtol=1e-5)
    selection = manifest(tmp_path / "bounded" / "0.png")["maps"][0]["selection"]
    assert selection["region"] == ("--region" in flags)


def test_layers_methods_and_targets_multiply(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 2)
    flags = ["--layer", "conv1", "--layer", "conv2", "--target", "top3", "--target", "star", "--target", "0"]
    methods = ["smoothgradcam++", "gradcam++", "gradcam"]
    assert explain(*flags, *(part for method in methods for part in ("--method", method))).code == 0
    for name, entry in manifests(tmp_path / "out").items():
        top = [p["index"] for p in entry["predictions"][:3]]
        targets = list(dict.fromkeys([*top, CLASSES.index("star"), 0]))
        found = {(m["layer"], m["method"], m["target"]["index"]): m for m in entry["maps"]}
        assert len(found) == len(entry["maps"]) == 2 * 3 * len(targets)
        assert {key[2] for key in found} == set(targets)
        assert all(m["target"]["label"] == CLASSES[m["target"]["index"]] for m in entry["maps"])
        assert len({m["files"]["raw"] for m in entry["maps"]}) == len(entry["maps"])
        for target in targets:
            maps = {key[:2]: raw(tmp_path / "out" / name, m) for key, m in found.items() if key[2] == target}
            np.testing.assert_allclose(maps["conv2", "smoothgradcam++"], maps["conv2", "gradcam++"], rtol=1e-5)
            assert found["conv2", "smoothgradcam++", target]["noise"] == "no effect, affine head"
            assert not np.allclose(maps["conv1", "smoothgradcam++"], maps["conv1", "gradcam++"], rtol=1e-3)
            assert found["conv1", "smoothgradcam++", target]["noise"] == "5 samples"
            assert 0 < found["conv1", "smoothgradcam++", target]["noise_effect"] < 1


def test_cam_is_gradcam_before_its_relu_where_both_are_defined(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    assert explain("--layer", "conv2", "--method", "cam", "--method", "gradcam").code == 0
    cam, gradcam = (raw(tmp_path / "out" / "0.png", m) for m in manifest(tmp_path / "out" / "0.png")["maps"])
    np.testing.assert_allclose(np.maximum(cam, 0) / cam.size, gradcam, rtol=1e-4, atol=1e-7)


def test_a_map_depends_on_neither_order_nor_neighbours(explain: Explain, tmp_path: Path) -> None:
    images = several(tmp_path / "in", 5)
    (tmp_path / "in" / "bad.png").write_text("no photo")
    assert explain("--nsamples", "3", "--write", "raw").code == 3
    backwards = tmp_path / "backwards"
    assert explain("--nsamples", "3", "--write", "raw", source=images[::-1], out=backwards).code == 0
    for image in images:
        alone = tmp_path / "alone" / image.stem
        assert explain("--nsamples", "3", "--write", "raw", source=[image], out=alone).code == 0
        expected = only_map(tmp_path / "out" / image.name)
        assert expected.max() > 0
        for folder in (alone, backwards):
            np.testing.assert_allclose(only_map(folder / image.name), expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_the_seed_decides_the_noise(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 1)
    for seed in ("1", "2"):
        assert explain("--seed", seed, out=tmp_path / seed).code == 0
    one, two = (only_map(tmp_path / seed / "0.png") for seed in ("1", "2"))
    assert not np.allclose(one, two, rtol=1e-3)


def test_an_input_that_is_not_finite_is_a_failed_image(explain: Explain, tmp_path: Path, model_file: Path) -> None:
    several(tmp_path / "in", 1)
    model = _copy(model_file, tmp_path / "broken" / "tiny.keras")
    write_card(model, input={"size": [32, 32], "mean": [-3e38], "std": [1e-8]})
    assert explain(model=model).code == 3
    (entry,) = manifests(tmp_path / "out").values()
    assert (entry["status"], entry["error"]["stage"]) == ("failed", "fit")


@pytest.mark.parametrize("nsamples", [0, 3])
def test_numbers_that_break_down_are_a_state_and_no_heat(
    explain: Explain, tmp_path: Path, model_file: Path, nsamples: int
) -> None:
    several(tmp_path / "in", 1)
    model = _copy(model_file, tmp_path / "broken" / "tiny.keras")
    write_card(model, input={"size": [32, 32], "mean": [-1e30], "std": [1e-8]})
    assert explain("--nsamples", nsamples, model=model).code == 0
    (entry,) = manifests(tmp_path / "out").values()
    (broken,) = entry["maps"]
    assert (broken["state"], broken["min"], broken["max"]) == ("nonfinite", None, None)
    placard = pixels(tmp_path / "out" / "0.png" / broken["files"]["heatmap"])
    assert np.ptp(placard.astype(int), axis=-1).max() == 0


def test_a_score_that_is_infinite_costs_no_run(explain: Explain, tmp_path: Path, model_file: Path) -> None:
    several(tmp_path / "in", 2)
    ended = explain("--json", "--target", "star", model=_with_infinite_bias(model_file, tmp_path / "bias.keras"))
    assert "Traceback" not in ended.err
    assert [row["path"] for row in ended.rows] == ["0.png", "1.png"]
    manifests(tmp_path / "out")


def _copy(model: Path, to: Path) -> Path:
    to.parent.mkdir(exist_ok=True)
    shutil.copy(model, to)
    return to


def _with_infinite_bias(model: Path, to: Path) -> Path:
    """Write a model that gives one class an infinite score and the others finite ones."""
    import keras

    network = keras.saving.load_model(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel, bias = network.get_layer("head").get_weights()
        network.get_layer("head").set_weights([kernel, np.array([np.inf, *bias[1:]], np.float32)])
        network.save(to)
    return write_card(to)


# --- once is enough


def test_the_same_command_twice_does_nothing_the_second_time(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 3)
    first = explain("--json")
    before = files_of(tmp_path / "out")
    second = explain("--json")
    after = files_of(tmp_path / "out")
    assert [row["skipped"] for row in first.rows + second.rows] == [False] * 3 + [True] * 3
    assert {name for name in before if before[name] != after[name]} <= {"run.json"}
    assert before.keys() == after.keys()
    assert [{**row, "skipped": True} for row in first.rows] == second.rows
    assert "3 already done" in second.err


@pytest.mark.parametrize("flags", [["--std-dev", "0.3"], ["--layer", "conv2"], ["--opacity", "0.9"], ["--fit", "crop"]])
def test_another_setting_does_all_again(explain: Explain, tmp_path: Path, flags: list[str]) -> None:
    several(tmp_path / "in", 2)
    explain()
    assert len(done_again(explain("--json", *flags))) == 2
    manifests(tmp_path / "out")
    assert not done_again(explain("--json", *flags))


def test_another_model_under_the_same_name_does_all_again(explain: Explain, tmp_path: Path, model_file: Path) -> None:
    several(tmp_path / "in", 1)
    copy = write_card(_copy(model_file, tmp_path / "copy.keras"))
    explain(model=copy)
    with copy.open("ab") as file:
        file.write(b"\0")
    write_card(copy)
    assert done_again(explain("--json", model=copy)) == {"0.png"}


def _without_raw(out: Path, source: Path) -> None:
    next((out / "1.png").glob("*.npy")).unlink()


def _without_manifest(out: Path, source: Path) -> None:
    (out / "1.png" / "manifest.json").unlink()


def _corrupt_manifest(out: Path, source: Path) -> None:
    path = out / "1.png" / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])


def _edited_photo(out: Path, source: Path) -> None:
    photo(source / "1.png", seed=99)


def _lost_folder(out: Path, source: Path) -> None:
    shutil.rmtree(out / "1.png")


@pytest.mark.parametrize("harm", [_without_raw, _without_manifest, _corrupt_manifest, _edited_photo, _lost_folder])
def test_what_came_to_harm_is_done_again_and_nothing_else(
    explain: Explain, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    several(tmp_path / "in", 3)
    explain()
    manifests(tmp_path / "out")
    before = files_of(tmp_path / "out")
    harm(tmp_path / "out", tmp_path / "in")
    assert done_again(explain("--json")) == {"1.png"}
    found = manifests(tmp_path / "out")
    assert {entry["status"] for entry in found.values()} == {"ok"}
    after = files_of(tmp_path / "out")
    assert all(before[name] == after[name] for name in before if name.startswith(("0.png", "2.png")))
    assert not done_again(explain("--json"))


# --- streams, names and pictures


def test_rows_go_to_stdout_and_all_else_to_stderr(explain: Explain, tmp_path: Path) -> None:
    several(tmp_path / "in", 2)
    assert explain().out == ""
    (tmp_path / "in" / "bad.jpg").write_text("no photo")
    ended = explain("--json")
    assert [row["path"] for row in sorted(ended.rows, key=lambda row: row["path"])] == ["0.png", "1.png", "bad.jpg"]
    for line in ended.out.splitlines():
        ROW.validate(strict_json(line))
    assert all(line.startswith("smoothcam: ") for line in ended.err.splitlines())


ODD_NAMES = [
    b"two words.png",
    b'it\'s "quoted".png',
    b"new\nline.png",
    b"-o.png",
    b"#1.png",
    b"100%s{0}.png",
    b"\xff\xfe.png",
    "\N{SNOWMAN}\N{COMBINING ACUTE ACCENT}.png".encode(),
    b"\x1b[31mred\x07.png",
    b"back\\slash.png",
    b"n" * 251 + b".png",
]


def test_any_file_name_is_explained_and_none_steers_the_terminal(
    explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = os.fsencode(tmp_path / "in")
    plain = photo(tmp_path / "plain.png", (10, 10))  # so small that each file gets a note on stderr
    Path(os.fsdecode(source)).mkdir()
    for name in ODD_NAMES:
        Path(os.fsdecode(source + b"/" + name)).write_bytes(plain.read_bytes())
        Path(os.fsdecode(source + b"/x" + name[:200] + b".jpg")).write_bytes(b"no photo")
    ended = explain("--json", "--sheet", "-v", "--nsamples", "0")
    assert ended.code == 3
    found = manifests(tmp_path / "out")
    assert {os.fsencode(name) for name, entry in found.items() if entry["status"] == "ok"} == set(ODD_NAMES)
    assert sum(entry["status"] == "failed" for entry in found.values()) == len(ODD_NAMES)
    assert len(ended.rows) == 2 * len(ODD_NAMES)
    lines = ended.err.removesuffix("\n").split("\n")
    assert sum("pixels: enlarged" in line for line in lines) == len(ODD_NAMES)
    assert sum("not a JPEG" in line for line in lines) == len(ODD_NAMES)
    assert all(line.startswith("smoothcam: ") and line.isprintable() for line in lines)
    assert any("\\x1b[31mred\\x07" in line for line in lines)
    assert any("\\xff\\xfe" in line for line in lines)
    again = explain("--json", "--nsamples", "0", "--retry-failed")
    assert {row["status"] for row in again.rows if not row["skipped"]} == {"failed"}

    monkeypatch.chdir(tmp_path / "in")
    assert len(explain("--json", source=["-o.png", "#1.png"], out=tmp_path / "dash").rows) == 2


def test_names_that_read_alike_keep_their_own_records(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    plain = photo(tmp_path / "plain.png").read_bytes()
    for name in (b"\xff.png", rb"\xff.png"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(plain)
    ended = explain("--json")
    assert len({row["path"] for row in ended.rows}) == 2


def test_a_turned_photo_is_explained_upright(explain: Explain, tmp_path: Path) -> None:
    upright = photo(tmp_path / "in" / "upright.png", (60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(upright) as image:
        lying = image.transpose(Image.Transpose.ROTATE_90)
        lying.save(tmp_path / "in" / "turned.png", exif=exif)
    with Image.open(tmp_path / "in" / "turned.png") as image:
        assert image.size == (40, 60)
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), pixels(upright))
    assert explain("--nsamples", "0").code == 0
    one, two = (manifest(tmp_path / "out" / name) for name in ("upright.png", "turned.png"))
    assert (two["image"]["width"], two["image"]["height"]) == (60, 40)
    np.testing.assert_array_equal(only_map(tmp_path / "out" / "turned.png"), only_map(tmp_path / "out" / "upright.png"))
    overlays = [pixels(tmp_path / "out" / e["image"]["path"] / e["maps"][0]["files"]["overlay"]) for e in (one, two)]
    assert overlays[0].shape == (40, 60, 3)
    np.testing.assert_array_equal(overlays[0], overlays[1])


def test_heat_lies_where_the_cropped_map_says_and_the_rest_is_grey(
    explain: Explain, tmp_path: Path, model_file: Path
) -> None:
    cropped = _copy(model_file, tmp_path / "cropped.keras")
    write_card(cropped, input={"size": [32, 32], "mean": [127], "std": [128], "fit": "crop", "crop_fraction": 0.75})
    original = pixels(photo(tmp_path / "in" / "wide.png", (200, 128)))
    assert explain("--nsamples", "0", "--picture-format", "png", model=cropped).code == 0
    (entry,) = manifest(tmp_path / "out" / "wide.png")["maps"]
    # the square in the middle, three quarters of 128 pixels wide
    top, left, side = 16, 52, 96
    seen = np.zeros((128, 200), np.bool_)
    seen[top : top + side, left : left + side] = True

    overlay = pixels(tmp_path / "out" / "wide.png" / entry["files"]["overlay"]).astype(int)
    assert np.ptp(original[~seen].astype(int), axis=-1).max() > 100, "the photo has colours to lose"
    assert np.ptp(overlay[~seen], axis=-1).max() == 0
    assert np.ptp(overlay[seen], axis=-1).max() > 50
    luma = original.astype(float) @ (0.299, 0.587, 0.114)
    assert np.corrcoef(overlay[~seen][:, 0], luma[~seen])[0, 1] > 0.99

    values = raw(tmp_path / "out" / "wide.png", entry)
    expected = _enlarged(values / values.max(), side)
    colours = cmap.Colormap("inferno").lut(256)[:, :3] * 255
    heat = pixels(tmp_path / "out" / "wide.png" / entry["files"]["heatmap"])
    assert np.ptp(heat[~seen].astype(int)) == 0

    def difference(dy: int, dx: int) -> float:
        moved = np.roll(colours[np.rint(expected * 255).astype(int)], (dy, dx), (0, 1))
        found = heat[top : top + side, left : left + side]
        return float(np.abs(found.astype(float) - moved)[2:-2, 2:-2].mean())

    assert difference(0, 0) < 1.5
    assert min(difference(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)) > difference(0, 0)


def _enlarged(values: Array, side: int) -> Array:
    """Interpolate linearly between cell centres, down the columns and then along the rows."""
    cells = len(values)
    at = (np.arange(side) + 0.5) * cells / side - 0.5
    down = np.stack([np.interp(at, np.arange(cells), column) for column in values.T], axis=1)
    return np.stack([np.interp(at, np.arange(cells), row) for row in down])


# --- settings


def test_the_record_says_where_each_setting_came_from(
    explain: Explain, smoothcam: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several(tmp_path / "in", 1)
    config = tmp_path / "run.yaml"
    config.write_text("std_dev: 0.2\nseed: 3\nnsamples: 2\n")
    monkeypatch.setenv("SMOOTHCAM_STD_DEV", "0.25")
    monkeypatch.setenv("SMOOTHCAM_SEED", "4")
    assert explain("--config", config, "--seed", "5").code == 0
    run = strict_json((tmp_path / "out" / "run.json").read_text())
    keys = ("std_dev", "seed", "nsamples", "score")
    assert [run["config"][key] for key in keys] == [0.25, 5, 2, "exp"]
    origins = [run["origin"][key] for key in keys]
    assert origins == ["environment SMOOTHCAM_STD_DEV", "flag --seed", f"{config}:3:11", "default"]
    entry = manifest(tmp_path / "out" / "0.png")
    assert [entry["settings"][key] for key in keys] == [0.25, 5, 2, "exp"]
    assert not NOT_IN_FINGERPRINT & entry["settings"].keys()
    shown = json.loads(smoothcam("config", "show", "--json", "--config", config, "--seed", "5").out)
    assert [shown[key]["origin"] for key in keys] == origins


@pytest.mark.parametrize("config", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_repository_is_valid(smoothcam: Command, config: Path) -> None:
    ended = smoothcam("config", "check", config)
    assert (ended.code, ended.err) == (0, "")


def test_a_config_written_by_init_changes_nothing(smoothcam: Command, tmp_path: Path) -> None:
    assert smoothcam("config", "init", tmp_path / "run.yaml").code == 0
    shown = json.loads(smoothcam("config", "show", "--json", "--config", tmp_path / "run.yaml").out)
    assert {key: entry["value"] for key, entry in shown.items()} == RunConfig().model_dump(mode="json")
    assert smoothcam("config", "init", tmp_path / "run.yaml").code == 2


def test_layers_lists_what_can_be_explained_and_marks_the_automatic_choice(
    smoothcam: Command, model_file: Path
) -> None:
    ended = smoothcam("layers", model_file, "--json")
    assert [(row["path"], row["grid"], row["auto"]) for row in ended.rows] == [
        ("conv1", [16, 16], True),
        ("conv2", [8, 8], False),
    ]


# --- as a process of its own


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["explain", "--help"], 0),
        (["models"], 0),
        (["config", "show"], 0),
        (["explain", "missing"], 2),
        (["explain", ".", "--method", "nonsense"], 2),
        (["explain", "."], 4),
    ],
    ids=shown,
)
def test_what_needs_no_tensorflow_does_not_wait_for_it(tmp_path: Path, arguments: list[str], code: int) -> None:
    script = (
        "import atexit, sys; from cam_cli.cli import main\n"
        'atexit.register(lambda: sys.stderr.write(f\'loaded={sorted({"tensorflow", "keras"} & set(sys.modules))}\'))\n'
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == code
    assert done.stderr.endswith("loaded=[]")


def test_an_interrupted_run_ends_well_and_goes_on_later(
    explain: Explain, tmp_path: Path, model_file: Path, launcher: Launcher
) -> None:
    several(tmp_path / "in", 100)
    flags = ["--model", model_file, "-o", tmp_path / "out", "--json"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = launcher.start("explain", tmp_path / "in", *flags, stdout=str(pipe))
    with pipe.open() as stdout:
        rows = [stdout.readline() for _ in range(3)]
        os.kill(command.pid, signal.SIGINT)
        out = stdout.read()
    assert command.ended() == 130
    said = command.said
    assert "Traceback" not in said
    assert all(line.startswith("smoothcam: ") for line in said.split("\n") if line)
    told = {strict_json(line)["path"] for line in [*rows, *out.splitlines()]}
    run = strict_json((tmp_path / "out" / "run.json").read_text())
    assert run["state"] == "stopped"
    finished = {path.parent.name for path in (tmp_path / "out").glob("*/manifest.json")}
    assert 3 <= len(finished) < 100
    assert told <= finished
    assert run["totals"]["explained"] == len(told)

    rest = explain("--json")
    assert rest.code == 0
    assert {row["path"] for row in rest.rows if row["skipped"]} == finished
    assert len(rest.rows) == len(manifests(tmp_path / "out")) == 100
