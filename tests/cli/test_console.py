"""What a run shows: a bar on a real terminal, lines in a pipe, a log, JSON; and that none of them can end the run."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.cli.console import Console
from cam_cli.cli.progress import Progress, duration
from cam_cli.errors import SmoothcamError, UsageError

pytestmark = pytest.mark.pure

SETUP = """
import os, sys, time
from pathlib import Path
from cam_cli.cli.console import Console
from cam_cli.quiet import native_chatter_silenced
from cam_cli.interruption import Interrupted
def row(path):
    return {"path": path, "status": "ok", "error": None, "predictions": [], "maps": []}
"""
HOSTILE = "\x1b[2Jcl\rear\nsmoothcam: fake\u202e \udcff.jpg"


def row(path: str = "a.jpg", status: str = "ok", states: tuple[str, ...] = ("ok",)) -> dict[str, Any]:
    if status == "failed":
        error = {"stage": "decode", "type": "ImageError", "message": "cut off"}
        return {"path": path, "status": status, "error": error, "predictions": [], "maps": []}
    predictions = [{"label": "tabby", "probability": 0.8312}, {"label": "tiger cat", "probability": 0.1}]
    maps = [{"state": state} for state in states]
    return {"path": path, "status": status, "error": None, "predictions": predictions, "maps": maps}


def script(body: str, *arguments: object, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code that has `Console` at hand, in a process of its own."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, "-c", SETUP + body, *map(str, arguments)]
    return subprocess.run(command, text=True, timeout=60, check=False, **streams)


def on_terminal(body: str, columns: int, *, data_too: bool = False) -> tuple[str, str]:
    """Run code whose stderr (and stdout if asked) is a terminal; return all it drew, and its stdout otherwise."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    drawn = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                return
            drawn.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    done = script(body, stderr=theirs, **({"stdout": theirs} if data_too else {}))
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, drawn
    return drawn.decode().replace("\r\n", "\n"), done.stdout or ""


def screen(drawn: str) -> list[str]:
    """Return what a terminal shows in the end of text that returns to the start of a line to write over it."""
    lines = []
    for line in drawn.split("\n"):
        cells: list[str] = []
        for layer in line.split("\r"):
            cells[: len(layer)] = layer
        lines.append("".join(cells).rstrip())
    return lines


def logged(path: Path) -> list[tuple[str, str]]:
    """Return the log as (level, text), each line's time checked."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        stamp, level, text = line.split(" ", 2)
        assert datetime.fromisoformat(stamp).tzinfo is not None
        found.append((level.removesuffix(":"), text))
    return found


class Passes:
    """A clock, and a run on it whose images come in passes."""

    def __init__(self) -> None:
        self.now = 1e6
        self.progress = Progress(clock=lambda: self.now)

    def run(self, passes: int, images: int, seconds: float, skipped: int = 0, each: float = 0.0) -> None:
        for _ in range(passes):
            for _ in range(skipped):
                self.now += each
                self.progress.count("s", failed=False, skipped=True)
            self.now += seconds
            for _ in range(images):
                self.progress.count("w", failed=False, skipped=False)


@given(st.integers(2, 30), st.integers(1, 16), st.floats(2.5, 40), st.floats(0, 1000))
def test_the_rate_is_that_of_the_passes_whatever_came_before_the_first(
    passes: int, images: int, seconds: float, slow_start: float
) -> None:
    run = Passes()
    run.now += slow_start
    run.run(1, images, seconds)
    assert run.progress.rate is None
    run.run(passes, images, seconds)
    assert run.progress.rate == pytest.approx(images / seconds)


@given(st.integers(1, 16), st.floats(0.01, 2))
def test_the_rate_of_quick_passes_is_about_right(images: int, seconds: float) -> None:
    run = Passes()
    run.run(round(10 / seconds), images, seconds)
    assert run.progress.rate == pytest.approx(images / seconds, rel=0.3)


def test_skipped_images_are_neither_fast_nor_slow_ones() -> None:
    run = Passes()
    run.run(5, 4, 3.0, skipped=10_000, each=1e-4)
    assert run.progress.rate == pytest.approx(4 / 3)
    run = Passes()
    run.run(20, 1, 0.01, skipped=1, each=2.99)
    assert run.progress.rate == pytest.approx(1 / 3, rel=0.01), "a skip that waits for an image is that image's time"
    run = Passes()
    run.run(1, 0, 1.0, skipped=1000)
    assert run.progress.rate is None


def test_the_rate_follows_a_change_of_speed_and_falls_in_a_stall() -> None:
    run = Passes()
    run.run(100, 8, 4.0)
    run.run(50, 8, 8.0)
    assert run.progress.rate == pytest.approx(1, rel=0.05)
    run.now += 1200
    assert run.progress.rate is not None
    assert run.progress.rate < 0.2


@given(st.integers(0, 10**7))
def test_the_time_left_is_what_is_not_met_at_that_rate(more: int) -> None:
    run = Passes()
    run.run(10, 2, 4.0, skipped=3)
    assert run.progress.seconds_left is None
    run.progress.total = 50 + more
    assert run.progress.seconds_left == pytest.approx(more / 0.5)
    assert ("left" in str(run.progress)) == (more > 0)
    assert f"50 of {50 + more:,} images, 30 already done, 0.5 images/s" in str(run.progress)
    run.progress.total = 49
    assert str(run.progress).startswith("50 images, ")
    assert "left" not in str(run.progress)


def test_where_a_run_is_in_words() -> None:
    run = Passes()
    assert str(run.progress) == "no image is finished yet"
    run.progress.total = 12_000
    run.run(601, 2, 2.5)
    run.progress.count("old.jpg", failed=True, skipped=True)
    run.progress.count("sub/x.jpg", failed=True, skipped=False)
    expected = "1,204 of 12,000 images, 2 failed, 0.8 images/s, 3 h 45 min left, last sub/x.jpg"
    assert str(run.progress) == expected
    assert run.progress.brief == "1,204/12,000 images, 2 failed, 0.8/s, 3 h 45 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min"), (1e6, "11 d 13 h")],
)
def test_lengths_of_time_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal_gets_a_bar_with_total_rate_failures_and_time_left() -> None:
    body = """
