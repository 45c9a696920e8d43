"""A run folder that smoothcam 0.1.0 wrote: the present code takes it as its own, and reads the same figures from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

MADE = Path(__file__).parent.parent / "data" / "run_of_0_1"
EXPECTED = json.loads((MADE / "expected.json").read_bytes())
SETTINGS = (
    "--model", "model/tiny.keras", "--method", "smoothgradcam++", "--method", "gradcam", "--target", "top2",
    "--write", "raw,heatmap,overlay,joint", "--sheet", "--picture-size", "16", "--picture-format", "png",
)  # fmt: skip
ENGINE_VERSION_OF_0_1 = 3
EXPLAIN = ("explain", "images", *SETTINGS, "-o", "out")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the old run was made, copied, as the working folder; its output folder is `out`."""
    folder = Path(shutil.copytree(MADE, tmp_path / "audit"))
    for row in rows_of(folder):  # a checkout gives every file a time of its own
        os.utime(folder / "out" / row["path"] / "manifest.json", ns=(row["manifest_mtime_ns"],) * 2)
    monkeypatch.chdir(folder)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "index.jsonl").read_text().splitlines()]


def results_in(folder: Path) -> dict[str, bytes]:
    """Everything in the folders of the images, by its path."""
    files = [path for path in (folder / "out").rglob("*") if path.is_file() and path.parent != folder / "out"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def same_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the numbers were still those of 0.1: nothing else may make a finished image unfinished."""
    monkeypatch.setattr("cam_cli.plan.plan.ENGINE_VERSION", ENGINE_VERSION_OF_0_1)


def test_the_old_run_is_explained_again_as_its_noise_was_another(smoothcam: Command, old: Path) -> None:
    ended = smoothcam(*EXPLAIN)
    assert ended.code == 3, "one image had failed"
    assert "4 explained" in ended.err


def test_the_old_run_is_finished_under_the_same_settings(smoothcam: Command, old: Path, same_engine: None) -> None:
    before = results_in(old)
    ended = smoothcam(*EXPLAIN, "--json")
    assert ended.code == 3, "one image had failed"
    assert [{key: row[key] for key in EXPECTED["explain"][0]} for row in ended.rows] == EXPECTED["explain"]
    assert results_in(old) == before
    record = json.loads((old / "out" / "run.json").read_bytes())
    assert record["totals"]["skipped"] == 4


def test_the_old_run_is_recognised_without_tensorflow(old: Path) -> None:
    """As where nothing has changed since 0.1.0 wrote it: neither the times of the images nor any version."""
    rows = rows_of(old)
    for row in rows:
        status = (old / "images" / row["path"]).stat()
        row["source"] |= {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    (old / "out" / "index.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    versions = json.loads((old / "out" / "run.json").read_bytes())["versions"]
    script = (
        "import atexit, importlib.metadata, platform, sys\n"
        f"versions = {versions!r}\n"
        "installed = importlib.metadata.version\n"
        "hidden = {'openvino': 'there was no such extra'}\n"
        "importlib.metadata.version = lambda name: versions.get(name) or installed(hidden.get(name, name))\n"
        "platform.python_version = lambda: versions['python']\n"
        "import cam_cli.version\n"
        "cam_cli.version.__version__ = versions['smoothcam']\n"
        "import cam_cli.plan.plan\n"
        f"cam_cli.plan.plan.ENGINE_VERSION = {ENGINE_VERSION_OF_0_1}\n"
        "atexit.register(lambda: print('loaded', *{'tensorflow', 'keras', 'h5py'} & set(sys.modules)))\n"
        "from cam_cli.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, *EXPLAIN, "--runtime", "tensorflow"]  # auto may decide otherwise here
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "0 explained, 4 already done, 1 failed before" in done.stderr
    assert done.stdout.split() == ["loaded"]


def test_a_new_run_gives_the_files_and_maps_of_the_old_one(smoothcam: Command, old: Path, same_engine: None) -> None:
    """Maps without noise are the same; those with noise, which is another now, are nearly so."""
    shutil.move(old / "out", old / "before")
    assert smoothcam(*EXPLAIN).code == 3
    for name in ("before", "out"):
        for own in ("evaluation.json", ".lock", "index.jsonl"):
            (old / name / own).unlink(missing_ok=True)
    before, after = (sorted(p.relative_to(old / name) for p in (old / name).rglob("*")) for name in ("before", "out"))
    assert after == before
    for path in (path for path in after if path.suffix == ".npy"):
        was, now = np.load(old / "before" / path), np.load(old / "out" / path)
        assert now.dtype == was.dtype
        noisy = "gradcam" not in path.name
        np.testing.assert_allclose(now, was, rtol=0, atol=(0.1 if noisy else 1e-4) * float(was.max()))
    for path in (path for path in after if path.name == "manifest.json"):
        was, now = (json.loads((old / name / path).read_bytes()) for name in ("before", "out"))
        assert now.pop("runtime") == (None if now["error"] else "tensorflow"), "which 0.1 did not record"
        assert now.pop("drawing_version") == 2
        later = [now.pop(key) for key in ("also_true", "correct", "truth", "unknown_truth")]
        assert later == [[], None, None, None]
        assert list(now) == list(was)
        assert now["model"].pop("multi_label") is False
        assert now["image"].pop("root") == str(old / "images")
        assert now["model"].pop("score") == "logit", "which 0.1 explained without saying so"
        assert {key: now[key] for key in ("fingerprint", "settings", "image", "model")} == {
            key: was[key] for key in ("fingerprint", "settings", "image", "model")
        }
        assert (now["error"] or {}).get("stage") == (was["error"] or {}).get("stage")


def test_summarize_reads_the_old_run(smoothcam: Command, old: Path) -> None:
    ended = smoothcam("summarize", "out", "--format", "json")
    (found,) = ended.rows
    assert found.pop("left_out") == {}, "which 0.1 did not count"
    assert found.pop("truth") is None
    assert (ended.code, found) == (3, EXPECTED["summarize"])


def test_compare_reads_the_old_run(smoothcam: Command, old: Path) -> None:
    ended = smoothcam("compare", "out", "out", "--format", "json")
    assert ended.code == 0, ended.err
    (found,) = ended.rows
    for name in ("known", "broke", "fixed", "wrong_in_both"):
        assert found["totals"].pop(name) == 0, "which 0.1 did not ask for"
    assert {key: value for key, value in found.items() if key != "images"} == EXPECTED["compare"]
    assert [image["path"] for image in found["images"]] == [row["path"] for row in EXPECTED["explain"]]


def as_before(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return of an evaluation what the one before measured: later versions measure more."""
    which = ("layer", "method", "metric")
    known = {tuple(total[key] for key in which) for total in before["totals"]}
    totals = [total for total in found["totals"] if tuple(total[key] for key in which) in known]
    images = {
        path: [
            {"map": one["map"], "metrics": {key: one["metrics"][key] for key in other["metrics"]}}
            for one, other in zip(found["images"][path], maps, strict=True)
        ]
        for path, maps in before.get("images", {}).items()
    }
    what = {key: value for key, value in found.get("what", {}).items() if key in before.get("what", {})}
    later = {"totals": totals} | ({"what": what} if what else {}) | ({"images": images} if images else {})
    return {key: value for key, value in found.items() if key in before} | later


def test_evaluate_reads_the_old_run(smoothcam: Command, old: Path) -> None:
    ended = smoothcam(
        "evaluate", "out", "--annotations", "annotations.json", "--tolerance", "pixels", "--format", "json"
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    same_figures(as_before(found, EXPECTED["evaluate"]), EXPECTED["evaluate"], 2e-6)


def test_evaluate_opens_the_model_of_the_old_run(smoothcam: Command, old: Path) -> None:
    before = json.loads((old / "out" / "evaluation.json").read_bytes())
    flags = ("--annotations", "annotations.json", "--tolerance", "pixels", "--faithfulness", "blur", "--stability")
    assert smoothcam("evaluate", "out", *flags, "-q").code == 0
    now = as_before(json.loads((old / "out" / "evaluation.json").read_bytes()), before)
    same_figures(now, before, 1e-2)  # stability is over noise


def test_report_reads_the_old_run_and_its_evaluation(smoothcam: Command, old: Path) -> None:
    ended = smoothcam("report", "out")
    assert ended.code == 0, ended.err
    page = Page()
    page.feed((old / "out" / "report.html").read_text())
    assert page.blocks["closing"][0]["columns"] == EXPECTED["report"]["columns"]
    classes = [label for _, label, _ in page.blocks["closing"][0]["classes"]]
    rows = [
        [
            path,
            worst,
            best and [classes[best[0]], best[1]],
            [[kind, worry, classes[target], values] for kind, worry, target, values in maps],
        ]
        for block in page.blocks["rows"]
        for path, worst, best, maps in block
    ]
    same_figures(rows, EXPECTED["report"]["rows"], 2e-6)


class Page(HTMLParser):
    """The data in a report, by the id or the class of its script elements."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[str, list[Any]] = {}
        self._within: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        data = tag == "script" and of.get("type") == "application/json"
        self._within = of.get("id") or of.get("class") if data else None

    def handle_data(self, data: str) -> None:
        if self._within:
            self.blocks.setdefault(self._within, []).append(json.loads(data))
            self._within = None


def same_figures(found: Any, expected: Any, within: float) -> None:
    """Check that two values of JSON are equal, but for so much in their numbers."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=within)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same_figures(found[key], value, within)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same_figures(one, other, within)
    else:
        assert found == expected
