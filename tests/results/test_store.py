"""Places in a store of objects, against a real server: names, walks, the lock, and that what is complete is whole."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from queue import Empty
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from object_store import BUCKET, ObjectStore, store

from cam_cli.errors import ImageError, RunLockedError, SmoothcamError, UsageError
from cam_cli.images.find import common_root, find_images
from cam_cli.images.tree import StoreTree
from cam_cli.results.files import to_json
from cam_cli.results.index import Index
from cam_cli.results.manifest import (
    ImageRecord,
    Manifest,
    MapFiles,
    MapRecord,
    ModelRecord,
    SelectionRecord,
    TargetRecord,
)
from cam_cli.results.object_index import MOST_ROWS
from cam_cli.results.object_lock import ObjectLock
from cam_cli.results.object_store import ObjectResultStore
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Url, location, quoted, unquoted
from cam_cli.storage.store import Store, pages_of_any

__all__ = ["store"]

ODD = [
    "",
    ".",
    "..",
    "~",
    "~.",
    "~~",
    "a",
    "a b",
    "ü",
    "*",
    "new\nline",
    "\0",
    "a?versionId=3",
    "%2e",
    "\x1b[31m",
    "run.json",
]
parts = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_characters="/", codec="utf-8"), max_size=8))
keys = st.lists(parts, min_size=1, max_size=4).map("/".join)


@pytest.fixture
def place(store: ObjectStore, request: pytest.FixtureRequest) -> Url:
    """A place of its own for each test."""
    store.forget()
    return Url("s3", BUCKET, re.sub(r"\W", "_", request.node.name))


def put(store: ObjectStore, folder: Url, *names: str) -> None:
    for name in names:
        store.put(f"{folder.key}/{name}", name.encode())


# --- names


@given(keys)
@example("/")
def test_a_url_is_its_text_and_a_folder_may_end_with_a_slash(key: str) -> None:
    url = Url("s3", "bucket", key)
    assert location(f"s3://bucket/{key}/") == url
    assert location(f"{url}/") == url
    assert url.parents[-1] == location("s3://bucket") == location("s3://bucket/")
    assert url.parent.child(url.name) == url
    assert (*url.parent.parts, url.name) == url.parts


@given(keys)
def test_a_key_below_a_folder_has_one_path_that_leads_back_to_it_and_nowhere_else(key: str) -> None:
    root = Url("s3", "bucket", "photos")
    relative = PurePosixPath(*map(quoted, key.split("/")))
    assert root / relative == Url("s3", "bucket", f"photos/{key}")
    assert not relative.is_absolute()
    assert len(relative.parts) == len(key.split("/"))
    assert not {"..", ".", ""} & set(relative.parts)
    assert os.path.normpath(f"/out/{relative}") == f"/out/{relative}"


@given(st.lists(parts, min_size=2, unique=True))
def test_no_two_parts_of_a_key_have_the_same_name(several: list[str]) -> None:
    assert len({quoted(part) for part in several}) == len(several)
    assert [unquoted(quoted(part)) for part in several] == several


def test_what_is_no_url_of_a_store_is_a_path() -> None:
    for text in ("photos", "/a/s3:/b", "s3:", "s3:/b", "./s3://b", "./http://b/c", ""):
        assert location(text) == Path(text)
    with pytest.raises(ValueError, match="no bucket"):
        location("s3:///key")


# --- walks

TREE = ("b/z.jpg", "b/a/x.PNG", "Z.jpeg", "a.tiff", "é.gif", "10.webp", "9.bmp", "B/q.TIF", "b/a-c.jpg", "b/a.d/e.jpg",
        ".hidden/b.jpg", ".h.png", "notes.txt", "b/raw", "drafts/a.jpg", "b/drafts/k.jpg")  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ([""], {}),
        (["b", "Z.jpeg"], {}),
        (["b/raw", "b", "b/a/x.PNG", "gone.jpg"], {}),
        ([""], {"exclude": ["drafts", "b/a/*"]}),
        ([""], {"extensions": ["jpg", "txt"]}),
        (["b/**/*.jpg", "*.bmp"], {}),
        (["[bd]*/*"], {}),
    ],
)
def test_a_walk_in_a_store_finds_what_one_on_the_disk_does(
    store: ObjectStore, place: Url, tmp_path: Path, asked: list[str], options: dict[str, object]
) -> None:
    put(store, place, *TREE)
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    there = [location(f"{place}/{name}" if name else str(place)) for name in asked]
    tree = StoreTree(Store("s3"))
    found = list(find_images(there, place, tree=tree, **options))
    here = find_images([tmp_path / name if name else tmp_path for name in asked], tmp_path, **options)
    assert [image.relative for image in found] == [image.relative for image in here]
    assert (
        common_root(there, tree).parts
        == place.parts + common_root([tmp_path / n for n in asked]).parts[len(tmp_path.parts) :]
    )
    for image in found:
        assert image.path == place / image.relative


def test_odd_keys_are_found_each_under_a_name_of_its_own_and_read(store: ObjectStore, place: Url) -> None:
    odd = ["../up.jpg", "a/../../b.jpg", "//c.jpg", "a//c.jpg", "./d.jpg", "~/e.jpg", "~%2E/f.jpg", "ü/é.jpg", "a.jpg/b.jpg",
           "a.jpg", "-o.jpg", "%2e%2e/g.jpg", "a b#c?d.jpg", "\x01.jpg", "#/\x7f/h.jpg"]  # fmt: skip
    put(store, place, *odd, "marker/", "picture.jpg/")
    found = list(find_images([place], place, tree=StoreTree(Store("s3"))))
    assert sorted(str(image.path) for image in found) == sorted(f"{place}/{name}" for name in odd)
    assert len({str(image.relative) for image in found}) == len(odd)
    for image in found:
        assert not {"..", "."} & set(image.relative.parts)
        assert image.path.stat is not None
        assert f"{place}/{Store('s3').read(image.path).decode()}" == str(image.path)
    with pytest.raises(UsageError, match="not inside the root"):
        list(find_images([location(f"s3://{BUCKET}/other/a.jpg")], place, tree=StoreTree(Store("s3"))))


@pytest.mark.long
def test_a_listing_longer_than_a_page_is_asked_for_as_it_is_needed(store: ObjectStore, place: Url) -> None:
    count = 1005
    store.client.pipe({f"{place.path}/{number:04}.jpg": b"" for number in range(count)})
    store.forget()
    images = find_images([place], place, tree=StoreTree(Store("s3")))
    first = next(images)
    assert str(first.relative) == "0000.jpg"
    listings = [path for method, path in store.requests() if "delimiter=/&encoding" in path]
    assert len(listings) == 1
    assert 1 + sum(1 for _ in images) == count


def test_what_fsspec_lists_of_any_store_is_what_s3_lists(store: ObjectStore, place: Url) -> None:
    put(store, place, *TREE)
    fs = store.client
    for prefix, delimiter in itertools.product((place.prefix, f"{place.prefix}b"), ("/", "")):
        if delimiter and prefix != place.prefix:
            continue
        (mine,) = Store("s3")._pages(BUCKET, prefix, delimiter)
        (theirs,) = pages_of_any(fs, BUCKET, prefix, delimiter)
        assert [(e.name, e.stat) for e in mine] == sorted(
            ((e.name, e.stat) for e in theirs), key=lambda e: e[0].encode()
        )
    assert [entry for page in pages_of_any(fs, BUCKET, "nothing here/", "") for entry in page] == []


def test_a_missing_object_a_missing_bucket_and_a_taken_place_are_told_apart(store: ObjectStore, place: Url) -> None:
    put(store, place, "a")
    s3 = Store("s3")
    for ask in (lambda: s3.read(place.child("b")), lambda: s3.stat(place.child("b"))):
        with pytest.raises(FileNotFoundError) as told:
            ask()
        assert told.value.strerror == "no such object"
    with pytest.raises(FileNotFoundError) as told:
        list(s3.below(Url("s3", "elsewhere", "a")))
    assert told.value.strerror == "no such bucket"
    with pytest.raises(FileExistsError):
        s3.put(place.child("a"), b"", new=True)
    assert s3.read(place.child("a")) == b"a"
    store.deny(all_requests=True)
    try:
        with pytest.raises(PermissionError):
            s3.read(place.child("a"))
    finally:
        store.deny(all_requests=False)


# --- an image comes to its place whole


class Crash(BaseException):
    pass


class Fragile(Store):
    """The store, until the client dies at one of its writes: before it, or after it was done but before it knew."""

    writes = 0
    dies_at = -1
    done = False

    def put(self, url: Url, data: bytes, *, new: bool = False) -> str:
        with self._write():
            return super().put(url, data, new=new)

    def put_new(self, objects: dict[Url, bytes]) -> None:  # type: ignore[override]
        for url, data in objects.items():
            self.put(url, data, new=True)

    def delete(self, url: Url) -> None:
        with self._write():
            super().delete(url)

    @contextmanager
    def _write(self) -> Iterator[None]:
        self.writes += 1
        if self.writes == self.dies_at and not self.done:
            raise Crash
        yield
        if self.writes == self.dies_at:
            raise Crash


NAMES = {"one": ["conv1.3.npy", "conv1.3.overlay.png"], "two": ["conv1.3.npy", "conv2.3.heatmap.png"]}


def stage(folder: ObjectResultStore, run: str, image: str) -> Path:
    """Make an image's files: what is in them says whose they are."""
    target = TargetRecord(index=3, label="cross")
    selection = SelectionRecord(filters=None, region=False, subset=None)
    maps = [
        MapRecord(layer="conv1", method="gradcam", target=target, selection=selection, state="ok", grid=(1, 1), min=0, max=1,
                  derivatives="exact", head="affine", noise="", guarded_cells=0, noise_effect=None, standard_error=None,
                  files=MapFiles(raw=name))
        for name in NAMES[run]
    ]  # fmt: skip
    staged = folder.stage()
    for name in NAMES[run]:
        (staged / name).write_text(run)
    model = ModelRecord(name="m", sha256="0", input_size=(1, 1))
    manifest = Manifest(
        status="ok", fingerprint=run, image=ImageRecord(path=image), model=model, settings={}, maps=maps, versions={}
    )
    manifest.write(staged)
    return staged