with Console() as console:
    console.image(row("a"), skipped=False)
    time.sleep(0.6)
    console.expect(40)
    console.say("one")
    console.image({**row("b"), "status": "failed"}, skipped=False)
    time.sleep(2.1)
    console.image(row("c"), skipped=False)
    console.warn("two")
    time.sleep(0.6)
"""
    drawn, _ = on_terminal(body, columns=72)
    frames = re.split(r"[\r\n]", drawn)
    assert any(re.match(r"1 image *$", frame) for frame in frames), "the total is not known yet"
    assert any(re.match(r"  5%\|.+\| 2/40 images, 1 failed$", frame) for frame in frames)
    assert any(re.match(r"  8%\|.+\| 3/40 images, 1 failed, 0\.\d+/s, \d+ s left$", frame) for frame in frames)
    assert max(map(len, frames)) == 71
    assert screen(drawn) == ["smoothcam: one", "smoothcam: two", ""], "the bar is gone in the end"


def test_a_report_has_the_same_bar_unless_it_is_quiet(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent.parent / "data" / "run_of_0_1" / "out", tmp_path / "run")
    body = f"""
from cam_cli.cli.report import report
report([{str(tmp_path / "run")!r}, "-q"], standalone_mode=False)
print("loud", file=sys.stderr)
report([{str(tmp_path / "run")!r}], standalone_mode=False)
"""
    drawn, _ = on_terminal(body, columns=60)
    quiet, loud = drawn.split("loud\n")
    assert quiet == ""
    assert any(re.match(r"100%\|.+\| 5/5 images *$", frame) for frame in re.split(r"[\r\n]", loud))
    (last,) = filter(None, screen(loud))
    assert last.startswith("smoothcam: report: "), "the bar is gone in the end"


def test_data_on_the_same_terminal_as_the_bar_stays_whole() -> None:
    body = """
with Console(json_lines=True) as console:
    for i in range(5):
        console.image(row(f"{i}.jpg"), skipped=False)
        time.sleep(0.25)
"""
    drawn, _ = on_terminal(body, columns=30, data_too=True)
    assert "5 images" in drawn
    joined = "".join(screen(drawn))
    assert [json.loads(part + "}")["path"] for part in joined.split("}")[:-1]] == [f"{i}.jpg" for i in range(5)]


def test_a_quiet_run_has_no_bar() -> None:
    body = """
with Console(quiet=True) as console:
    console.expect(2)
    console.image(row("a"), skipped=False)
    console.say("not said")
    time.sleep(0.5)
    console.warn("beware")
"""
    drawn, _ = on_terminal(body, columns=80)
    assert drawn == "smoothcam: beware\n"


def test_a_pipe_gets_a_line_now_and_then_also_while_one_image_takes_long() -> None:
    body = """
with Console(progress_every=0.2) as console:
    time.sleep(0.5)
    console.expect(3)
    console.image(row("a.jpg"), skipped=True)
    time.sleep(0.9)
