"""The walk: every image once, in one order, whatever the names and links."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from examples import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cam_cli.errors import UsageError
from cam_cli.images.find import common_root, find_images
from cam_cli.images.lists import listed

pytestmark = pytest.mark.pure


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


def test_files_that_look_like_images_are_told_once_each_and_only_where_a_walk_would_take_them(tmp_path: Path) -> None:
    plant(
        tmp_path,
        "a.jpg",
        "b.HEIC",
        "c.dng",
        "notes.txt",
        ".d.dng",
        "s/e.heic",
        "drafts/f.heic",
        "out/g.heic",
        "n.dng",
        "heic",
    )
    told: Counter[str] = Counter()
    how = {"lookalikes": ("heic", "dng"), "on_left_out": lambda ending: told.update([ending]), "exclude": ["drafts"]}
    paths = [tmp_path, tmp_path / "s", tmp_path / "n.dng", tmp_path / "*.txt"]
    found = names(paths, tmp_path, prune=[tmp_path / "out"], **how)
    assert sorted(found) == ["a.jpg", "n.dng", "notes.txt"]
    assert told == {"heic": 2, "dng": 1}


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


@settings(max_examples=examples(40), deadline=None)
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


LETTERS = st.text("ab", min_size=1, max_size=2)
NAMES = st.builds(
    "{}{}{}".format, st.sampled_from(["", "", "", "."]), LETTERS, st.sampled_from(["", "", ".jpg", ".txt"])
)
TREES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12)
PARTS = st.one_of(
    st.sampled_from(["**", "**", "*", "*", "*.jpg", ".*", "[!a]*", "[]a]*", "[.]a", "a**b", "[b-a]", "[a", "?.*"]),
    st.text("ab.*?[]!-", min_size=1, max_size=4).filter(lambda part: part not in {".", ".."}),
    NAMES,
)
GLOBS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def grow(root: Path, tree: set[str]) -> None:
    for name in sorted(tree):
        try:
            plant(root, name)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


def everything(root: Path) -> list[str]:
    """Return all files, hidden ones too, in the order of a walk."""
    found = [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()]
    return sorted(
        found, key=lambda file: [(1, os.fsencode(p)) for p in file.split("/")[:-1]] + [(0, os.fsencode(file))]
    )


def matches(pattern: str, root: Path, *, include_hidden: bool = False) -> set[str]:
    """Return what glob.glob matches, but no file as if it were a folder, as it does for `file/**`."""
    found = glob.glob(pattern, root_dir=root, recursive=True, include_hidden=include_hidden)  # noqa: PTH207
    return {match.rstrip("/") for match in found if os.path.lexists(f"{root}/{match}")}


def walked(file: str, folder: str) -> bool:
    """Say whether a walk through `folder` takes the file, as the words of the contract have it."""
    inside = file.removeprefix(folder.rstrip("/") + "/")
    return inside != file and not any(p.startswith(".") for p in inside.split("/")) and inside.endswith(".jpg")


@settings(max_examples=examples(60), deadline=None)
@given(TREES, GLOBS)
def test_a_glob_stands_for_what_the_standard_library_matches(
    tmp_path_factory: pytest.TempPathFactory, tree: set[str], pattern: str
) -> None:
    root = tmp_path_factory.mktemp("globs")
    grow(root, tree)
    assume(set("*?") & set(pattern) and not os.path.lexists(root / pattern))
    matched = matches(pattern, root)
    folders = [match for match in matched if (root / match).is_dir()]
    expected = [
        file
        for file in everything(root)
        if file in matched or any(walked("/" + file, "/" + folder) for folder in folders)
    ]
    assert names([root / pattern], root) == expected


@settings(max_examples=examples(40), deadline=None)
@given(TREES, st.lists(GLOBS, min_size=1, max_size=3))
def test_what_is_excluded_is_what_the_standard_library_matches_with_hidden_names(
    tmp_path_factory: pytest.TempPathFactory, tree: set[str], patterns: list[str]
) -> None:
    root = tmp_path_factory.mktemp("exclude")
    grow(root, tree)
    left_out: set[str] = set()
    for pattern in patterns:
        if "/" in pattern:
            left_out |= matches(pattern, root, include_hidden=True)

    def kept(file: str) -> bool:
        parts = file.split("/")
        folders_and_file = {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        by_name = any(fnmatch.fnmatchcase(part, p) for part in parts for p in patterns if "/" not in p)
        return not by_name and not left_out & folders_and_file

    files = everything(root)
    in_walk = [file for file in files if walked("/" + file, "")]
    assert names([root], root, exclude=patterns) == list(filter(kept, in_walk))
    assert names([], root, lists=[root / file for file in files], exclude=patterns) == list(filter(kept, files))


@settings(max_examples=examples(60), deadline=None)
@given(TREES, st.data())
def test_paths_that_overlap_yield_together_what_each_yields_alone_and_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, tree: set[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("overlap")
    grow(root, tree)
    (root / "l").symlink_to(".")
    places = [str(path.relative_to(root)) for path in root.rglob("*")]
    asked = data.draw(st.lists(st.one_of(GLOBS, st.sampled_from([".", *places])), min_size=1, max_size=4))
    paths = [root / path for path in asked]
    options: dict[str, Any] = {"exclude": data.draw(st.lists(GLOBS, max_size=1))}
    refused = data.draw(st.sampled_from([None, *places]))
    options["prune"] = [root / refused] if refused else []
    together = names(paths, root, **options)
    assert len(together) == len(set(together))
    assert set(together) == {found for path in paths for found in names([path], root, **options)}


def test_of_overlapping_paths_the_one_that_starts_deepest_has_its_place(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "a.raw", "s/b.jpg", "s/b.raw", "s/c.png")
    assert names([tmp_path, tmp_path / "s/*.jpg"], tmp_path) == ["a.jpg", "s/c.png", "s/b.jpg"]
    assert names([tmp_path / "*", tmp_path / "s"], tmp_path) == ["a.jpg", "a.raw", "s/b.jpg", "s/c.png"]
    assert names([tmp_path / "*.raw", tmp_path / "a*"], tmp_path) == ["a.raw", "a.jpg"]
    assert names([tmp_path / "*/*.raw", tmp_path / "**"], tmp_path) == [
        "s/b.raw",
        "a.jpg",
        "a.raw",
        "s/b.jpg",
        "s/c.png",
    ]
    assert names([tmp_path / "s/*", tmp_path / "s/c.png"], tmp_path) == ["s/b.jpg", "s/b.raw", "s/c.png"]


def test_a_glob_is_one_only_where_nothing_has_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a[1].jpg", "a1.jpg", "*/x.jpg", "y/x.jpg")
    monkeypatch.chdir(tmp_path)
    assert names([Path("a[1].jpg")], tmp_path) == ["a[1].jpg"]
    assert names([Path("a[[]1].jpg")], tmp_path) == ["a[1].jpg"]
    assert names([Path("*")], tmp_path) == ["*/x.jpg"]
    assert names([Path("?/*.jpg")], tmp_path) == ["*/x.jpg", "y/x.jpg"]
    assert names([Path("lost[1.jpg")], tmp_path) == ["lost[1.jpg"]
    assert [str(found.path) for found in find_images([Path("[xy]/x.jpg")], tmp_path)] == ["y/x.jpg"]


def test_brackets_are_negated_as_shells_do(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "b.jpg", "^.jpg", "].jpg", "[^]")
    assert names([tmp_path / "[!a].jpg"], tmp_path) == names([tmp_path / "[^a].jpg"], tmp_path)
    assert names([tmp_path / "[^a].jpg"], tmp_path) == ["].jpg", "^.jpg", "b.jpg"]
    assert names([tmp_path / "[^]a].jpg"], tmp_path) == ["^.jpg", "b.jpg"]
    assert names([tmp_path / "*[^]"], tmp_path) == ["[^]"]


def test_a_glob_that_matches_nothing_yields_nothing(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg")
    refused: list[Path] = []
    asked = [tmp_path / "*.png", tmp_path / "nowhere" / "*", tmp_path / "a.jpg" / "**"]
    assert names(asked, tmp_path, on_error=lambda path, _: refused.append(path)) == []
    assert refused == []


def test_no_way_back_up_after_a_wildcard(tmp_path: Path) -> None:
    for ask in (lambda: names([tmp_path / "*/../a.jpg"], tmp_path), lambda: common_root([tmp_path / "*/../a.jpg"])):
        with pytest.raises(UsageError, match=r"'\.\.' after a wildcard"):
            ask()


@pytest.fixture
def listed_folders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every folder that is listed, by its name."""
    seen: list[str] = []
    listing = os.scandir

    def noting(folder: Path) -> object:
        seen.append(Path(folder).name)
        return listing(folder)

    monkeypatch.setattr(os, "scandir", noting)
    return seen


