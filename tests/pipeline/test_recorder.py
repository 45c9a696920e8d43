"""The recorder: a manifest that is published, then a row that belongs to it, then a count; a failure is a record too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parts import Parts, images

from cam_cli.errors import SmoothcamError
from cam_cli.executors.executor import Result, Task
from cam_cli.images.find import ImageFile
from cam_cli.results.manifest import Failure, ImageRecord

pytestmark = pytest.mark.pure
CUT_OFF = Failure(stage="decode", type="ImageError", message="cut off")


def explained(run: Parts, image: ImageFile, notes: tuple[str, ...] = ()) -> Result:
    staged = run.store.stage()
    manifest = run.plan.manifest(ImageRecord(path=str(image.relative), sha256="1" * 64), (0,), status="ok")
    manifest.write(staged)
    (staged / "map.npy").write_bytes(b"values")
    return Result(Task(image, (0,)), sha256="1" * 64, notes=notes, manifest=manifest, staged=staged)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def test_a_row_belongs_to_the_manifest_on_the_disk(tmp_path: Path) -> None:
    (image,) = images(tmp_path / "in", "a.png")
    with Parts(tmp_path / "out") as run:
        assert run.recorder.record(explained(run, image))
        (row,) = rows(run.out)
        assert row["manifest_mtime_ns"] == (run.out / "a.png" / "manifest.json").stat().st_mtime_ns
        assert sorted(path.name for path in (run.out / "a.png").iterdir()) == ["manifest.json", "map.npy"]
        assert [(told["path"], skipped) for told, skipped in run.listener.rows] == [("a.png", False)]
        assert not {"source", "manifest_mtime_ns", "finished"} & run.listener.rows[0][0].keys(), "for the index alone"


def test_nothing_is_told_or_indexed_before_the_manifest_is_published(tmp_path: Path) -> None:
    (image,) = images(tmp_path / "in", "a.png")
    with Parts(tmp_path / "out") as run:
        published = []
        run.listener.on_image = lambda _: published.append((run.out / "a.png" / "manifest.json").exists())
        run.recorder.record(explained(run, image))
        assert published == [True]


def test_a_row_that_cannot_be_written_ends_the_run_and_the_manifest_stays(tmp_path: Path) -> None:
    first, second = images(tmp_path / "in", "a.png", "b.png")
    with Parts(tmp_path / "out") as run:
        run.recorder.record(explained(run, first))
        run.rows.append = lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # type: ignore[method-assign]
        with pytest.raises(SmoothcamError, match="No space left"):
            run.recorder.record(explained(run, second))
        assert (run.out / "b.png" / "manifest.json").exists()
        assert run.stats.explained == 1, "an image that is not in the index is not counted"


def test_a_failure_is_a_manifest_with_its_stage_and_reason(tmp_path: Path) -> None:
    (image,) = images(tmp_path / "in", "a.png")
    with Parts(tmp_path / "out") as run:
        run.recorder.record(Result(Task(image, (0,)), sha256="2" * 64, failure=CUT_OFF))
        manifest = json.loads((run.out / "a.png" / "manifest.json").read_text())
        assert (manifest["status"], manifest["error"]) == ("failed", CUT_OFF.model_dump())
        assert rows(run.out)[0]["source"]["size"] == len("a.png"), "so that it is tried again when the file changes"
        assert run.listener.warned == [f"{image.path}: cut off"]


def test_where_no_folder_can_be_made_the_failure_is_in_the_index_alone(tmp_path: Path) -> None:
    (image,) = images(tmp_path / "in", "a.png")
    with Parts(tmp_path / "out") as run:
        (run.out / "a.png").write_text("somebody's file")
        run.recorder.record(explained(run, image))
        (row,) = rows(run.out)
        assert (row["status"], row["error"]["stage"], row["manifest_mtime_ns"]) == ("failed", "write", None)
        assert (run.out / "a.png").read_text() == "somebody's file"
        assert len(run.listener.warned) == 1, "the reason is told once"


def test_an_image_with_the_bytes_it_had_gets_a_row_with_its_new_time(tmp_path: Path) -> None:
    (image,) = images(tmp_path / "in", "a.png")
    with Parts(tmp_path / "out") as run:
        run.recorder.record(explained(run, image))
        known = run.listener.rows[0][0]
        before = (run.out / "a.png" / "manifest.json").read_bytes()
        run.recorder.record(Result(Task(image, (0,), known), sha256="1" * 64))
        assert (run.out / "a.png" / "manifest.json").read_bytes() == before
        assert len(rows(run.out)) == 2
        assert (run.stats.explained, run.stats.skipped) == (1, 1)


def test_notes_are_told_ten_times_and_in_detail_from_then_on(tmp_path: Path) -> None:
    files = images(tmp_path / "in", *(f"{i:02}.png" for i in range(12)))
    with Parts(tmp_path / "out") as run:
        for image in files:
            run.recorder.record(explained(run, image, notes=("frame 1 of 3",)))
        assert sum("frame 1 of 3" in line for line in run.listener.said) == 10
        assert sum("frame 1 of 3" in line for line in run.listener.details) == 2
        assert any("--verbose" in line for line in run.listener.said)