"""
    done = script(body)
    lines = done.stderr.splitlines()
    assert lines[0] == "smoothcam: no image is finished yet"
    assert lines.count("smoothcam: 1 of 3 images, 1 already done, last a.jpg") >= 2
    assert len(set(lines)) <= 3
    assert len(lines) < 200, "now and then, not all the time"
    assert "\r" not in done.stderr


@pytest.mark.parametrize("live", [True, False])
def test_the_summary_is_the_last_that_is_shown(live: bool) -> None:
    body = """
with Console(progress_every=0.05, verbose=True) as console:
    console.image(row("a"), skipped=False)
    time.sleep(1.5)
    console.finish()
    console.say("1 explained")
    time.sleep(0.4)
"""
    drawn = on_terminal(body, 80)[0] if live else script(body).stderr
    lines = [line for line in screen(drawn) if line]
    assert lines[-1] == "smoothcam: 1 explained"
    assert lines.count("smoothcam: 1 explained") == 1


def test_an_error_after_the_summary_is_followed_by_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(SmoothcamError), Console(verbose=True) as console:
        console.image(row("a"), skipped=True)
        console.finish()
        console.say("1 explained")
        raise SmoothcamError("stopped")
    assert capfd.readouterr().err.splitlines()[-1] == "smoothcam: 1 explained"


def test_lines_arrive_while_tensorflow_is_silenced() -> None:
    body = """
with Console(progress_every=0.2) as console:
    with native_chatter_silenced():
        console.say("heard")
        time.sleep(0.5)
        os.write(2, b"chatter")
"""
    lines = script(body).stderr.splitlines()
    assert lines[0] == "smoothcam: heard"
    assert "smoothcam: no image is finished yet" in lines
    assert not [line for line in lines if "chatter" in line]


def test_no_line_comes_before_its_time_and_what_is_said_comes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with Console(progress_every=1e300) as console:
        for i in range(1000):
            console.image(row(f"{i}"), skipped=False)
        console.say("said")
        assert capfd.readouterr() == ("", "smoothcam: said\n")
    assert capfd.readouterr() == ("", "")
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_quiet_verbose_and_usual_show_what_they_are_to(capfd: pytest.CaptureFixture[str]) -> None:
    def shown(**options: Any) -> list[str]:
        with Console(**options) as console:
            console.say("said")
            console.detail("detailed")
            console.image(row("a", states=("ok", "blank", "ok")), skipped=False)
            console.image(row("b"), skipped=True)
            console.image(row("c", "failed"), skipped=True)
            console.warn("warned")
            console.where()
        captured = capfd.readouterr()
        assert captured.out == ""
        return [line.removeprefix("smoothcam: ") for line in captured.err.splitlines()]

    where = "3 images, 1 already done, 1 failed, last c"
    images = [
        "a: tabby 0.83, 2 ok maps, 1 blank map",
        "b: already done, tabby 0.83, 1 ok map",
        "c: failed before, decode: cut off",
    ]
    assert shown() == ["said", "warned", where]
    assert shown(quiet=True) == ["warned", where]
    assert shown(verbose=True) == ["said", "detailed", *images, "warned", where]


def test_data_on_stdout_is_the_same_whatever_is_said(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [(row("a"), False), (row("b", "failed"), False), (row(HOSTILE.replace("\udcff", "")), True)]
    ways: list[dict[str, Any]] = [
        {},
        {"quiet": True},
        {"verbose": True, "log_file": tmp_path / "log"},
        {"progress_every": 0.01},
    ]
    for options in ways:
        with Console(json_lines=True, **options) as console:
            for entry, skipped in rows:
                console.image(entry, skipped=skipped)
        lines = capfd.readouterr().out.splitlines()
        assert [json.loads(line) for line in lines] == [entry | {"skipped": skipped} for entry, skipped in rows]
        assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in lines)


def test_the_log_has_every_line_with_its_time_and_is_added_to(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_text("2026-01-01T00:00:00+00:00 info: of yesterday\n")
    with Console(quiet=True, log_file=path) as console:
        console.say("said")
        console.detail("detailed")
        console.image(row("a"), skipped=False)
        console.image(row("b"), skipped=True)
        assert ("detail", "detailed") in logged(path), "a line is there at once"
        console.warn("warned")
        console.where()
    assert logged(path) == [
        ("info", "of yesterday"),
        ("info", "said"),
        ("detail", "detailed"),
        ("detail", "a: tabby 0.83, 1 ok map"),
        ("warning", "warned"),
        ("info", "2 images, 1 already done, last b"),
    ]
    assert capfd.readouterr().err == "smoothcam: warned\nsmoothcam: 2 images, 1 already done, last b\n"
    with Console(verbose=True, log_file=path) as console:
        console.image(row("b"), skipped=True)
    assert logged(path)[-1] == ("detail", "b: already done, tabby 0.83, 1 ok map")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_log_gets_progress_also_from_a_quiet_run_and_beside_a_bar(tmp_path: Path, terminal: bool) -> None:
    path = tmp_path / "log"
    body = f"""