@contextmanager
def at_work(place: Url, s3: Store | None = None) -> Iterator[ObjectResultStore]:
    folder = ObjectResultStore(place, Shard())
    if s3 is not None:
        folder._store = s3
    with folder.open_for_writing(0, lambda: None):
        folder.write_run_record(RunRecord(root="in"))
        yield folder


IMAGE = PurePosixPath("a/b.jpg")


def check_whole(store: ObjectStore, place: Url) -> str | None:
    """Check that a manifest, where there is one, has its own files beside it and nothing else; return whose it is."""
    there = {key.rpartition("/")[2]: store.client.cat_file(f"{BUCKET}/{key}") for key in store.keys(f"{place.key}/a")}
    if "manifest.json" not in there:
        return None
    run: str = json.loads(there.pop("manifest.json"))["fingerprint"]
    assert there == {name: run.encode() for name in NAMES[run]}
    return run


@pytest.mark.parametrize(
    "done", [False, pytest.param(True, marks=pytest.mark.long)], ids=["before the write", "after it"]
)
def test_a_run_that_dies_at_any_write_leaves_no_manifest_beside_files_that_are_not_its_own(
    store: ObjectStore, place: Url, done: bool
) -> None:
    seen = set()
    for dies_at in itertools.count(1):
        at = place.child(str(dies_at))
        with at_work(at) as folder:
            folder.publish(stage(folder, "one", str(IMAGE)), IMAGE, ())
        assert check_whole(store, at) == "one"
        fragile = Fragile("s3")
        crashed = False
        with suppress(Crash), at_work(at, fragile) as folder:
            fragile.writes, fragile.dies_at, fragile.done, crashed = 0, dies_at, done, True
            folder.publish(stage(folder, "two", str(IMAGE)), IMAGE, ())
            crashed, fragile.dies_at = False, -1
        seen.add(check_whole(store, at))
        with at_work(at) as folder:  # the same command again
            if folder.stamp(folder.key(IMAGE)) is None:
                folder.publish(stage(folder, "one", str(IMAGE)), IMAGE, ())
                assert check_whole(store, at) == "one"
        with at_work(at) as folder:
            assert folder.stamp(folder.key(IMAGE)) is not None
            assert folder.holds(folder.key(IMAGE), NAMES[check_whole(store, at) or ""])
        if not crashed:
            break
    assert dies_at > 6
    assert seen == {"one", None, "two"} if not done else seen == {None, "two"}


