"""The root of an image is told by its path and by its path below the root, on a disk and in an object store."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from cam_cli.images.find import ImageFile, find_images
from cam_cli.pipeline.run import _earlier_roots
from cam_cli.results.run_record import RunRecord
from cam_cli.storage.location import location, quoted

pytestmark = pytest.mark.pure


def test_on_a_disk_it_is_absolute_however_the_path_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.png").touch()
    monkeypatch.chdir(tmp_path / "a")
    for written in (Path("b"), Path("../a/b"), tmp_path / "a" / "b" / "x.png"):
        (found,) = find_images([written], tmp_path)
        assert (found.root, str(found.relative)) == (tmp_path, "a/b/x.png")


@pytest.mark.parametrize("below", ["x.png", "a/x.png", "a/../b//x.png", "~odd/\\x.png"])
@pytest.mark.parametrize("root", ["s3://bucket", "s3://bucket/deep/er"])
def test_in_a_store_it_is_the_url_before_the_rest_of_the_key(root: str, below: str) -> None:
    top = location(root)
    relative = PurePosixPath(*map(quoted, below.split("/")))
    assert ImageFile(top / relative, relative).root == top


def test_a_run_remembers_other_roots_than_its_own() -> None:
    assert _earlier_roots(None, "/a") == ()
    assert _earlier_roots(RunRecord(root="/a"), "/a") == ()
    assert _earlier_roots(RunRecord(root="/a"), "/b") == ("/a",)
    assert _earlier_roots(RunRecord(root="/b", earlier_roots=("/a",)), "/a") == ("/b",)
    assert _earlier_roots(RunRecord(root="/b", earlier_roots=("/a",)), "/c") == ("/a", "/b")