with Console(quiet={not terminal}, progress_every=0.2, log_file=Path({str(path)!r})) as console:
    console.image(row("a"), skipped=False)
    time.sleep(0.7)
"""
    said = on_terminal(body, columns=80)[0] if terminal else script(body).stderr
    assert logged(path).count(("info", "1 image, last a")) >= 2
    assert "smoothcam:" not in said


def test_the_log_says_why_and_where_a_run_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    for error in (SmoothcamError("the disk is\nfull"), KeyError("x")):
        with suppress(type(error)), Console(log_file=path) as console:
            console.image(row("a"), skipped=True)
            raise error
    where = ("info", "1 image, 1 already done, last a")
    assert logged(path) == [where, ("error", r"the disk is\nfull"), where, ("error", "KeyError: 'x'")]
    assert capfd.readouterr().err == "", "what ends a run is told by `main`"


@pytest.mark.parametrize("name", ["no/such/folder", ".", "a/b"])
def test_a_log_that_cannot_be_opened_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UsageError, match=r"log file '.*' cannot be opened: ") as caught:
        Console(log_file=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_full_disk_under_the_log_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=True, json_lines=True, log_file=Path("/dev/full")) as console:
        for i in range(3):
            console.say("said")
            console.image(row(f"{i}"), skipped=False)
    captured = capfd.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.count("\n") == 1
    assert re.match(r"smoothcam: log file '/dev/full' cannot be written to any more: No space left", captured.err)


def test_hostile_names_steer_no_terminal_and_forge_no_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    tellers: list[Callable[[Console], None]] = [
        lambda console: console.warn(HOSTILE),
        lambda console: console.image(row(HOSTILE), skipped=True),
        lambda console: console.where(),
    ]
    with Console(verbose=True, log_file=path) as console:
        for tell in tellers:
            tell(console)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(logged(path)) == len(tellers)
    for line in (*lines, *path.read_text("utf-8").splitlines()):
        assert line.isprintable()
        assert r"\x1b[2Jcl\rear\nsmoothcam: fake\u202e \udcff.jpg" in line


BUSY = """
with Console(json_lines=True, verbose=True, progress_every=0.05) as console:
    for i in range(300):
        console.say("x" * 100)
        console.image(row(f"{i}"), skipped=False)
    console.expect(300)
    time.sleep(0.2)
    console.where()
"""


def test_a_stderr_that_nobody_reads_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = script(BUSY, stderr=writing)
    os.close(writing)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 300


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_stderr_that_is_closed_or_full_ends_nothing(redirection: str) -> None:
    command = ["sh", "-c", f'exec "{sys.executable}" -c "$1" {redirection}', "sh", SETUP + BUSY]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 300


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    ours, theirs = os.openpty()
    body = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nprint('ready', flush=True)\ninput()" + BUSY
    command = [sys.executable, "-c", SETUP + body]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, stderr=theirs, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        os.close(theirs)
        assert process.stdout.readline() == "ready\n"
        os.close(ours)
        out, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert len(out.splitlines()) == 300


def test_a_stdout_that_nobody_reads_ends_a_run_as_a_signal_does() -> None:
    body = """
console = Console(json_lines=True)
try:
    with console:
        console.image(row("a"), skipped=False)
except Interrupted as error:
    console.say("closed by now")
    print("what is printed from here on hurts nobody", flush=True)
    os._exit(error.signum)
"""
    reading, writing = os.pipe()
    os.close(reading)
    done = script(body, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (signal.SIGPIPE, "")


def test_lines_of_many_threads_stay_whole_and_are_all_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    with Console(verbose=True, progress_every=0.001, log_file=path) as console:

        def work(name: str) -> None:
            for i in range(200):
                console.say(f"{name} {i} " + "x" * 200)
                console.image(row(f"{name}/{i}"), skipped=True)
                console.expect(800)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        console.where()
    texts = [text for _, text in logged(path)]
    assert [line.removeprefix("smoothcam: ") for line in capfd.readouterr().err.splitlines()] == texts
    assert {f"{name} {i} " + "x" * 200 for name in "abcd" for i in range(200)} < set(texts)
    assert sum("already done, tabby" in text for text in texts) == 800
    assert texts[-1].startswith("800 of 800 images, 800 already done, last ")