def test_a_run_that_lost_its_lock_over_an_image_changes_nothing_of_who_took_over(
    store: ObjectStore, place: Url
) -> None:
    with at_work(place) as asleep:
        mine = stage(asleep, "one", str(IMAGE))
        asleep.send(mine, IMAGE)
        assert asleep._lock is not None
        asleep._lock._put_at -= 3600
        Store("s3").delete(asleep._lock._object)
        with at_work(place) as awake:
            awake.publish(stage(awake, "two", str(IMAGE)), IMAGE, ())
            with pytest.raises(FileExistsError):  # what was on its way when it fell asleep
                asleep._store.put_new({place / IMAGE / "conv1.3.npy": b"one"})
            with pytest.raises(RunLockedError):
                asleep.publish(mine, IMAGE, ())
            for write in (lambda: asleep.write_run_record(RunRecord()), lambda: asleep.send(mine, IMAGE)):
                with pytest.raises(RunLockedError):
                    write()
        assert check_whole(store, place) == "two"


def test_what_no_run_put_there_is_not_replaced(store: ObjectStore, place: Url) -> None:
    with at_work(place) as folder:
        folder.publish(stage(folder, "one", str(IMAGE)), IMAGE, ())
    put(store, place, "a/b.jpg/precious", "a/b.jpg/below/precious")
    with at_work(place) as folder, pytest.raises(ImageError, match="precious"):
        folder.publish(stage(folder, "two", str(IMAGE)), IMAGE, ())
    store.client.rm_file(f"{place.path}/a/b.jpg/precious")
    with at_work(place) as folder:
        folder.publish(stage(folder, "two", str(IMAGE)), IMAGE, ())
    assert f"{place.key}/a/b.jpg/below/precious" in store.keys(f"{place.key}")
    elsewhere = place.child("elsewhere")
    put(store, elsewhere, "photo.jpg")
    with pytest.raises(UsageError, match="no run put there"):
        ObjectResultStore(elsewhere, Shard()).check()


