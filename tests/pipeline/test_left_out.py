"""Files that look like images and are left out of a folder: told at the end of a run, by every shard, and added up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parts import Listener

from cam_cli.config import RunConfig
from cam_cli.errors import NoImagesError
from cam_cli.pipeline.dry_run import dry_run
from cam_cli.pipeline.stats import Stats
from cam_cli.results.summary import summarize

pytestmark = pytest.mark.pure

TEXT = "3 files look like images and were left out: 2 .dng, 1 .psd"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "x.dng", "s/Y.DNG", "z.psd", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


@pytest.mark.parametrize("shard", [None, "1/2", "2/2"])
def test_the_dry_run_tells_them(images: Path, tmp_path: Path, shard: str | None) -> None:
    listener = Listener()
    list(dry_run([images], RunConfig(output=tmp_path / "out", shard=shard), listener))
    assert listener.said[0] == TEXT
    assert "nothing was written" in listener.said[-1]


def test_who_names_endings_is_told_nothing(images: Path, tmp_path: Path) -> None:
    listener = Listener()
    list(dry_run([images], RunConfig(output=tmp_path / "out", ext=("jpg",)), listener))
    assert len(listener.said) == 1


def test_a_folder_of_nothing_else_says_so(images: Path, tmp_path: Path) -> None:
    with pytest.raises(NoImagesError, match=r"no images in .*1 file looks like an image and was left out: 1 \.dng"):
        list(dry_run([images / "s"], RunConfig(output=tmp_path / "out"), Listener()))


def test_they_are_in_the_totals_and_change_no_exit_code() -> None:
    stats = Stats(explained=1)
    stats.left_out.update({"dng": 2})
    assert stats.exit_code == 0
    assert stats.totals().left_out == {"dng": 2}


def record(folder: Path, left_out: dict[str, int], shard: tuple[int, int] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    suffix = f".{shard[0]}-of-{shard[1]}" if shard else ""
    run = {
        "schema_version": 1,
        "state": "finished",
        "root": "/",
        "settings": {},
        "started": "2026-01-01T00:00:00+00:00",
    }
    run |= {"totals": {"left_out": left_out}, "shard": {"index": shard[0], "count": shard[1]} if shard else None}
    (folder / f"run{suffix}.json").write_text(json.dumps(run))
    (folder / f"index{suffix}.jsonl").touch()
    return folder


def test_shards_meet_the_same_files_and_runs_of_their_own_meet_others(tmp_path: Path) -> None:
    shards = [record(tmp_path / "a", {"dng": 2, "psd": 1}, (number, 2)) for number in (1, 2)]
    others = [record(tmp_path / "b", {"dng": 5}), record(tmp_path / "c", {"heif": 1})]
    summary = summarize([shards[0], *others])
    assert summary.left_out == {"dng": 7, "heif": 1, "psd": 1}
    assert summary.record()["left_out"] == summary.left_out
    assert summary.left_out_text.startswith("9 files look like images")
    assert summarize([shards[0]]).exit_code == 0


def test_wrong_totals_in_a_record_are_passed_over(tmp_path: Path) -> None:
    run = record(tmp_path / "a", {"dng": "many"})  # type: ignore[dict-item]
    assert summarize([run]).left_out == {}
