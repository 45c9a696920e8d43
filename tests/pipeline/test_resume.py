"""What a run recognises as finished: from the index, without the model, and never wrongly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, Ended, write_card
from PIL import Image

Explain = Callable[..., Ended]


@pytest.fixture
def explain(smoothcam: Command, model_file: Path, tmp_path: Path) -> Explain:
    def run(*arguments: object) -> Ended:
        model = tmp_path / "model" / "tiny.keras"
        if not model.exists():
            model.parent.mkdir()
            write_card(Path(shutil.copy(model_file, model)))
        flags = ["--model", model, "--write", "raw", "-o", tmp_path / "out", "--json"]
        return smoothcam("explain", tmp_path / "in", *flags, *arguments)

    return run


@pytest.fixture(autouse=True)
def _photos(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", i)


def save(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)


def done_again(ended: Ended) -> set[str]:
    return {row["path"] for row in ended.rows if not row["skipped"]}


def index_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def modules_of_a_rerun(tmp_path: Path, *flags: str) -> tuple[int, list[str]]:
    """Run the command in a process of its own; return its exit code and which of the heavy modules it loaded."""
    script = (
        "import atexit, sys; from cam_cli.cli import main; sys.argv[0] = 'smoothcam'\n"
        "atexit.register(lambda: sys.stderr.write('loaded ' + ' '.join({'tensorflow', 'keras', 'h5py'} & set(sys.modules))))\n"
        "main()"
    )
    arguments = ["explain", str(tmp_path / "in"), "--model", str(tmp_path / "model" / "tiny.keras"), "--write", "raw"]
    command = [sys.executable, "-c", script, *arguments, "-o", str(tmp_path / "out"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()[-1].split()[1:]


def test_a_run_with_nothing_to_do_and_a_dry_run_load_no_model(explain: Explain, tmp_path: Path) -> None:
    explain()
    assert modules_of_a_rerun(tmp_path) == (0, [])
    save(tmp_path / "in" / "new.png", 9)
    assert modules_of_a_rerun(tmp_path, "--dry-run") == (0, [])
    assert modules_of_a_rerun(tmp_path, "--dry-run", "--seed", "1") == (0, [])


def test_a_dry_run_says_what_the_run_then_does(explain: Explain, tmp_path: Path) -> None:
    explain()
    save(tmp_path / "in" / "new.png", 9)
    save(tmp_path / "in" / "1.png", 77)
    next((tmp_path / "out" / "2.png").glob("*.npy")).unlink()
    (tmp_path / "in" / "text.png").write_text("no photo")
    before = sorted(tmp_path.rglob("*"))
    planned = {row["path"]: row["action"] for row in explain("--dry-run").rows}
    assert sorted(tmp_path.rglob("*")) == before
    assert planned == {
        "0.png": "skip", "1.png": "check", "2.png": "explain", "new.png": "explain", "text.png": "explain"
    }  # fmt: skip
    assert done_again(explain()) == {path for path, action in planned.items() if action != "skip"}
    assert {row["action"] for row in explain("--dry-run").rows} == {"skip"}
    assert "--retry-failed" in {row["path"]: row["reason"] for row in explain("--dry-run").rows}["text.png"]


def test_a_dry_run_names_what_stands_in_the_way(explain: Explain, tmp_path: Path) -> None:
    out = tmp_path / "out"
    explain()
    (tmp_path / "in" / "sub").mkdir()
    save(tmp_path / "in" / "sub" / "a.png", 4)
    (out / "sub").symlink_to(tmp_path / "in")
    (collision,) = [row for row in explain("--dry-run").rows if row["action"] == "collide"]
    assert collision["path"] == "sub/a.png"
    assert "a link" in collision["reason"]


def test_a_photo_whose_time_alone_changed_is_read_and_not_explained(explain: Explain, tmp_path: Path) -> None:
    explain()
    before = (tmp_path / "out" / "1.png" / "manifest.json").stat().st_mtime_ns
    os.utime(tmp_path / "in" / "1.png", ns=(1, 1))
    assert done_again(explain()) == set()
    assert (tmp_path / "out" / "1.png" / "manifest.json").stat().st_mtime_ns == before
    assert len(index_of(tmp_path / "out")) == 4, "the new time is noted, so that it is not read again"
    explain()
    assert len(index_of(tmp_path / "out")) == 4


def test_a_photo_of_the_same_size_and_time_but_other_bytes_is_explained(explain: Explain, tmp_path: Path) -> None:
    path = tmp_path / "in" / "1.png"
    Image.new("RGB", (12, 12), (10, 20, 30)).save(path, compress_level=0)
    explain()
    status = path.stat()
    Image.new("RGB", (12, 12), (30, 20, 10)).save(path, compress_level=0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert done_again(explain()) == {"1.png"}


def test_without_an_index_the_manifests_tell_and_the_index_is_made_anew(explain: Explain, tmp_path: Path) -> None:
    explain()
    rows = index_of(tmp_path / "out")
    (tmp_path / "out" / "index.jsonl").unlink()
    assert done_again(explain()) == set()
    fresh = index_of(tmp_path / "out")
    times = ("finished", "manifest_mtime_ns")
    assert [{k: v for k, v in row.items() if k not in times} for row in fresh] == [
        {k: v for k, v in row.items() if k not in times} for row in rows
    ]


def test_an_index_of_other_settings_is_not_believed(explain: Explain, tmp_path: Path) -> None:
    """The rows of a first run must not vouch for files that a second run replaced under the same names."""
    explain()
    first = (tmp_path / "out" / "index.jsonl").read_bytes()
    explain("--seed", "1")
    (tmp_path / "out" / "index.jsonl").write_bytes(first)
    assert done_again(explain()) == {"0.png", "1.png", "2.png"}


@pytest.mark.parametrize("change", ["card", "labels", "model"])
def test_what_the_model_is_made_of_is_looked_at_each_time(explain: Explain, tmp_path: Path, change: str) -> None:
    explain()
    assert done_again(explain()) == set()
    model = tmp_path / "model" / "tiny.keras"
    if change == "card":
        write_card(model, layer="conv2")
    elif change == "labels":
        model.with_suffix(".txt").write_text("a\nb\nc\nd\ne\n")
    else:
        with model.open("ab") as file:
            file.write(b"\0")
        write_card(model)
    assert done_again(explain()) == {"0.png", "1.png", "2.png"}


def test_a_failure_counts_until_it_is_tried_again(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.png").write_text("no photo")
    assert explain().code == 3
    again = explain()
    assert (again.code, done_again(again)) == (3, set())
    assert "--retry-failed" in again.err
    assert done_again(explain("--seed", "1")) == {"0.png", "1.png", "2.png", "bad.png"}, "other settings, another try"
    assert done_again(explain("--seed", "1", "--retry-failed")) == {"bad.png"}
    save(tmp_path / "in" / "bad.png", 5)
    assert explain("--seed", "1").code == 0


def test_a_target_that_was_missing_is_tried_again_once_it_is_there(explain: Explain, tmp_path: Path) -> None:
    table = tmp_path / "targets.csv"
    table.write_text("path,target\n0.png,1\n1.png,2\n")
    assert explain("--targets-from", table).code == 3
    assert done_again(explain("--targets-from", table)) == set()
    table.write_text("path,target\n0.png,1\n1.png,2\n2.png,3\n")
    ended = explain("--targets-from", table)
    assert (ended.code, done_again(ended)) == (0, {"2.png"})


def test_a_listed_file_that_is_missing_is_a_failed_image(
    explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list").write_text("in/0.png\nin/gone.png\n")
    (tmp_path / "in" / "1.png").unlink()
    (tmp_path / "in" / "2.png").unlink()
    ended = explain("--files-from", tmp_path / "list", "--root", tmp_path)
    assert ended.code == 2, "paths in a list are taken from the working directory"
    monkeypatch.chdir(tmp_path)
    ended = explain("--files-from", tmp_path / "list", "--root", tmp_path)
    assert ended.code == 3
    failed = {row["path"]: row["error"]["stage"] for row in ended.rows if row["status"] == "failed"}
    assert failed == {"in/gone.png": "read"}
    assert sum(row["path"] == "in/0.png" for row in ended.rows) == 2
    assert len(done_again(ended)) == 2


def test_shards_share_the_work_and_add_up(explain: Explain, smoothcam: Command, tmp_path: Path) -> None:
    for i in range(3, 9):
        save(tmp_path / "in" / f"{i}.png", i)
    parts = [{row["path"] for row in explain("--shard", f"{i}/3").rows} for i in (1, 2)]
    missing = smoothcam("summarize", tmp_path / "out")
    assert missing.code == 3
    assert "3" in missing.err
    parts.append({row["path"] for row in explain("--shard", "3/3").rows})
    assert sum(map(len, parts)) == len(set.union(*parts)) == 9
    assert smoothcam("summarize", tmp_path / "out").code == 0
    assert done_again(explain()) == set(), "the whole run knows what its shards have done"
    assert done_again(explain("--shard", "1/2")) == set()
