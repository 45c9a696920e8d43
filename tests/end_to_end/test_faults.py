"""What a run makes of full disks, read errors, missing permissions, photos that change under it, and too little memory."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import CLASSES, Command, Ended, write_card
from examples import mostly_long
from launcher import Launcher
from PIL import Image

from cam_cli.config import RunConfig
from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.errors import SmoothcamError
from cam_cli.executors import worker
from cam_cli.graph.trace import trace
from cam_cli.interruption import Interruption
from cam_cli.pipeline.run import explain_run
from cam_cli.plan.plan import PlanInputs
from cam_cli.results.layout import LOCK

PAGE = os.sysconf("SC_PAGE_SIZE")
ALWAYS_EIO = Path("/proc/self/mem")
"""A regular file, for everyone, whose first byte belongs to no page: to read it is a true input/output error."""

NAMES = (*(f"a/{i:02}.png" for i in range(11)), "b/11.png")
FLAGS = ("--write", "raw,overlay", "--picture-size", "32", "--batch", "1", "--json")
"""What `Runs` asks for, as the command takes it."""

Act = Callable[[], object]


@dataclass
class Witness:
    """An reporter that does something once so many images are told; then the run is exactly so far."""

    acts: Mapping[int, Act] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def detail(self, text: str) -> None:
        pass

    def doing(self, what: str) -> None:
        pass

    def expect(self, total: int) -> None:
        pass

    def finish(self) -> None:
        pass

    def image(self, row: dict[str, Any], *, skipped: bool) -> None:
        self.rows.append(row | {"skipped": skipped})
        if act := self.acts.get(len(self.rows)):
            act()


@dataclass(frozen=True)
class Told:
    """How a run ended: its exit code, the line it ended with if it did not come to its end, and all it told."""

    code: int
    line: str
    rows: list[dict[str, Any]]
    said: list[str]
    warned: list[str]

    @property
    def failed(self) -> dict[str, tuple[str, str]]:
        return {r["path"]: (r["error"]["stage"], r["error"]["message"]) for r in self.rows if r["status"] == "failed"}

    @property
    def done(self) -> set[str]:
        return {row["path"] for row in self.rows if row["status"] == "ok" and not row["skipped"]}


@dataclass(frozen=True)
class Runs:
    """Runs of the twelve photos in `photos`, an image in each pass; an error that is none of smoothcam's own fails the test."""

    photos: Path
    model: Path

    def __call__(
        self, out: Path, acts: Mapping[int, Act] | None = None, paths: Sequence[Path] = (), **settings: Any
    ) -> Told:
        asked = {
            "model": str(self.model),
            "output": out,
            "write": ("raw", "overlay"),
            "picture_size": 32,
            "workers": 1,
            "batch": 1,
        }
        witness = Witness(acts or {})
        line = ""
        try:
            stats = explain_run(paths or [self.photos], RunConfig(**(asked | settings)), {}, witness, Interruption())
            code = stats.exit_code
        except SmoothcamError as error:
            code, line = error.exit_code, str(error)
        return Told(code, line, witness.rows, witness.said, witness.warned)


@pytest.fixture(scope="module", autouse=True)
def _one_worker() -> Iterator[None]:
    """Keep each model open from one run to the next: to open it takes longer than all else that is done here."""
    opened: dict[str, worker.Worker] = {}

    def kept(inputs: PlanInputs, *others: object) -> worker.Worker:
        key = json.dumps(inputs.config.result_settings())
        if key not in opened:
            opened[key] = opening(inputs, *others)  # type: ignore[arg-type]
        return opened[key]

    opening = worker.Worker
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Worker", kept)
        yield


@pytest.fixture
def run(tmp_path: Path, model_file: Path) -> Runs:
    return Runs(twelve_photos(tmp_path / "in"), model_file)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model_file: Path, _one_worker: None) -> Path:
    place = tmp_path_factory.mktemp("undisturbed")
    assert Runs(twelve_photos(place / "in"), model_file)(place / "out").code == 0
    return place / "out"


def twelve_photos(folder: Path) -> Path:
    for seed, name in enumerate(NAMES):
        photo(folder / name, seed)
    return folder


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((40, 32), Image.Resampling.BICUBIC).save(path)
    return path