def test_no_folder_is_listed_that_cannot_matter(tmp_path: Path, listed_folders: list[str]) -> None:
    plant(
        tmp_path,
        "r/a/x.jpg",
        "r/a/deep/y.jpg",
        "r/b/z.jpg",
        "r/cache/big/c.jpg",
        "r/.h/h.jpg",
        "r/out/o.jpg",
        "s/t.jpg",
    )
    root = tmp_path
    assert names([root / "r/a*/*.jpg"], root) == ["r/a/x.jpg"]
    assert listed_folders == ["r", "a"]
    listed_folders.clear()
    options = {"exclude": ["cache", "r/b"], "prune": [root / "r/out"]}
    assert names([root / "r"], root, **options) == ["r/a/x.jpg", "r/a/deep/y.jpg"]
    assert listed_folders == ["r", "a", "deep"]
    listed_folders.clear()
    assert names([root / "r/**/*.jpg"], root, **options) == ["r/a/x.jpg", "r/a/deep/y.jpg"]
    assert listed_folders == ["r", "a", "deep"]
    listed_folders.clear()
    assert names([root / "r/a", root / "r", root / "r/a"], root, **options) == ["r/a/x.jpg", "r/a/deep/y.jpg"]
    assert listed_folders == ["a", "deep", "r"]