@given(st.lists(keys, min_size=2, max_size=8, unique=True))
def test_no_image_shares_a_place_with_another_or_with_the_runs_own_objects(several: list[str]) -> None:
    folder = ObjectResultStore(Url("s3", BUCKET, "out"), Shard(2, 8))
    images = [PurePosixPath(*map(quoted, key.split("/"))) for key in several]
    places = [folder.key(image) for image in images]
    assert len(set(places)) == len(images)
    for one in places:
        assert not {"", ".", ".."} & set(one.split("/"))
        assert one.split("/")[0] not in {"run.json", "run.2-of-8.json", "index.part-000001.jsonl", ".lock", "sheet.jpg"}


def test_a_key_that_would_be_too_long_is_the_images_failure(place: Url) -> None:
    with at_work(place) as folder:
        image = PurePosixPath(*["n" * 250] * 5)
        with pytest.raises(ImageError, match="1024"):
            folder.publish(stage(folder, "one", str(image)), image, ())


# --- the index


def row(number: int, finished: str = "2026-01-01T00:00:00+00:00") -> dict[str, object]:
    return {"path": f"{number}.jpg", "status": "ok", "error": None, "fingerprint": "f", "sha256": None, "predictions": [],
            "maps": [], "joint": [], "finished": finished}  # fmt: skip


def test_rows_go_up_in_parts_that_are_put_together_and_read_back(store: ObjectStore, place: Url) -> None:
    with at_work(place) as folder:
        with folder.open_index() as rows:
            for number in range(MOST_ROWS + 1):
                rows.append(row(number))
            parts = [key for key in store.keys(f"{place.key}") if "/index" in key]
            assert len(parts) == 1, "the last row waits"
            rows.sync()
        for number in range(20):
            with folder.open_index() as rows:
                rows.append(row(number, "2026-01-02T00:00:00+00:00"))
                rows.sync()
        ObjectResultStore(place, Shard(1, 2)).open_index().sync()
        parts = [key for key in store.keys(f"{place.key}") if "/index" in key]
        assert len(parts) < 10
        with folder.index_files() as files, Index(files) as index:
            assert len(index) == MOST_ROWS + 1
            assert index.skipped_lines == 0
            again = [found["path"] for found in index.rows() if found["finished"].startswith("2026-01-02")]
            assert sorted(again) == sorted(f"{number}.jpg" for number in range(20))


# --- the lock