def index_rows(out: Path) -> list[dict[str, Any]]:
    lines = (out / "index.jsonl").read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines), "half a line"
    return [json.loads(line) for line in lines]


def results(out: Path) -> dict[str, object]:
    """Everything in a run folder but what says when and where it was made; nothing in it may be half there."""
    assert {path.name for path in out.rglob(".*")} <= {LOCK}, "a temporary file was left behind"
    times = ("source", "manifest_mtime_ns", "finished")
    latest = {row["path"]: row for row in sorted(index_rows(out), key=lambda row: row["finished"])}
    found: dict[str, object] = {
        f"row of {path}": {key: value for key, value in row.items() if key not in times} for path, row in latest.items()
    }
    for folder in {path.parent for path in out.rglob("*") if path.is_file()} - {out}:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest.pop("timing")
        manifest["image"].pop("root")
        files = {
            name: (folder / name).read_bytes() for entry in manifest["maps"] for name in entry["files"].values() if name
        }
        assert {path.name for path in folder.iterdir()} == {*files, "manifest.json"}
        found[str(folder.relative_to(out))] = (manifest, files)
    return found


def one_clear_line(told: Told, out: Path) -> bool:
    return "\n" not in told.line and str(out) in told.line and "the same command" in told.line


# --- the disk is full