def test_paths_given_are_not_excluded_but_what_is_in_them_is(tmp_path: Path) -> None:
    plant(tmp_path, "cache/a.jpg", "cache/b.png", "cache/sub/c.jpg", "cache/cache/d.jpg", "e.jpg")
    exclude = ["cache", "*.png", "/e.jpg", "sub/"]
    assert names([tmp_path], tmp_path, exclude=exclude) == []
    assert names([tmp_path / "cache"], tmp_path, exclude=exclude) == ["cache/a.jpg"]
    assert names([tmp_path / "cache" / "*"], tmp_path, exclude=exclude) == ["cache/a.jpg"]
    assert names([tmp_path / "cache/sub"], tmp_path, exclude=exclude) == ["cache/sub/c.jpg"]
    assert names([tmp_path / "cache/b.png", tmp_path / "e.jpg"], tmp_path, exclude=exclude) == ["cache/b.png", "e.jpg"]
    on_list = [tmp_path / name for name in ("cache", "cache/a.jpg", "cache/sub", "e.jpg", "gone.png", "gone.jpg")]
    assert names([], tmp_path, lists=on_list, exclude=exclude) == ["gone.jpg"]


def test_a_slash_at_the_end_excludes_folders_alone(tmp_path: Path) -> None:
    plant(tmp_path, "x.jpg/a.jpg", "y/x.jpg", "y/z.jpg")
    assert names([tmp_path], tmp_path, exclude=["x.jpg/"]) == ["y/x.jpg", "y/z.jpg"]
    assert names([tmp_path], tmp_path, exclude=["/y/"]) == ["x.jpg/a.jpg"]
    assert names([], tmp_path, lists=[tmp_path / "y/x.jpg"], exclude=["x.jpg/"]) == ["y/x.jpg"]


def test_other_endings_can_be_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "b.RAW", "raw", "c.ome.raw", "craw")
    assert names([tmp_path], tmp_path, extensions={"raw"}) == ["b.RAW", "c.ome.raw"]


def test_listed_paths_come_last_as_often_as_listed_and_even_if_missing(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "odd.raw", ".h.jpg", "s/b.jpg", "s/t/c.jpg", "s/notes.txt")
    on_list = [tmp_path / name for name in ("odd.raw", "gone.jpg", ".h.jpg", "s", "a.jpg", "a.jpg", "no*.jpg")]
    expected = ["a.jpg", "odd.raw", "gone.jpg", ".h.jpg", "s/b.jpg", "s/t/c.jpg", "a.jpg", "a.jpg", "no*.jpg"]
    assert names([tmp_path / "a.jpg"], tmp_path, lists=on_list) == expected


def test_a_list_is_read_no_further_than_needed(tmp_path: Path) -> None:
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield tmp_path / f"{asked}.jpg"

    plant(tmp_path, "a.jpg")
    images = find_images([tmp_path], tmp_path, lists=endless())
    seen = [(str(next(images).relative), asked) for _ in range(3)]
    assert seen == [("a.jpg", 0), ("1.jpg", 1), ("2.jpg", 2)]


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    # Held, so that the table of the names pathlib interns keeps its size.
    parts = [sys.intern(f"{i:03}") for i in range(150)]

    def peak(count: int) -> int:
        pairs = itertools.islice(itertools.product(parts, parts), count)
        images = find_images([tmp_path], tmp_path, lists=(tmp_path / folder / file for folder, file in pairs))
        tracemalloc.start()
        try:
            assert sum(1 for _ in images) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6_000) < peak(1_000) + 20_000


