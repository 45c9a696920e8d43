"""Decoder processes: they give what opening an image here gives, and their deaths cost one image each."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_cli.decoding.image import Decoded, DecodeSettings, decode_image, stat_of
from cam_cli.decoding.pool import DecoderPool, _Process
from cam_cli.errors import SmoothcamError
from cam_cli.images.fit import Preprocessing
from cam_cli.interruption import Interrupted, Interruption

ROOT = Path(__file__).parent.parent.parent
PHOTOS = sorted((ROOT / "sample_images").glob("*.jpg"))
HOW = DecodeSettings((64, 48), Preprocessing(fit="letterbox", mean=(127.5,), std=(128.0,)), 200, 100_000_000)
AMPLE = 60.0
FOR_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo that takes much longer than the others."""
    file = tmp_path_factory.mktemp("slow") / "slow.png"
    Image.new("L", (3000, 3000), 90).save(file, compress_level=1)
    return file


def contents(opened: Decoded) -> dict[str, Any]:
    """All that an opened image says, but how long it took."""
    image = vars(opened.image) if opened.image else {}
    return {**vars(opened), "seconds": None, "image": {key: _bytes(value) for key, value in image.items()}}


def _bytes(value: object) -> object:
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def only(decoders: DecoderPool, path: Path, how: DecodeSettings = HOW, known: str | None = None) -> Decoded:
    ((_, opened),) = decoders.decode([(None, path, known)], how, 0)
    return opened