@dataclass(frozen=True)
class SmallDisk:
    """A file system of one megabyte; `path` is where this process sees it."""

    path: Path
    holder: int
    mount: Sequence[str]

    def fill(self, leaving: int = 0) -> None:
        """Leave so many pages free."""
        state = os.statvfs(self.path)
        with (self.path / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - leaving * PAGE)

    def free(self) -> None:
        (self.path / "ballast").unlink()

    def make_read_only(self) -> None:
        subprocess.run([*self.mount, "-o", "remount,bind,ro"], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A true small disk, in a mount namespace that ends with this process; it needs root or user namespaces."""
    place = tmp_path / "disk"
    place.mkdir()
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && echo mounted && exec cat'
    try:
        holder = subprocess.Popen(
            ["unshare", *rights, "--mount", "sh", "-c", script, "sh", place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        pytest.skip("no `unshare` here to mount a small disk with")
    with holder:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip(f"a small disk cannot be mounted here: {holder.stderr.read().decode().strip()}")
        enter = ["nsenter", "--target", str(holder.pid), "--mount"]
        enter += ["--user", "--preserve-credentials"] if rights else []
        yield SmallDisk(Path(f"/proc/{holder.pid}/root{place}"), holder.pid, [*enter, "mount", str(place)])
        holder.kill()


@pytest.mark.parametrize("leaving", range(4), ids=["index", "map", "picture", "manifest"])
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    run: Runs, undisturbed: Path, small_disk: SmallDisk, leaving: int
) -> None:
    """An image is written when the disk fills up: its row takes the first page left, and the next image's files the others."""
    out = small_disk.path / "out"
    before = _rows_before_a_new_page(undisturbed)

    def fill() -> None:
        time.sleep(0.3)  # for the image to be written; were it not, another file would be struck
        small_disk.fill(leaving)

    told = run(out, {before: fill})
    assert told.code == 1
    assert one_clear_line(told, out)
    assert os.strerror(errno.ENOSPC) in told.line
    told_of = [f"row of {row['path']}" for row in told.rows]
    partly, whole = results(out), results(undisturbed)
    assert [key for key in partly if key.startswith("row of ")] == told_of
    assert before <= len(told_of) < len(NAMES)
    assert partly == {key: whole[key] for key in partly}

    small_disk.free()
    assert run(out).code == 0
    assert results(out) == whole


def _rows_before_a_new_page(out: Path) -> int:
    """How many rows the index has when the next one no longer fits on its last page."""
    size = 0
    for number, row in enumerate(index_rows(out)):
        longer = size + len(json.dumps(row, separators=(",", ":"))) + 1
        if number and -(-size // PAGE) < -(-longer // PAGE):
            return number
        size = longer
    return 1  # where pages are so large that the index has only one


def test_a_disk_that_is_full_from_the_start_is_one_clear_line(
    run: Runs, undisturbed: Path, small_disk: SmallDisk
) -> None:
    out = small_disk.path / "out"
    small_disk.fill()
    told = run(out)
    assert told.code == 1
    assert one_clear_line(told, out)
    small_disk.free()
    assert run(out).code == 0
    assert results(out) == results(undisturbed)


def test_a_disk_that_is_read_only_is_told_before_the_model_is_loaded(run: Runs, small_disk: SmallDisk) -> None:
    out = small_disk.path / "out"
    small_disk.make_read_only()
    told = run(out)
    assert (told.code, told.rows) == (2, [])
    assert str(out) in told.line
    assert os.strerror(errno.EROFS) in told.line
    assert not any("layer auto" in line for line in told.said)


@contextmanager
def no_file_longer_than() -> Iterator[Callable[[int | None], None]]:
    """Bounds the files that this process may write, for everyone and everywhere; what goes beyond is written in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def bound(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    try:
        yield bound
    finally:
        bound(None)


@pytest.mark.parametrize("during", ["maps", "index"])
def test_a_file_that_may_not_grow_ends_the_run_and_the_same_command_goes_on(
    run: Runs, undisturbed: Path, tmp_path: Path, during: str
) -> None:
    out = tmp_path / "out"
    before = 4

    def limit() -> int:
        return 100 if during == "maps" else (out / "index.jsonl").stat().st_size + 50

    with no_file_longer_than() as bound:
        told = run(out, {before: lambda: bound(limit())})
    assert told.code == 1
    assert one_clear_line(told, out)
    assert len(index_rows(out)) == before
    assert len(list(out.rglob("manifest.json"))) == before + (during == "index")

    again = run(out)
    assert again.code == 0
    assert results(out) == results(undisturbed)


def test_a_manifest_that_may_not_grow_is_told_and_the_image_done_again(
    run: Runs, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    smallest = min(path.stat().st_size for path in undisturbed.rglob("manifest.json"))
    with no_file_longer_than() as bound:
        told = run(out, {1: lambda: bound(smallest - 1), 2: lambda: bound(None)})
    assert told.code in (1, 3)
    assert told.code == 3 or one_clear_line(told, out)
    assert {stage for stage, _ in told.failed.values()} <= {"write"}
    results(out)
    assert run(out, retry_failed=True).code == 0
    assert results(out) == results(undisturbed)


def test_a_log_on_a_full_disk_costs_no_run(smoothcam: Command, run: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = smoothcam("explain", run.photos, "--model", run.model, "-o", out, "--log-file", "/dev/full")
    assert ended.code == 0
    assert os.strerror(errno.ENOSPC) in ended.err
    assert len(index_rows(out)) == len(NAMES)


def test_data_that_cannot_be_written_to_stdout_is_one_line(run: Runs) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "cam_cli", "explain", str(run.photos), "--dry-run", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"smoothcam: cannot write: {os.strerror(errno.ENOSPC)}"]


# --- what cannot be read


@pytest.fixture
def read_error() -> Path:
    try:
        ALWAYS_EIO.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:
            return ALWAYS_EIO
    pytest.skip(f"{ALWAYS_EIO} gives no read error here")


def test_a_photo_on_a_bad_sector_is_a_record_until_it_can_be_read(
    run: Runs, undisturbed: Path, tmp_path: Path, read_error: Path
) -> None:
    out = tmp_path / "out"
    bad = run.photos / "a" / "02.png"
    good = bad.read_bytes()
    bad.unlink()
    bad.symlink_to(read_error)
    told = run(out)
    assert told.code == 3
    assert told.failed == {"a/02.png": ("read", f"cannot be read: {os.strerror(errno.EIO)}")}
    assert len(told.done) == len(NAMES) - 1
    assert len([line for line in told.warned if "a/02.png" in line]) == 1

    bad.unlink()
    bad.write_bytes(good)
    again = run(out)
    assert (again.code, again.done) == (0, {"a/02.png"})
    assert results(out) == results(undisturbed)


def test_an_index_on_a_bad_sector_is_one_clear_line(run: Runs, tmp_path: Path, read_error: Path) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "index.2-of-8.jsonl").symlink_to(read_error)
    told = run(out)
    assert (told.code, told.rows) == (1, [])
    assert "index.2-of-8.jsonl" in told.line
    assert os.strerror(errno.EIO) in told.line


# --- what may not be used


@pytest.fixture(scope="module")
def powerless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts commands in processes that file permissions bind, as they do not bind root."""
    folder = tmp_path_factory.mktemp("powerless")
    secret = folder / "secret"
    secret.touch(0o000)
    for bound in ([], ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]):
        try:
            probe = subprocess.run([*bound, "cat", secret], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no `setpriv` here to give up root's rights with")
        if os.strerror(errno.EACCES) in probe.stderr:
            break
    else:
        pytest.skip(f"file permissions bind nobody here: {probe.stderr.strip()}")

    launcher = Launcher(folder, bound)
    yield launcher
    launcher.close()


@contextmanager
def forbidden(places: Mapping[Path, int]) -> Iterator[None]:
    """Give places other permissions for the while."""
    before = {place: place.stat().st_mode for place in places}
    for place, mode in places.items():
        place.chmod(mode)
    try:
        yield
    finally:
        for place, mode in before.items():
            place.chmod(mode)


def test_what_may_not_be_read_or_written_is_recorded_and_done_later(
    run: Runs, undisturbed: Path, tmp_path: Path, powerless: Launcher
) -> None:
    out = tmp_path / "out"
    run(out, paths=[run.photos / "a" / "00.png"], root=run.photos)
    unlistable = run.photos / "locked"
    unlistable.mkdir()
    with forbidden({run.photos / "b" / "11.png": 0o000, unlistable: 0o000, out / "a": 0o555}):
        stdout = tmp_path / "stdout"
        command = powerless.start("explain", run.photos, "--model", run.model, "-o", out, *FLAGS, stdout=str(stdout))
        ended = Ended(command.ended(), stdout.read_text(), command.said)
    denied = os.strerror(errno.EACCES)
    assert ended.code == 3
    assert {row["path"]: (row["error"]["stage"], row["error"]["message"]) for row in ended.rows if row["error"]} == {
        "b/11.png": ("read", f"cannot be read: {denied}"),
        **dict.fromkeys(NAMES[1:-1], ("write", f"cannot be written: {denied}")),
    }
    assert [row["path"] for row in ended.rows if row["skipped"]] == ["a/00.png"]
    assert f"smoothcam: {unlistable}: folder skipped: {denied}" in ended.err.splitlines()
    totals = json.loads((out / "run.json").read_text())["totals"]
    assert (totals["images"], totals["failed"], totals["unreadable_folders"]) == (12, 11, 1)
    assert {path.name for path in (out / "a").iterdir()} == {"00.png"}

    again = run(out)
    assert again.code == 3, "a failed image counts until it is done"
    assert again.done == {"b/11.png"}, "a photo whose permissions changed may be another one"
    last = run(out, retry_failed=True)
    assert (last.code, last.done) == (0, {*NAMES[1:-1]})
    assert results(out) == results(undisturbed)


@pytest.mark.parametrize("made", [True, False], ids=["of an earlier run", "in a folder"])
def test_a_folder_that_may_not_be_written_to_is_one_line_and_nothing_is_done(
    tmp_path: Path, undisturbed: Path, run: Runs, powerless: Launcher, made: bool
) -> None:
    out = tmp_path / "parent" / "out"
    guarded = out if made else out.parent
    out.parent.mkdir()
    if made:
        shutil.copytree(undisturbed, out)
    with forbidden({guarded: 0o555}):
        stdout = tmp_path / "stdout"
        command = powerless.start("explain", run.photos, "--model", run.model, "-o", out, stdout=str(stdout))
        assert command.ended() == 2
    assert stdout.read_text() == ""
    (line,) = command.said.splitlines()
    assert str(out) in line
    assert os.strerror(errno.EACCES) in line


def test_a_run_folder_that_may_no_longer_be_written_to_ends_the_run(
    run: Runs, tmp_path: Path, powerless: Launcher
) -> None:
    out = tmp_path / "out"
    slow = 200  # noisy copies, so that the run is still at work when its folder is closed
    command = powerless.start("explain", run.photos, "--model", run.model, "-o", out, *FLAGS, "--nsamples", slow)
    while not (out / "index.jsonl").exists() or not index_rows(out):
        time.sleep(0.002)
        assert command.poll() is None
    with forbidden({out: 0o555}):
        assert command.ended() == 1
    assert str(out) in command.said.splitlines()[-1]
    again = run(out, nsamples=slow)
    assert again.code == 0, "the same command goes on, as it said"
    assert {row["path"] for row in again.rows} == {*NAMES}


# --- what changes while the run is at work


def test_photos_that_change_under_the_run_are_recorded_and_done_again(
    run: Runs, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    changed = 0, 7, 8, 9, 10  # the first is finished by then, the others are not yet opened
    finished, missing, cut, folder, other = (run.photos / NAMES[i] for i in changed)
    kept = {path: path.read_bytes() for path in (finished, missing, cut, other, folder)}

    def change() -> None:
        photo(finished, 100)
        missing.unlink()
        cut.write_bytes(kept[cut][:60])
        photo(other, 101)
        folder.unlink()
        folder.mkdir()

    told = run(out, {1: change})
    assert told.code == 3
    assert {path: stage for path, (stage, _) in told.failed.items()} == {
        NAMES[7]: "read",
        NAMES[8]: "decode",
        NAMES[9]: "read",
    }
    assert told.done == {*NAMES} - set(told.failed)
    results(out)

    assert run(out).done == {NAMES[0]}, "it is another photo than the one explained"
    folder.rmdir()
    for path, data in kept.items():
        path.write_bytes(data)
    again = run(out)
    assert (again.code, again.done) == (0, {NAMES[i] for i in changed})
    assert results(out) == results(undisturbed)


@pytest.mark.parametrize("after", [2, len(NAMES)], ids=["midway", "after the last image"])
@pytest.mark.parametrize(
    ("gone", "codes"),
    [("a", {0}), (".work", {0}), ("a/01.png/manifest.json", {0}), ("index.jsonl", {0, 1}), (".", {1})],
)
def test_what_is_removed_from_under_the_run_is_made_again_by_the_same_command(
    run: Runs, undisturbed: Path, tmp_path: Path, gone: str, codes: set[int], after: int
) -> None:
    out = tmp_path / "out"
    place = out / gone

    def remove() -> None:
        while place.is_dir():  # a writer may be at work in it
            shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)

    told = run(out, {after: remove})
    assert told.code in codes
    assert told.code == 0 or one_clear_line(told, out)
    assert run(out).code == 0
    assert results(out) == results(undisturbed)


def test_a_staging_folder_that_is_removed_over_and_over_costs_no_more_than_another_run(
    run: Runs, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    over = threading.Event()

    def remove() -> None:
        while not over.wait(0.0005):
            shutil.rmtree(out / ".work", ignore_errors=True)

    vandal = threading.Thread(target=remove)
    try:
        told = run(out, {1: vandal.start})
    finally:
        over.set()
        vandal.join()
    assert told.code in (0, 1, 3)
    assert told.code != 1 or one_clear_line(told, out)
    assert run(out, retry_failed=True).code == 0
    assert results(out) == results(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_whatever_step_fails_nothing_is_half_and_the_same_command_goes_on(
    run: Runs, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The n-th step that changes OUT fails, for every n that there is: no place may have been forgotten."""
    fault = _Fault(number)
    for step in ("open", "write", "fsync", "mkdir", "rename", "replace"):
        monkeypatch.setattr(os, step, fault.wrapped(getattr(os, step)))
    struck = 0
    while True:
        out = tmp_path / f"out{struck}"
        with fault.striking(out, struck):
            told = run(out)
        if not fault.struck:
            break
        struck += 1
        if told.code == 0:
            assert results(out) == results(undisturbed), f"step {struck} ({fault.step}) went unnoticed"
        assert told.code in (0, 3) or ("\n" not in told.line and str(out) in told.line), f"{fault.step}: {told.line}"
        assert run(out, retry_failed=True).code == 0, f"after step {struck} ({fault.step})"
        assert results(out) == results(undisturbed), f"after step {struck} ({fault.step})"
        shutil.rmtree(out)
    assert struck > 8 * len(NAMES)


class _Fault:
    """Makes the n-th step fail that changes something below a folder, whichever thread takes it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._below = ""
        self._left = -1
        self._ours: set[int] = set()
        self.struck = False
        self.step = ""

    @contextmanager
    def striking(self, folder: Path, after: int) -> Iterator[None]:
        self._below, self._left, self.struck = str(folder), after, False
        try:
            yield
        finally:
            self._below = ""

    def wrapped(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(target: Any, *rest: Any, **options: Any) -> Any:
            if self._counts(step.__name__, target, rest):
                self._left -= 1
                if self._left < 0 and not self.struck:
                    self.struck, self.step = True, f"{step.__name__} {target}"
                    raise OSError(self._number, os.strerror(self._number))
            done = step(target, *rest, **options)
            if step.__name__ == "open":
                self._ours.discard(done)
                if self._below and str(target).startswith(self._below):
                    self._ours.add(done)
            return done

        return wrapper

    @staticmethod
    def _writes(thread: threading.Thread) -> bool:
        return thread is threading.main_thread() or thread.name.startswith("writer")

    def _counts(self, name: str, target: Any, rest: tuple[Any, ...]) -> bool:
        if not self._below or not self._writes(threading.current_thread()):
            return False
        if isinstance(target, int):
            return target in self._ours
        writing = name != "open" or bool(rest and rest[0] & (os.O_WRONLY | os.O_RDWR))
        return writing and os.fspath(target).startswith(self._below)


# --- how many failures are too many


@pytest.fixture
def spoiled(run: Runs) -> dict[str, bytes]:
    """Spoil three of the twelve photos; return what they were."""
    kept = {}
    for name in ("a/01.png", "a/03.png", "a/06.png"):
        kept[name] = (run.photos / name).read_bytes()
        (run.photos / name).write_text("no photo")
    return kept


@pytest.mark.parametrize(
    ("flags", "failed", "done"),
    [
        (["--fail-fast"], ["a/01.png"], ["a/00.png"]),
        (["--max-failures", "0"], ["a/01.png"], ["a/00.png"]),
        (["--max-failures", "1"], ["a/01.png", "a/03.png"], ["a/00.png", "a/02.png"]),
    ],
)
def test_too_many_failures_end_the_run_and_what_is_finished_stays(
    smoothcam: Command,
    run: Runs,
    tmp_path: Path,
    spoiled: dict[str, bytes],
    flags: list[str],
    failed: list[str],
    done: list[str],
) -> None:
    command = ["explain", run.photos, "--model", run.model, "-o", tmp_path / "out", *FLAGS]
    ended = smoothcam(*command, *flags)
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert f"{len(failed)} images failed" in last
    assert "the same command goes on" in last
    assert [row["path"] for row in ended.rows if row["status"] == "failed"] == failed
    rows = {row["path"]: row["status"] for row in index_rows(tmp_path / "out")}
    assert rows == dict.fromkeys(done, "ok") | dict.fromkeys(failed, "failed")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "stopped"

    allowed = smoothcam(*command)
    assert allowed.code == 3
    again = {row["path"] for row in allowed.rows if not row["skipped"]}
    assert again == {*NAMES} - {*done, *failed}


def test_as_many_failures_as_allowed_end_no_run(run: Runs, tmp_path: Path, spoiled: dict[str, bytes]) -> None:
    told = run(tmp_path / "out", max_failures=3)
    assert (told.code, set(told.failed), len(told.done)) == (3, set(spoiled), len(NAMES) - 3)


def test_only_the_failures_of_this_run_can_be_too_many(run: Runs, tmp_path: Path, spoiled: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(out)
    (run.photos / "b" / "12.png").write_text("no photo")
    told = run(out, max_failures=1)
    assert told.code == 3
    assert {row["path"] for row in told.rows if not row["skipped"]} == {"b/12.png"}


def test_a_failed_image_is_tried_again_on_request_or_when_it_changed(
    smoothcam: Command, run: Runs, undisturbed: Path, tmp_path: Path, spoiled: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    command = ["explain", run.photos, "--model", run.model, "-o", out, *FLAGS]

    def tried(*flags: str) -> tuple[int, set[str]]:
        ended = smoothcam(*command, *flags)
        return ended.code, {row["path"] for row in ended.rows if not row["skipped"]}

    assert tried()[0] == 3
    assert tried() == (3, set()), "what failed before still counts"
    assert tried("--fail-fast") == (3, set()), "and is not a failure of this run"
    assert tried("--retry-failed") == (3, set(spoiled))
    (run.photos / "a/01.png").write_bytes(spoiled["a/01.png"])
    assert tried() == (3, {"a/01.png"})
    for name, data in spoiled.items():
        (run.photos / name).write_bytes(data)
    assert tried() == (0, {"a/03.png", "a/06.png"})
    assert results(out) == results(undisturbed)


# --- the engine's memory runs out


@keras.saving.register_keras_serializable("tests")
class Hungry(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Hands its input on unless more than `most` rows come at once, or an image that is all white."""

    most = 1000
    rows_seen: list[int] = []  # noqa: RUF012

    def call(self, x: tf.Tensor) -> tf.Tensor:
        zero = tf.py_function(self._weigh, [x], tf.float32)
        zero.set_shape(())
        return x + tf.stop_gradient(zero)

    @classmethod
    def _weigh(cls, x: tf.Tensor) -> float:
        cls.rows_seen.append(len(x))
        if len(x) > cls.most or tf.reduce_min(x[0]) >= 1:
            raise MemoryError("no room for it")  # which TensorFlow hands on as a ResourceExhaustedError
        return 0.0


@keras.saving.register_keras_serializable("tests")
class Greedy(keras.layers.Layer):  # type: ignore[misc]
    """Hands its input on; for more than three rows it asks for more memory than can be addressed."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        too_many = tf.clip_by_value(tf.cast(tf.shape(x)[0], tf.int64) - 3, 0, 1)
        return x + tf.reduce_max(tf.fill([1 + too_many * 2**46], 0 * x[0, 0, 0, 0]))


def demanding(layer: keras.Layer) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layer,
            keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv1"),
            keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv2"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(len(CLASSES), activation="softmax", name="head"),
        ]
    )
    draw = np.random.default_rng(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras reads weights through an interface that NumPy deprecates
        model.set_weights([draw.normal(0.05, 0.5, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def explainer(model: keras.Model) -> Explainer:
    return Explainer(model, analyse(trace(model, (32, 32, 3)), ["conv1"]), Request(nsamples=5))


def subjects() -> list[Subject]:
    draw = np.random.default_rng(4)
    return [Subject(draw.normal(size=(32, 32, 3)).astype(np.float32), str(i)) for i in range(2)]


def assert_equal_maps(model: keras.Model, hungry: Explainer) -> None:
    plain = demanding(keras.layers.Identity())
    plain.set_weights(model.get_weights())
    for found, wanted in zip(hungry.explain(subjects()), explainer(plain).explain(subjects()), strict=True):
        a, b = found.maps[0].values, wanted.maps[0].values
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(b.max()))


@pytest.fixture
def hungry(monkeypatch: pytest.MonkeyPatch) -> type[Hungry]:
    monkeypatch.setattr(Hungry, "most", 1000)
    monkeypatch.setattr(Hungry, "rows_seen", [])
    return Hungry


@pytest.mark.parametrize(("most", "passes"), mostly_long([(1, [6, 3, 1]), (3, [6, 3]), (6, [6])], 1))
def test_where_the_memory_runs_out_passes_are_halved_and_maps_stay(
    hungry: type[Hungry], most: int, passes: list[int]
) -> None:
    model = demanding(hungry())
    engine = explainer(model)
    hungry.most = most
    hungry.rows_seen.clear()
    assert_equal_maps(model, engine)
    assert list(dict.fromkeys(hungry.rows_seen)) == passes, "it does not try the larger passes again"
    assert engine.rows_in_a_pass == passes[-1]
    assert engine.halvings == len(passes) - 1


@pytest.mark.long
def test_where_the_allocator_itself_refuses_passes_are_halved() -> None:
    """The true error, which TensorFlow's allocator thinks over for ten seconds each time."""
    model = demanding(Greedy())
    engine = explainer(model)
    assert_equal_maps(model, engine)
    assert engine.rows_in_a_pass == 3


def test_where_not_even_one_row_fits_it_is_that_images_failure(
    hungry: type[Hungry], run: Runs, undisturbed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model" / "hungry.keras"
    file.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        demanding(hungry()).save(file)
    write_card(file, name="hungry")
    Image.new("RGB", (32, 32), "white").save(run.photos / "a" / "01.png")
    told = run(tmp_path / "out", model=str(file), write=("raw",))
    assert told.code == 3
    assert {path: stage for path, (stage, _) in told.failed.items()} == {"a/01.png": "explain"}
    assert len(told.done) == len(NAMES) - 1
    (message,) = (message for _, message in told.failed.values())
    assert "no room for it" in message or "memory" in message
