"""Runs in a store of objects, read where they are: the commands say what they say of a copy on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from hand_written import map_of, row_of, write_run
from object_store import BUCKET, ObjectStore, store

__all__ = ["store"]

pytestmark = pytest.mark.pure

NIGHTS = ("monday", "tuesday")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, store: ObjectStore) -> Path:
    """Two runs, of which the second has another class for `a/2.jpg`, both here and in the store."""
    folder = tmp_path_factory.mktemp("nights")
    heat = np.arange(16, dtype=np.float32).reshape(4, 4)
    for night, second in zip(NIGHTS, (0, 1), strict=True):
        rows = [
            row_of("a/1.jpg", [0, 1, 2, 3, 4], maps=[map_of(heat, 0)]),
            row_of("a/2.jpg", [second, 2, 3, 4, 5], maps=[map_of(heat.T if second else heat, second)]),
            row_of("b/3 \u00e4.jpg", [2, 1, 0, 3, 4], maps=[map_of(heat, 2)]),
            row_of("b/4.jpg", []),
        ]
        store.upload(write_run(folder / night, rows), night)
    return folder


def test_every_command_says_of_a_run_in_a_store_what_it_says_of_its_copy(
    smoothcam: Command, nights: Path, store: ObjectStore, tmp_path: Path
) -> None:
    def said(*command: object, code: int = 0) -> object:
        ended = smoothcam(*command, "--truth", "folder", "--format", "json")
        assert ended.code == code, ended.err
        found = json.loads(ended.out)
        return found | {"divisions": None} if command[0] == "summarize" else found

    here, there = (
        [base / night if base is nights else f"s3://{BUCKET}/{night}" for night in NIGHTS] for base in (nights, "")
    )
    evaluated = said("evaluate", there[1])
    assert evaluated == said("evaluate", here[1])
    assert json.loads(store.client.cat_file(f"{BUCKET}/tuesday/evaluation.json")) == evaluated
    assert evaluated["classification"]["right"] == 1  # type: ignore[index]
    compared = said("compare", *there)
    assert compared == said("compare", *here) == said("compare", there[0], here[1])
    assert compared["images"][0]["path"] == "a/2.jpg"  # type: ignore[index]
    assert compared["images"][0]["broke"]  # type: ignore[index]
    assert said("summarize", there[1], code=3) == said("summarize", here[1], code=3)
    pages = []
    for number, run in enumerate((there[1], here[1])):
        page = tmp_path / f"{number}.html"
        assert smoothcam("report", run, "-q", "-o", page).code == 0
        pages.append(page.read_text())
    assert f"s3://{BUCKET}/tuesday/a/1.jpg/map.npy" in pages[0]
    assert abs(len(pages[0]) - len(pages[1])) < 2000


def test_a_folder_of_a_store_that_holds_no_run_is_a_usage_error(smoothcam: Command, nights: Path) -> None:
    ended = smoothcam("evaluate", f"s3://{BUCKET}/wednesday")
    assert ended.code == 2
    assert f"'s3://{BUCKET}/wednesday' holds no run" in ended.err


def test_the_page_of_a_run_in_a_store_is_written_here(
    smoothcam: Command, nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert smoothcam("report", f"s3://{BUCKET}/monday", "-q").code == 0
    assert (tmp_path / "report.html").is_file()