def test_memory_does_not_grow_with_the_folders_walked(tmp_path: Path) -> None:
    def peak(root: Path, folders: int) -> int:
        plant(root, *(f"{folder:04}/a.jpg" for folder in range(folders)))
        images = find_images([root], root)
        assert next(images)
        tracemalloc.start()
        try:
            assert sum(1 for _ in images) == folders - 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(tmp_path / "many", 1000) < peak(tmp_path / "few", 10) + 200_000


def test_folders_are_looked_at_one_by_one(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg", "c/z.jpg")
    looked_at: list[str] = []

    def pruned(folder: Path) -> bool:
        looked_at.append(folder.name)
        return folder.name == "b"

    images = find_images([tmp_path], tmp_path, prune_if=pruned)
    assert next(images).relative == PurePosixPath("a/x.jpg")
    assert looked_at == ["a"]
    assert [str(found.relative) for found in images] == ["c/z.jpg"]


ODD = [
    *(b"with space.jpg", b"'quo\"ted'.jpg", b"new\nline.jpg", b"cr\r", b"#comment.jpg", b"-leading.jpg", b"--.jpg"),
    *(
        b"[1].jpg",
        b"*.jpg",
        b"\xff\xfe.jpg",
        b"back\\slash.jpg",
        b"\xe2\x80\xae.jpg",
        b"x" * 251 + b".jpg",
        b"~.jpg",
        b"$HOME.jpg",
    ),
]


def test_odd_names_pass_through_every_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ODD:
        Path(os.fsdecode(name)).touch()
    Path("list").write_bytes(b"\0".join(ODD))
    paths = [Path(os.fsdecode(name)) for name in ODD]
    doors = {
        "given": find_images(paths, tmp_path),
        "walked": find_images([tmp_path], tmp_path, extensions={"jpg"}),
        "globbed": find_images([Path("?*[g\r]")], tmp_path),
        "listed": find_images([], tmp_path, lists=listed(Path("list"), nul=True)),
    }
    for door, images in doors.items():
        found = list(images)
        expected = sorted(n for n in ODD if door != "walked" or n.endswith(b".jpg"))
        assert sorted(os.fsencode(each.relative) for each in found) == expected, door
        assert all(each.path.exists() for each in found), door


def test_globs_pass_links_and_loops(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to("self")
    (tmp_path / "c").symlink_to("b")
    assert names([tmp_path / "**/*.jpg"], tmp_path) == ["a/x.jpg", "b/y.jpg", "c/y.jpg"]
    assert names([tmp_path / "?/s*"], tmp_path) == ["b/self", "c/self"]


def test_the_common_root_of_a_glob_is_the_folder_it_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "p/q/a.jpg", "p/r/b.jpg", "p/[x]/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert common_root([Path("p/q*/*.jpg")]) == tmp_path / "p"
    assert common_root([Path("p/q/*.jpg"), Path("p/r/b.jpg")]) == tmp_path / "p"
    assert common_root([Path("*.jpg")]) == tmp_path
    assert common_root([Path("p/[x]")]) == tmp_path / "p/[x]"


def test_any_root_and_any_form_of_path(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "ab/b.jpg")
    below_slash = str(tmp_path / "a.jpg").lstrip("/")
    assert names([tmp_path / "a.jpg"], Path("/")) == [below_slash]
    assert names([Path("/" + str(tmp_path)) / "a.jpg"], tmp_path) == ["a.jpg"]
    assert names([tmp_path / "x/../ab/./b.jpg"], tmp_path / "ab/..") == ["ab/b.jpg"]


def test_nothing_outside_the_root_is_taken_and_the_message_says_how_to(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    outside = tmp_path / "rest" / "x.jpg"
    for images in (
        find_images([outside], tmp_path / "r"),
        find_images([tmp_path / "re*/x.jpg"], tmp_path / "r"),
        find_images([], tmp_path / "r", lists=[outside]),
    ):
        with pytest.raises(UsageError) as caught:
            list(images)
        assert f"{str(tmp_path / 'r')!r}" in str(caught.value)
        assert "--root" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_path_outside_the_root_stops_everything_before_it_starts(tmp_path: Path) -> None:
    plant(tmp_path, "r/a.jpg", "x.jpg")
    with pytest.raises(UsageError):
        next(find_images([tmp_path / "r", tmp_path / "x.jpg"], tmp_path / "r"))


def test_a_given_folder_that_vanishes_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg", "b/y.jpg")
    refused: list[Path] = []
    images = find_images([tmp_path / "a", tmp_path / "b"], tmp_path, on_error=lambda path, _: refused.append(path))
    assert next(images).relative == PurePosixPath("a/x.jpg")
    (tmp_path / "b/y.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(images) == []
    assert refused == [tmp_path / "b"]