def object_lock(place: Url, shard: str = "1/1", seconds: float = 60.0) -> ObjectLock:
    return ObjectLock(Store("s3"), place, Shard.parse(shard), seconds)


@pytest.mark.parametrize(("one", "other"), [("1/1", "1/1"), ("1/2", "1/1"), ("1/2", "2/3"), ("2/2", "3/4")])
def test_whoever_shares_an_image_waits(place: Url, one: str, other: str) -> None:
    told: list[str] = []
    with object_lock(place, one).held(0, lambda: None, str):
        with (
            pytest.raises(RunLockedError, match=r"process 7.*--lock-wait"),
            object_lock(place, other).held(3, lambda: told.append("waiting"), lambda: " (process 7)"),
        ):
            pass
        assert told == ["waiting"]
    with object_lock(place, other).held(0, lambda: None, str):
        pass


def test_shards_that_share_nothing_run_side_by_side_and_leave_no_lock_object(store: ObjectStore, place: Url) -> None:
    with object_lock(place, "1/2").held(0, lambda: None, str), object_lock(place, "3/4").held(0, lambda: None, str):
        pass
    assert store.keys(f"{place.key}") == []


HOLD = """
import sys, time
from cam_cli.results.object_lock import ObjectLock
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import location
from cam_cli.storage.store import Store
with ObjectLock(Store("s3"), location(sys.argv[1]), Shard(), float(sys.argv[2])).held(0, lambda: None, str):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held(place: Url, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(place), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_of_a_run_that_was_killed_here_the_lock_is_free_at_once(store: ObjectStore, place: Url) -> None:
    with held(place, 60.0) as process:
        with pytest.raises(RunLockedError), object_lock(place).held(0, lambda: None, str):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(store.keys(f"{place.key}")) == 1
        with object_lock(place).held(0, lambda: None, str):
            assert len(store.keys(f"{place.key}")) == 1


def test_of_a_run_that_was_killed_elsewhere_the_lock_is_free_after_a_while(store: ObjectStore, place: Url) -> None:
    left = f"{place.key}/.lock-1-of-1-{'0' * 32}"
    store.put(left, to_json({"host": "other", "pid": 1, "process": ["other boot", "pid:[1]", "1", "1"]}).encode())
    with pytest.raises(RunLockedError), object_lock(place).held(0, lambda: None, str):
        pass
    with object_lock(place, seconds=2.0).held(60, lambda: None, str):
        assert left not in store.keys(f"{place.key}")


@pytest.mark.long
def test_a_lock_that_is_renewed_outlasts_its_seconds_and_one_that_could_not_be_is_lost(place: Url) -> None:
    with held(place, 4.0) as process:
        with pytest.raises(RunLockedError), object_lock(place, seconds=4.0).held(6, lambda: None, str):
            pass
        process.send_signal(signal.SIGSTOP)  # a machine that sleeps
        try:
            with object_lock(place, seconds=4.0).held(60, lambda: None, str):
                pass
        finally:
            process.send_signal(signal.SIGCONT)


def test_who_slept_too_long_does_not_write_any_more(place: Url) -> None:
    mine = object_lock(place, seconds=2.0)
    with mine.held(0, lambda: None, str):
        mine.check()
        mine._put_at -= 2.0
        mine.check()  # nobody else has come meanwhile
        Store("s3").delete(mine._object)
        with object_lock(place, seconds=60.0).held(0, lambda: None, str):
            mine._put_at -= 2.0
            with pytest.raises(SmoothcamError, match="taken"):
                mine.check()


def contend(place: Url, rounds: int, together: Any, events: multiprocessing.Queue[str]) -> None:
    for _ in range(rounds):
        together.wait()
        with suppress(RunLockedError), object_lock(place).held(0, lambda: None, str):
            events.put("in")
            time.sleep(0.3)
            events.put("out")


@pytest.mark.long
def test_never_two_at_once_of_many_that_try(place: Url) -> None:
    spawn = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = spawn.Queue()
    together = spawn.Barrier(4)
    processes = [spawn.Process(target=contend, args=(place, 6, together, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    events: list[str] = []
    while any(process.is_alive() for process in processes) or not queue.empty():
        with suppress(Empty):
            events.append(queue.get(timeout=0.2))
    assert [process.exitcode for process in processes] == [0] * 4
    assert events == ["in", "out"] * (len(events) // 2)
    assert events, "of several that start together one gets it sooner or later"
