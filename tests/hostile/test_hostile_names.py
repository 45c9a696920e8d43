"""Names and links that were made to do harm: every image keeps its own place, nothing is written outside the run folder, and
nothing is replaced that no run made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from conftest import Command, Ended
from examples import examples
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cam_cli.errors import ImageError, SmoothcamError
from cam_cli.results.disk_store import DiskResultStore
from cam_cli.results.index import Index
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.text import from_printable

OWN = (
    "run.json", "run.2-of-8.json", "index.jsonl", "index.2-of-8.jsonl", ".lock", ".work", ".work.2-of-8", "sheet.jpg",
)  # fmt: skip
SHARDS = (Shard(), Shard(2, 8))
LONGEST_NAME = 255
Tree = dict[str, tuple[int, int, bytes]]


def snapshot(top: Path, *, without: Sequence[Path] = ()) -> Tree:
    """Everything below a folder, links not followed: its mode, its time if it is no folder, and what it holds."""
    found: Tree = {}
    left_out = {str(path) for path in without}
    waiting = [str(top)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path in left_out:
                    continue
                status = entry.stat(follow_symlinks=False)
                content, time = b"", status.st_mtime_ns
                if stat.S_ISLNK(status.st_mode):
                    content = os.fsencode(Path(entry.path).readlink())
                elif stat.S_ISDIR(status.st_mode):
                    time = 0
                    waiting.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    content = Path(entry.path).read_bytes()
                found[entry.path] = (status.st_mode, time, content)
    return found


# --- names

ODD = [
    b" ", b"two words", b"it's \"quoted\"", b"new\nline", b"a\ttab", b"#1", b"-o", b"--json", b"~", b"*", b"[a]?",
    b"back\\slash", b"\\xff", b"\xff", b"\xff\xfe", b"\\n", b"\n", b"\r\n", b"\x01\x7f", b"\x1b[31mred\x07",
    b"\x1b]0;title\x1b\\", b"$(id)`id`%s{0}", b"...", b"-", b"--",
    *(text.encode() for text in ("\u202egnp", "\x85\u2028\ufeff", "\u00e9", "e\u0301", "\N{SNOWMAN}")),
]  # fmt: skip
LIKE_RECORDS = [
    *OWN, *(f"{name}~" for name in OWN), "run.json~~", "manifest.json", "a.heatmap.png", "a.jpg", "run.json.jpg",
    "run.0-of-0.json", "run.12345678901-of-3.json", "RUN.JSON", "run.json\n", "run.json ", "~run.json", ".work~image", "image",
    "retired",
]  # fmt: skip
LONG = [b"n" * 255, b"\xff" * 255, b"\n" * 254 + b"a", b"run.json".ljust(255, b"~"), b".lock".ljust(254, b"~")]

names = st.one_of(
    st.sampled_from(LIKE_RECORDS),
    st.sampled_from([*ODD, *LONG]).map(os.fsdecode),
    st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name)).map(os.fsdecode),
).filter(lambda name: name not in {".", ".."})
relatives = st.lists(names, min_size=1, max_size=3).map(lambda parts: PurePosixPath(*parts))


def _apart(paths: list[PurePosixPath]) -> list[PurePosixPath]:
    """Those that can all be files of one tree: none of them is a folder that another lies in."""
    kept: list[PurePosixPath] = []
    for path in paths:
        if not any(path.is_relative_to(other) or other.is_relative_to(path) for other in kept):
            kept.append(path)
    return kept


trees = st.lists(relatives, min_size=1, max_size=10).map(_apart)


@settings(max_examples=examples(100), deadline=None)
@example([PurePosixPath(f"sheet.jpg{'~' * count}") for count in range(4)], SHARDS[0])
@given(trees, st.sampled_from(SHARDS))
def test_no_image_shares_a_place_with_another_or_with_the_runs_own_files(
    images: list[PurePosixPath], shard: Shard
) -> None:
    folder = DiskResultStore(Path("out"), shard)
    places = [os.fsencode(os.path.relpath(Path(folder.key(image)), "out")).split(b"/") for image in images]
    for i, one in enumerate(places):
        assert b".." not in one
        assert os.fsdecode(one[0]) not in {*OWN, "."}
        for other in places[:i]:
            shorter = min(len(one), len(other))
            assert one[:shorter] != other[:shorter], "neither is the other, nor lies in it"


# --- the run folder, with real files


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        (top / "out").mkdir()
        for folder in ("elsewhere", "elsewhere/image", "elsewhere/retired"):
            (top / folder).mkdir()
            (top / folder / "precious").write_text("not to be touched")
        yield top


def staged(folder: DiskResultStore, token: str) -> Path:
    place = folder.stage()
    (place / "conv1.3.npy").write_text(token)
    (place / "manifest.json").write_text(token)
    return place


RECORD = RunRecord(root="in", paths=("in",), state="running")
FINISHED = RECORD.model_copy(update={"state": "finished"})


@contextmanager
def begun(folder: DiskResultStore) -> Iterator[None]:
    """What a run does around its images, in its order."""
    with folder.open_for_writing(0, lambda: None):
        folder.last_run()
        with Index(folder.path) as index, folder.open_index() as rows:
            assert len(index) == 0
            folder.write_run_record(RECORD)
            yield
            rows.append({"path": "x"})
            folder.write_run_record(FINISHED)
            folder.write_sheet(b"sheet")


@settings(max_examples=examples(25), deadline=None)
@example([PurePosixPath(name) for name in (*OWN, "manifest.json", "run.json~")], SHARDS[0])
@given(trees, st.sampled_from(SHARDS))
def test_every_image_comes_to_its_own_place_and_nowhere_else(images: list[PurePosixPath], shard: Shard) -> None:
    with scratch() as top:
        folder = DiskResultStore(top / "out", shard)
        outside = snapshot(top, without=[top / "out"])
        too_long = set()
        with begun(folder):
            for round_ in range(2):
                for number, image in enumerate(images):
                    place = staged(folder, f"{round_} {number}")
                    if max(len(os.fsencode(part)) for part in Path(folder.key(image)).parts) > LONGEST_NAME:
                        too_long.add(image)
                        with pytest.raises(ImageError, match="File name too long"):
                            folder.publish(place, image, [])
                    else:
                        folder.publish(place, image, [])
        expected = {f"run{shard.suffix}.json", f"index{shard.suffix}.jsonl", ".lock", "sheet.jpg"}
        for number, image in enumerate(images):
            if image not in too_long:
                for name in ("manifest.json", "conv1.3.npy"):
                    file = Path(folder.key(image)) / name
                    assert file.read_text() == f"1 {number}"
                    expected.add(os.path.relpath(file, folder.path))
        assert RunRecord.from_json((folder.path / f"run{shard.suffix}.json").read_bytes()) == FINISHED
        assert (folder.path / "sheet.jpg").read_text() == "sheet"
        files = [path for path, (mode, *_) in snapshot(folder.path).items() if not stat.S_ISDIR(mode)]
        assert {os.path.relpath(path, folder.path) for path in files} == expected
        assert snapshot(top, without=[top / "out"]) == outside


# --- what stands in an image's way


def _foreign_folder(entry: str, plant: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    def planted(place: Path, elsewhere: Path) -> None:
        place.mkdir()
        (place / "conv1.3.npy").write_text("an earlier result")
        plant(place / entry, elsewhere)

    return planted


IN_THE_WAY: dict[str, Callable[[Path, Path], object]] = {
    "link to a folder": lambda place, elsewhere: place.symlink_to(elsewhere),
    "relative link": lambda place, elsewhere: place.symlink_to(os.path.relpath(elsewhere, place.parent)),
    "link to a file": lambda place, elsewhere: place.symlink_to(elsewhere / "precious"),
    "dangling link": lambda place, elsewhere: place.symlink_to(elsewhere / "new"),
    "link to itself": lambda place, _: place.symlink_to(place),
    "file": lambda place, _: place.write_text("theirs"),
    "pipe": lambda place, _: os.mkfifo(place),
}
IN_THE_PLACE = IN_THE_WAY | {
    f"folder with a {kind} called {name!r}": _foreign_folder(name, plant)
    for kind, plant in {**IN_THE_WAY, "folder": lambda place, _: place.mkdir()}.items()
    for name in ("notes.txt", "\x1b[31m\n", "conv1.4.npy", "a.jpg", "manifest.json")
    if (kind, name) != ("file", "manifest.json")
}


@settings(max_examples=examples(50), deadline=None)
@given(relatives, st.data())
def test_what_no_run_made_is_neither_replaced_nor_followed(image: PurePosixPath, data: st.DataObject) -> None:
    with scratch() as top:
        folder = DiskResultStore(top / "out", Shard())
        parts = Path(folder.key(image)).relative_to(folder.path).parts
        depth = data.draw(st.integers(1, len(parts)), "depth")
        what = data.draw(st.sampled_from(sorted(IN_THE_PLACE if depth == len(parts) else IN_THE_WAY)), "in the way")
        with begun(folder):
            place = folder.path.joinpath(*parts[:depth])
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                IN_THE_PLACE[what](place, top / "elsewhere")
            except OSError:
                assume(False)
            before = snapshot(top, without=[top / "out" / ".work"])
            image_of_a_run = staged(folder, "new")
            with pytest.raises(ImageError) as refused:
                folder.publish(image_of_a_run, image, ["conv1.5.npy"])
            assert snapshot(top, without=[top / "out" / ".work"]) == before
            assert (folder.obstacle(image) is None) == what.startswith("folder")
        assert refused.value.stage == "write"
        assert str(refused.value).isprintable()
        assert not (folder.path / ".work").exists()


@pytest.mark.parametrize("kind", [kind for kind in IN_THE_WAY if "link" in kind])
@pytest.mark.parametrize("name", OWN)
def test_a_link_in_place_of_the_runs_own_files_leads_nothing_astray(name: str, kind: str) -> None:
    shard = SHARDS["2-of-8" in name]
    with scratch() as top:
        folder = DiskResultStore(top / "out", shard)
        for _ in range(2):
            with begun(folder):
                pass
        own = folder.path / name
        own.unlink(missing_ok=True)
        IN_THE_WAY[kind](own, top / "elsewhere")
        outside = snapshot(top, without=[top / "out"])
        with suppress(SmoothcamError), begun(folder):
            folder.publish(staged(folder, "new"), PurePosixPath("a.jpg"), [])
        assert snapshot(top, without=[top / "out"]) == outside


LOOK_ALIKES: dict[str, dict[str, str]] = {
    "a photo": {"sheet.jpg": "a photo"},
    "another tool's run.json": {"run.json": '{"another": "tool"}', "index.jsonl": "a line\nand one without its end"},
    "no JSON": {"run.2-of-8.json": "", "sheet.jpg": "a photo"},
    "an index": {"index.jsonl": "a line\nand one without its end"},
    "a folder": {".work/notes.txt": "work"},
    "a lock": {".lock": "12345"},
}


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_files_that_are_called_like_a_runs_but_are_not_stay_as_they_are(kind: str) -> None:
    with scratch() as top:
        folder = DiskResultStore(top / "out", Shard())
        for name, text in LOOK_ALIKES[kind].items():
            (folder.path / name).parent.mkdir(exist_ok=True)
            (folder.path / name).write_text(text)
        with suppress(SmoothcamError), begun(folder):
            folder.publish(staged(folder, "new"), PurePosixPath("a.jpg"), [])
        assert {name: (folder.path / name).read_text() for name in LOOK_ALIKES[kind]} == LOOK_ALIKES[kind]


def test_what_a_run_that_was_killed_at_its_start_left_is_in_nobodys_way() -> None:
    with scratch() as top:
        folder = DiskResultStore(top / "out", Shard())
        (folder.path / ".work" / "image").mkdir(parents=True)
        for name in (".lock", "index.jsonl", ".work/run.json", ".work/image/manifest.json"):
            (folder.path / name).touch()
        with begun(folder):
            folder.publish(staged(folder, "new"), PurePosixPath("a.jpg"), [])
        assert {entry.name for entry in folder.path.iterdir()} == {
            ".lock",
            "index.jsonl",
            "run.json",
            "sheet.jpg",
            "a.jpg",
        }


# --- the command


def plant_photos(root: Path, paths: Sequence[bytes]) -> dict[bytes, str]:
    """Write a small photo of its own at each path, and return the sha256 of each."""
    planted = {}
    for number, path in enumerate(paths):
        file = Path(os.fsdecode(os.fsencode(root) + b"/" + path))
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).save(file, "PNG")
        planted[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    return planted


def say_nothing_raw(*ended: Ended) -> None:
    for text in (text for one in ended for text in (one.out, one.err)):
        assert all(line.replace("\t", " ").isprintable() for line in text.removesuffix("\n").split("\n"))
    assert all(line.startswith("smoothcam: ") for one in ended for line in one.err.removesuffix("\n").split("\n"))


def check_places(out: Path, planted: dict[bytes, str], ended: Ended) -> None:
    """Every file has its row on stdout and in the index and its manifest, and they are all about that file."""
    with Index(out) as index:
        indexed = {row["path"]: row["sha256"] for row in index.rows()}
    assert len(ended.rows) == len(planted)
    assert {row["path"]: row["sha256"] for row in ended.rows} == indexed
    assert {os.fsencode(from_printable(path)): sha256 for path, sha256 in indexed.items()} == planted
    for path, sha256 in indexed.items():
        manifest = json.loads(
            Path(DiskResultStore(out, Shard()).key(from_printable(path)), "manifest.json").read_bytes()
        )
        assert (manifest["image"]["path"], manifest["image"]["sha256"]) == (path, sha256)
    assert len(list(out.rglob("manifest.json/manifest.json"))) <= len(planted)
    assert not (out / ".work").exists()


WALKED = [
    *(name + b".png" for name in ODD if not name.startswith(b".")), b"n" * 251 + b".png", b"sheet.jpg", b"a.heatmap.png",
    b"run.json/x.png", b"run.json~/x.png", b"index.jsonl/manifest.json/x.png", b"run.2-of-8.json/x.png", b"sheet.jpg~/x.png",
    b"manifest.json/x.png", b"a.jpg/a.png/conv1.3.npy/x.png", b"\xff\n/-/#.png", b"\x1b[2J/x.png",
]  # fmt: skip
LISTED = [
    *ODD, *map(os.fsencode, OWN), b"run.json~", b"sheet.jpg~~", b"manifest.json", b"image", b".hidden/.x", b"n" * 255,
    b"d\xff\n/run.json",
]  # fmt: skip


@pytest.mark.parametrize("listed", [False, True], ids=["walked", "listed"])
def test_files_of_hostile_names_are_explained_each_for_itself(
    smoothcam: Command, model_file: Path, tmp_path: Path, listed: bool
) -> None:
    photos, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    planted = plant_photos(photos, LISTED if listed else WALKED)
    (tmp_path / "list").write_bytes(b"".join(os.fsencode(photos) + b"/" + path + b"\0" for path in planted))
    where = ["--root", photos, "--files-from0", tmp_path / "list"] if listed else [photos]
    flags = ["explain", *where, "--model", model_file, "-o", out, "--write", "raw", "--nsamples", "0"]
    outside = snapshot(tmp_path)

    dry_run = smoothcam(*flags, "--dry-run"), smoothcam(*flags, "--dry-run", "--json")
    assert [ended.code for ended in dry_run] == [0, 0]
    assert {os.fsencode(from_printable(row["path"])) for row in dry_run[1].rows} == set(planted)
    assert snapshot(tmp_path) == outside

    ended = smoothcam(*flags, "--json", "--verbose", "--sheet", "--log-file", log)
    assert ended.code == 0
    check_places(out, planted, ended)
    after = smoothcam(*flags, "--dry-run")
    assert [line.split("\t")[0] for line in after.out.splitlines()] == ["skip"] * len(planted)
    again = smoothcam(*flags, "--json", "--verbose")
    assert all(row["skipped"] for row in again.rows)

    say_nothing_raw(*dry_run, ended, after, again)
    assert all(line.isprintable() for line in log.read_bytes().decode().removesuffix("\n").split("\n"))
    assert snapshot(tmp_path, without=[out, log]) == outside


def test_images_whose_place_is_taken_fail_and_what_takes_it_stays(
    smoothcam: Command, model_file: Path, tmp_path: Path
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    plant_photos(tmp_path / "in", [b"done.png", b"changed.png"])
    flags = ["explain", tmp_path / "in", "--model", model_file, "-o", out, "--write", "raw", "--nsamples", "0"]
    assert smoothcam(*flags).code == 0

    # A pipe's other end would be waited for: nothing that a test should do.
    kinds = sorted(IN_THE_PLACE.keys() - {"folder with a pipe called 'manifest.json'"})
    taken = {f"{number}.png": kind for number, kind in enumerate(kinds)}
    taken |= {f"folder {number}/x\n.png": kind for number, kind in enumerate(sorted(IN_THE_WAY))}
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("not to be touched")
    for name, kind in taken.items():
        IN_THE_PLACE[kind](out / Path(name).parts[0], elsewhere)
    (out / "changed.png" / "notes.txt").write_text("theirs")
    plant_photos(tmp_path / "in", [b"other.png", *map(str.encode, taken)])
    shutil.copy(tmp_path / "in" / "other.png", tmp_path / "in" / "changed.png")
    taken["changed.png"] = "folder with notes"
    own = [out / name for name in ("run.json", "index.jsonl", ".lock", "other.png")]
    before = snapshot(tmp_path, without=own)

    dry_run = smoothcam(*flags, "--dry-run", "--json")
    collisions = {name for name, kind in taken.items() if not kind.startswith("folder")}
    assert {row["path"] for row in dry_run.rows if row["action"] == "collide"} == collisions
    ended = smoothcam(*flags, "--json")
    assert ended.code == 3
    assert {row["path"] for row in ended.rows if row["status"] == "failed"} == set(taken)
    assert {row["path"] for row in ended.rows if row["status"] == "ok"} == {"done.png", "other.png"}
    assert {row["error"]["stage"] for row in ended.rows if row["error"]} == {"write"}
    with Index(out) as index:
        assert {row["path"] for row in index.rows() if row["status"] == "failed"} == set(taken)
    again = smoothcam(*flags, "--json")
    assert {row["path"] for row in again.rows if row["status"] == "failed"} == set(taken)
    say_nothing_raw(dry_run, ended, again)
    assert snapshot(tmp_path, without=own) == before

    for name in taken:
        place = out / Path(name).parts[0]
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    assert smoothcam(*flags, "--retry-failed").code == 0
    assert len(list(out.rglob("manifest.json"))) == len(taken) + 2


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in IN_THE_WAY if "link" in kind])
@pytest.mark.parametrize("name", [name for name in OWN if "of" not in name])
def test_a_run_is_led_astray_by_no_link(
    smoothcam: Command, model_file: Path, tmp_path: Path, name: str, kind: str
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    plant_photos(tmp_path / "in", [b"a.png"])
    flags = ["explain", tmp_path / "in", "--model", model_file, "-o", out, "--write", "raw", "--sheet"]
    assert smoothcam(*flags).code == 0
    for folder in (elsewhere, elsewhere / "image", elsewhere / "retired"):
        folder.mkdir()
        (folder / "precious").write_text("not to be touched")
    (out / name).unlink(missing_ok=True)
    IN_THE_WAY[kind](out / name, elsewhere)
    plant_photos(tmp_path / "in", [b"a.png", b"b.png"])
    outside = snapshot(tmp_path, without=[out])
    ended = smoothcam(*flags)
    assert ended.code in {0, 1, 2}
    say_nothing_raw(ended)
    assert snapshot(tmp_path, without=[out]) == outside
