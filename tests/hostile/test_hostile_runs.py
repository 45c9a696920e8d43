"""Run folders that somebody else made, and places that somebody else prepared: no code runs, nothing outside is read or
written, and files are as the umask says."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import Command
from run_trees import read_manifest
from test_hostile_models import saved, touching
from test_hostile_names import plant_photos, snapshot

from cam_cli.results.reader import RunReader

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

SHOWN = {
    "evaluate": ("evaluate", "RUN"),
    "report": ("report", "RUN"),
    "compare": ("compare", "RUN", "RUN", "--html", "PAGE"),
}
WRITES = {"evaluate": "RUN/evaluation.json", "report": "RUN/report.html", "compare": "PAGE"}


KINDS = ("--target", "top2", "--write", "raw,heatmap,overlay,joint", "--sheet", "--nsamples", "0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def explained(smoothcam: Command, model_file: Path, finished: Path, tmp_path: Path) -> Path:
    """A copy of a run over two photos, with all its kinds of files."""
    run = finished / "RUN"
    if not run.exists():
        plant_photos(finished / "photos", [b"a.png", b"b.png"])
        assert smoothcam("explain", finished / "photos", "--model", model_file, "-o", run, *KINDS).code == 0
    return Path(shutil.copytree(run, tmp_path / "RUN"))


def shown(smoothcam: Command, top: Path, name: str) -> Any:
    return smoothcam(*(top / word if word.isupper() else word for word in SHOWN[name]))


def test_a_run_folder_allows_no_code(smoothcam: Command, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    model = saved(tmp_path, "model.keras", keras.layers.Lambda(touching(marker)))
    plant_photos(tmp_path / "photos", [b"a.png"])
    explain = ["explain", tmp_path / "photos", "--model", model, "-o", tmp_path / "RUN", "--nsamples", "0"]
    assert smoothcam(*explain, "--unsafe-lambda").code == 0
    marker.unlink()
    for flag in ("--stability", "--sanity"):
        refused = smoothcam("evaluate", tmp_path / "RUN", flag)
        assert (refused.code, refused.err.count("\n")) == (1, 1)
        assert "--unsafe-lambda" in refused.err
        assert not marker.exists()
        assert smoothcam("evaluate", tmp_path / "RUN", flag, "--unsafe-lambda").code == 0
        marker.unlink()


def test_a_manifest_names_files_beside_it_alone(explained: Path) -> None:
    file = explained / "a.png" / "manifest.json"
    whole = json.loads(file.read_bytes())
    assert read_manifest(file.parent) is not None
    for name in ("../../private.png", "/etc/private.png", "below/private.png"):
        for kind in ("raw", "heatmap", "overlay"):
            files = whole["maps"][0]["files"] | {kind: name}
            file.write_text(json.dumps(whole | {"maps": [whole["maps"][0] | {"files": files}]}))
            assert read_manifest(file.parent) is None
        file.write_text(json.dumps(whole | {"joint": [whole["joint"][0] | {"file": name}]}))
        assert read_manifest(file.parent) is None


def test_an_index_leads_to_no_manifest_elsewhere(explained: Path) -> None:
    shutil.copytree(explained / "a.png", explained.parent / "secret")
    (explained / "a.png" / "deeper").mkdir()
    index = explained / "index.jsonl"
    row = json.loads(index.read_text().splitlines()[0])
    index.write_text(
        "".join(json.dumps(row | {"path": path}) + "\n" for path in ("../secret", "a.png/../../secret", "a.png"))
    )
    assert [image.path for image in RunReader(explained).images()] == ["a.png"]


@pytest.mark.parametrize("file", ["run.json", "evaluation.json", "index.jsonl", "a.png/manifest.json"])
def test_records_beyond_all_measure_are_one_line(smoothcam: Command, explained: Path, file: str) -> None:
    for text in ("[" * 200_000, '{"a":' * 200_000, "\xff", '{"path": []}\n'):
        (explained / file).write_text(text, "latin-1")
        for name in SHOWN:
            ended = shown(smoothcam, explained.parent, name)
            assert ended.code in {0, 2}
            assert "mistake" not in ended.err
            assert ended.err.count("\n") <= 2
        assert smoothcam("summarize", explained).code in {0, 2, 3}
        (explained / "evaluation.json").unlink(missing_ok=True)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("target", ["file", "nothing", "folder"])
def test_no_command_writes_through_a_link(smoothcam: Command, explained: Path, name: str, target: str) -> None:
    top = explained.parent
    elsewhere = top / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("not to be touched")
    (elsewhere / "evaluation.json").write_text("not to be touched")
    written = top / WRITES[name]
    written.symlink_to(elsewhere / {"file": "precious", "nothing": "new", "folder": "."}[target])
    (explained / ".work.evaluate").symlink_to(elsewhere)
    before = snapshot(elsewhere)
    shown(smoothcam, top, name)
    assert snapshot(elsewhere) == before


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_files_and_folders_are_as_the_umask_says(
    smoothcam: Command, model_file: Path, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        plant_photos(tmp_path / "in", [b"a.png"])
        flags = ["--model", model_file, "-o", tmp_path / "OUT", "--log-file", tmp_path / "log", *KINDS]
        assert smoothcam("explain", tmp_path / "in", *flags).code == 0
        for words in (
            ["evaluate", tmp_path / "OUT"],
            ["report", tmp_path / "OUT"],
            ["config", "init", tmp_path / "new.yaml"],
        ):
            assert smoothcam(*words).code == 0
        assert smoothcam("compare", tmp_path / "OUT", tmp_path / "OUT", "--html", tmp_path / "page.html").code == 0
    finally:
        os.umask(before)
    written = [
        tmp_path / "log",
        tmp_path / "page.html",
        tmp_path / "new.yaml",
        tmp_path / "OUT",
        *(tmp_path / "OUT").rglob("*"),
    ]
    assert len(written) > 10
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path