def pids(decoders: DecoderPool) -> list[int]:
    return [decoder._process._popen.pid for decoder in decoders._decoders if decoder._process]


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def state(pid: int) -> str:
    """The letter of /proc: R runs, S sleeps, T is stopped; a process that has ended is `gone`."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "gone"
    return "gone" if letter in "ZX" else letter


def stop(decoders: DecoderPool) -> int:
    """Stop the only process of `decoders`, as if it hung over whatever it is given next."""
    (pid,) = pids(decoders)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T")
    return pid


def holds_a_job(decoders: DecoderPool) -> bool:
    """Whether a job lies unread before the stopped process."""
    process = decoders._decoders[0]._process
    return process is not None and any(fcntl.ioctl(process._socket, termios.TIOCOUTQ, bytes(4)))


@pytest.mark.parametrize("workers", [1, 4])
def test_processes_give_in_order_what_opening_here_gives(workers: int, slow: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n'.jpg"))
    odd.write_bytes(PHOTOS[0].read_bytes())
    text = tmp_path / "text.png"
    text.write_text("no photo")
    paths = [slow, *PHOTOS, odd, text, tmp_path / "missing.jpg", PHOTOS[0]]
    with DecoderPool(workers, AMPLE) as decoders:
        decoders.start()
        found = list(decoders.decode(((i, path, None) for i, path in enumerate(paths)), HOW, 5))
    assert [i for i, _ in found] == list(range(len(paths)))
    for path, (_, opened) in zip(paths, found, strict=True):
        assert contents(opened) == contents(decode_image(path, None, HOW)), path
    assert sum(opened.image is not None for _, opened in found) == len(paths) - 2


@pytest.mark.parametrize("ahead", [0, 3])
def test_jobs_are_taken_as_they_are_needed(ahead: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[tuple[int, Path, None]]:
        for i in range(10):
            taken.append(i)
            assert threading.current_thread() is threading.main_thread()
            yield i, PHOTOS[i % len(PHOTOS)], None

    with DecoderPool(2, AMPLE) as decoders:
        results = decoders.decode(jobs(), HOW, ahead)
        assert not taken
        for i, _ in results:
            assert len(taken) == min(10, i + 1 + ahead)


def test_images_are_opened_while_the_caller_works() -> None:
    with DecoderPool(2, AMPLE) as decoders:
        results = decoders.decode([(path, path, None) for path in PHOTOS], HOW, 4)
        next(results)
        waiting = results.gi_frame.f_locals["waiting"]  # type: ignore[attr-defined]
        assert len(waiting) == 4
        wait_until(lambda: all(future.done() for *_, future in waiting))


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_costs_one_image(signum: signal.Signals) -> None:
    with DecoderPool(1, AMPLE) as decoders:
        only(decoders, PHOTOS[0])
        pid = stop(decoders)

        def jobs() -> Iterator[tuple[str, Path, None]]:
            yield "victim", PHOTOS[0], None
            wait_until(lambda: holds_a_job(decoders))
            os.kill(pid, signum)
            os.kill(pid, signal.SIGCONT)
            yield "next", PHOTOS[1], None
            yield "last", PHOTOS[2], None

        found = dict(decoders.decode(jobs(), HOW, 1))
        assert pids(decoders) != [pid]
    error = found["victim"].error
    assert error
    assert (error.stage, error.type, found["victim"].image) == ("decode", "DecoderCrash", None)
    assert signum.name in error.message
    assert ("memory" in error.message) == (signum == signal.SIGKILL)
    assert contents(found["next"]) == contents(decode_image(PHOTOS[1], None, HOW))
    assert contents(found["last"]) == contents(decode_image(PHOTOS[2], None, HOW))


def test_a_process_that_died_while_idle_costs_nothing() -> None:
    with DecoderPool(1, AMPLE) as decoders:
        only(decoders, PHOTOS[0])
        (pid,) = pids(decoders)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: state(pid) == "gone")
        assert only(decoders, PHOTOS[0]).image


def test_a_hang_costs_one_image() -> None:
    with DecoderPool(1, 2.0) as decoders:
        only(decoders, PHOTOS[0])
        pid = stop(decoders)
        first, second = (opened for _, opened in decoders.decode([(0, PHOTOS[0], None), (1, PHOTOS[1], None)], HOW, 1))
        assert state(pid) == "gone"
    assert first.error
    assert (first.error.stage, first.error.type, first.image) == ("decode", "DecoderHang", None)
    assert "2 s" in first.error.message
    assert contents(second) == contents(decode_image(PHOTOS[1], None, HOW))


def test_an_image_is_not_blamed_for_time_that_passed_while_all_were_suspended() -> None:
    with DecoderPool(1, AMPLE) as decoders:
        only(decoders, PHOTOS[0])
        pid = stop(decoders)

        def jobs() -> Iterator[tuple[str, Path, None]]:
            yield "suspended", PHOTOS[0], None
            wait_until(lambda: holds_a_job(decoders))
            os.kill(pid, signal.SIGALRM)
            os.kill(pid, signal.SIGCONT)
            yield "next", PHOTOS[1], None

        found = dict(decoders.decode(jobs(), HOW, 1))
        assert pids(decoders) != [pid]
    assert contents(found["suspended"]) == contents(decode_image(PHOTOS[0], None, HOW))


def test_a_process_answers_no_signal_of_the_run_and_ends_itself_when_its_time_is_up(slow: Path) -> None:
    process = _Process()
    process.wait_until_ready()
    for signum in FOR_THE_RUN:
        os.kill(process._popen.pid, signum)
    assert process.answer((PHOTOS[0], None, HOW, AMPLE), AMPLE).image
    with pytest.raises(EOFError):
        process.answer((slow, None, HOW, 0.01), AMPLE)
    assert process.end() == -signal.SIGALRM


def unreadable(folder: Path) -> Iterator[tuple[Path, bool, str, str]]:
    """Files that nothing can be made of, with whether they are there, the stage and a word of the message."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(PHOTOS[0].read_bytes()[:9000])
    (folder / "loop.jpg").symlink_to("loop.jpg")
    Image.new("1", (HOW.max_pixels // 100 + 1, 100)).save(folder / "bomb.png")
    with (folder / "endless.jpg").open("wb") as file:
        file.truncate(3 * 2**30 + 24 * HOW.max_pixels)
    yield folder / "pipe.jpg", True, "read", "not a regular file"
    yield folder / "folder.jpg", True, "read", "not a regular file"
    yield Path("/dev/zero"), True, "read", "not a regular file"
    yield folder / "missing.jpg", False, "read", "No such file"
    yield folder / "loop.jpg", False, "read", "symbolic links"
    yield folder / "null\0.jpg", False, "read", "null"
    yield folder / f"{'n' * 300}.jpg", False, "read", "too long"
    yield Path("/proc/self/mem"), True, "read", "Input/output error"
    yield folder / "endless.jpg", True, "read", "memory"
    yield folder / "empty.jpg", True, "decode", "empty"
    yield folder / "cut.jpg", True, "decode", "cut short"
    yield folder / "bomb.png", True, "decode", "max_pixels"


def test_what_cannot_be_opened_says_why_and_spares_the_process(tmp_path: Path) -> None:
    with DecoderPool(1, AMPLE) as decoders:
        only(decoders, PHOTOS[0])
        first = pids(decoders)
        for path, there, stage, word in unreadable(tmp_path):
            opened = only(decoders, path)
            assert opened.image is None
            assert opened.error, path
            assert (opened.error.stage, word in opened.error.message) == (stage, True), opened.error
            assert opened.error.type == ("MemoryError" if path.name == "endless.jpg" else "ImageError")
            assert opened.error.message.isprintable()
            assert (opened.sha256 is None) == (stage == "read")
            assert (opened.source is not None) == there, path
        bad = DecodeSettings(HOW.size, Preprocessing(mean=(1.0, 2.0)), HOW.picture_size, HOW.max_pixels)
        misfit = only(decoders, PHOTOS[0], bad).error
        assert misfit
        assert misfit.stage == "fit"
        assert only(decoders, PHOTOS[0]).image
        assert pids(decoders) == first


@contextmanager
def not_root() -> Iterator[None]:
    """What runs inside may not do what root may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_says_so() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret = folder / "secret.jpg"
        secret.write_bytes(PHOTOS[0].read_bytes())
        secret.chmod(0)
        with not_root():
            opened = decode_image(secret, None, HOW)
        assert opened.error
        assert (opened.error.stage, opened.error.message) == ("read", "cannot be read: Permission denied")
        assert opened.source == stat_of(secret)


def test_known_bytes_are_not_decoded(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    known = hashlib.sha256(b"no photo").hexdigest()
    with DecoderPool(1, AMPLE) as decoders:
        same = only(decoders, text, known=known)
        text.write_text("another")
        changed = only(decoders, text, known=known)
    status = text.stat()
    assert (same.sha256, same.image, same.error) == (known, None, None)
    assert changed.error
    assert changed.source
    assert changed.source.record() == {
        "size": 7,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


class Stopped(BaseException):
    """What a signal's handler raises."""


def test_a_signal_gets_through_while_waiting() -> None:
    states: list[str] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        states.append(state(pid))
        raise Stopped

    threads = set(threading.enumerate())
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with DecoderPool(1, 5.0) as decoders:
            only(decoders, PHOTOS[0])
            pid = stop(decoders)
            results = decoders.decode([(None, path, None) for path in PHOTOS], HOW, 4)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Stopped):
                next(results)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert states == ["T"], "the handler had to wait until the process was given up"
    assert state(pid) == "gone"
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize("use", ["nothing", "started", "one image", "left in the middle"])
def test_closing_leaves_nothing_behind(use: str, slow: Path) -> None:
    threads = set(threading.enumerate())
    files = set(Path("/proc/self/fd").iterdir())
    with DecoderPool(3, AMPLE) as decoders:
        if use != "nothing":
            decoders.start()
            wait_until(lambda: len(pids(decoders)) == 3)
        if use == "one image":
            only(decoders, PHOTOS[0])
        if use == "left in the middle":
            next(decoders.decode(((None, path, None) for path in [PHOTOS[0], *[slow] * 9]), HOW, 6))
        left = [decoder._process._popen for decoder in decoders._decoders if decoder._process]
    assert [process.returncode for process in left] == [-signal.SIGKILL] * len(left)
    assert not any(Path(f"/proc/{process.pid}").exists() for process in left)
    assert set(threading.enumerate()) == threads
    assert set(Path("/proc/self/fd").iterdir()) == files


def test_signals_to_the_whole_group_leave_the_processes_alone() -> None:
    with DecoderPool(1, AMPLE) as decoders:
        decoders.start()
        wait_until(lambda: len(pids(decoders)) == 1)
        (pid,) = pids(decoders)
        for _ in range(2):  # while it starts, and when it is up
            for signum in FOR_THE_RUN:
                os.kill(pid, signum)
            assert only(decoders, PHOTOS[0]).image
        assert pids(decoders) == [pid]


@pytest.mark.parametrize(
    ("program", "word"), [("/bin/false", "exit code 1"), ("/nowhere/python", "No such file"), ("/bin/true", "code 0")]
)
def test_that_no_process_can_be_started_ends_the_run(monkeypatch: pytest.MonkeyPatch, program: str, word: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with DecoderPool(2, AMPLE) as decoders:
        decoders.start()
        with pytest.raises(SmoothcamError, match=word):
            only(decoders, PHOTOS[0])


def test_modules_where_the_command_runs_are_not_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pickle", "numpy", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with DecoderPool(1, AMPLE) as decoders:
        assert only(decoders, PHOTOS[0]).image


def test_a_process_imports_no_more_than_it_needs() -> None:
    heavy = {"tensorflow", "keras", "pydantic", "cmap", "yaml", "click"}
    code = f"import sys, cam_cli.decoding.child; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


PARENT = """
import sys, time
from pathlib import Path
from test_decoders import HOW, PHOTOS, DecoderPool, only, pids

with DecoderPool(2, 60) as decoders:
    decoders.start()
    only(decoders, PHOTOS[0])
    only(decoders, PHOTOS[0])
    print(*pids(decoders), flush=True)
    list(decoders.decode(((None, Path(sys.argv[1]), None) for _ in range(10**6)), HOW, 4))
"""


def test_processes_vanish_when_their_parent_is_killed(slow: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(slow)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as parent:
        assert parent.stdout
        left = [int(word) for word in parent.stdout.readline().split()]
        assert [state(pid) for pid in left] != ["gone", "gone"]
        parent.kill()
    assert len(left) == 2
    wait_until(lambda: [state(pid) for pid in left] == ["gone", "gone"])


def test_a_signal_that_comes_while_a_job_is_submitted_waits_until_it_is() -> None:
    """An exception inside `submit` could leave a lock of the thread pool taken, and then the pool would never close."""
    interruption, order = Interruption(), []
    before = signal.signal(
        signal.SIGTERM, lambda *_: interruption.stop(Interrupted(signal.SIGTERM)) or interruption._check()
    )
    try:
        with DecoderPool(1, AMPLE, interruption.deferred) as decoders:
            submit = decoders._threads.submit

            def submit_under_fire(*job: Any) -> Any:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
                order.append("submitted")
                return submit(*job)

            decoders._threads.submit = submit_under_fire  # type: ignore[method-assign]
            with pytest.raises(Interrupted):
                list(decoders.decode([(0, PHOTOS[0], None)], HOW, 0))
            assert order == ["submitted"]
    finally:
        signal.signal(signal.SIGTERM, before)
