"""The walk: every image once, in one order, whatever the names and links."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cam_cli.errors import UsageError
from cam_cli.images.find import common_root, find_images


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(paths: list[Path], root: Path, **options: object) -> list[str]:
    return [str(found.relative) for found in find_images(paths, root, **options)]


def test_files_come_before_subfolders_each_sorted_bytewise(tmp_path: Path) -> None:
    plant(tmp_path, "b/z.jpg", "b/a/x.PNG", "Z.jpeg", "a.tiff", "é.gif", "10.webp", "9.bmp", "B/q.TIF")
    assert names([tmp_path], tmp_path) == [
        "10.webp",
        "9.bmp",
        "Z.jpeg",
        "a.tiff",
        "é.gif",
        "B/q.TIF",
        "b/z.jpg",
        "b/a/x.PNG",
    ]


def test_other_endings_and_hidden_things_are_left_out_unless_named(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "notes.txt", "jpg", ".jpg", ".hidden.png", ".git/b.jpg", "odd.raw")
    assert names([tmp_path], tmp_path) == ["a.jpg"]
    asked = [tmp_path / "odd.raw", tmp_path, tmp_path / ".git", tmp_path / "missing.jpg"]
    assert names(asked, tmp_path) == ["odd.raw", "a.jpg", ".git/b.jpg", "missing.jpg"]


def test_overlapping_paths_yield_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a.jpg", "s/b.jpg", "s/t/c.jpg")
    monkeypatch.chdir(tmp_path)
    asked = [Path("s/../s"), tmp_path, Path("a.jpg"), tmp_path / "s", Path("s/t")]
    assert names(asked, tmp_path) == ["s/b.jpg", "a.jpg", "s/t/c.jpg"]


def test_the_output_folder_is_not_read_back(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "out/a.jpg/overlay.png", "deep/out/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert names([tmp_path], tmp_path, prune=[tmp_path / "deep" / ".." / "out"]) == [
        "a.jpg",
        "deep/out/b.jpg",
    ]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "c").symlink_to("b")
    (tmp_path / "b" / "gone.jpg").symlink_to("nowhere")
    assert names([tmp_path], tmp_path) == ["a/x.jpg", "b/gone.jpg", "b/y.jpg", "c/gone.jpg", "c/y.jpg"]


def test_a_folder_that_cannot_be_listed_is_reported_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg", "z.jpg")
    listing = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "a":
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    refused: list[Path] = []
    found = names([tmp_path], tmp_path, on_error=lambda path, _: refused.append(path))
    assert found == ["z.jpg", "b/y.jpg"]
    assert refused == [tmp_path / "a"]


def test_very_deep_trees_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("x.jpg").touch()
    os.chdir(tmp_path)
    found = names([tmp_path], tmp_path)
    (tmp_path / "/".join(["d"] * 1200) / "x.jpg").unlink()
    os.removedirs("/".join(["d"] * 1200))
    assert found == ["/".join(["d"] * 1200 + ["x.jpg"])]


def test_the_walk_does_not_run_ahead_of_its_reader(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg")
    walk = find_images([tmp_path], tmp_path)
    assert next(walk).relative == PurePosixPath("a/x.jpg")
    plant(tmp_path, "b/new.jpg")
    assert [str(found.relative) for found in walk] == ["b/new.jpg", "b/y.jpg"]


NAME = st.binary(min_size=1, max_size=12).filter(lambda b: not {0, 47} & set(b) and not b.startswith(b"."))


@settings(max_examples=40, deadline=None)
@given(st.sets(NAME, min_size=1, max_size=6))
def test_any_name_the_file_system_allows_passes_through(
    tmp_path_factory: pytest.TempPathFactory, given_names: set[bytes]
) -> None:
    root = tmp_path_factory.mktemp("names")
    expected = sorted(name + b".jpg" for name in given_names)
    for name in expected:
        (root / os.fsdecode(name)).touch()
    found = list(find_images([root], root))
    assert [os.fsencode(str(each.relative)) for each in found] == expected
    assert all(each.path.exists() for each in found)


def test_common_root_holds_everything_without_resolving_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "p/a.jpg", "p/q/b.jpg", "pq/c.jpg")
    (tmp_path / "link").symlink_to("p")
    monkeypatch.chdir(tmp_path)
    assert common_root([Path("p/a.jpg")]) == tmp_path / "p"
    assert common_root([Path("link")]) == tmp_path / "link"
    assert common_root([Path("p/a.jpg"), Path("p/q")]) == tmp_path / "p"
    assert common_root([Path("p"), Path("pq")]) == tmp_path
    with pytest.raises(UsageError):
        common_root([])


def test_a_path_outside_the_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not inside the root"):
        list(find_images([tmp_path / ".." / "x.jpg"], tmp_path))
