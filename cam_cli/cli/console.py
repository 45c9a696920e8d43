"""What the person, the log and the pipe see of a run: a bar on a terminal, a line now and then elsewhere, data on stdout."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import click

from cam_cli.cli.progress import Bar, Progress, is_terminal
from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.interruption import Interrupted
from cam_cli.text import escaped

if TYPE_CHECKING:
    from cam_cli.results.manifest import Row

_FRAME = 0.2
"""Seconds between two drawings of the bar."""


@dataclass(kw_only=True)
class Console:
    """Shows a run on stderr and in a log file and, when asked, writes one line of JSON for each image to stdout.

    Lines may come from any thread. A stderr that is gone, or a log that cannot be written to any more, ends no run. The log
    has all lines whatever stderr shows, but those of skipped images only with `verbose`, and a line on how far the run is every
    `progress_every` seconds. Raises UsageError if it cannot be opened.
    """

    json_lines: bool = False
    quiet: bool = False
    verbose: bool = False
    progress_every: float = 30.0
    log_file: Path | None = None

    def __post_init__(self) -> None:
        self._every = min(self.progress_every, threading.TIMEOUT_MAX)
        self._log = _opened(self.log_file) if self.log_file else None
        self._progress = Progress()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._stderr = _own_stderr()
        self._bar = Bar(self._stderr, hidden=self.quiet)
        self._live = not self._bar.disable
        self._data_beside_bar = self._live and is_terminal(sys.stdout)

    def __enter__(self) -> Console:
        if self._log is not None or not self.quiet:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        was_finished = self._over.is_set()
        self.finish()
        with self._lock:
            if error is not None:
                if not was_finished:
                    self._tell("info", str(self._progress), shown=self.verbose)
                named = "" if isinstance(error, SmoothcamError) else f"{type(error).__name__}: "
                self._note("error", f"{named}{error}")
            if self._log is not None:
                self._log.close()
                self._log = None
            if self._stderr is not sys.stderr:
                with suppress(OSError):
                    self._stderr.close()

    def say(self, text: str) -> None:
        """Take a line for a person; a quiet run keeps it for the log."""
        self._tell("info", text, shown=not self.quiet)

    def warn(self, text: str) -> None:
        """Take a line about something that went wrong; it is always shown."""
        self._tell("warning", text, shown=True)

    def detail(self, text: str) -> None:
        """Take a line for a person who wants to know more."""
        self._tell("detail", text, shown=self.verbose)

    def where(self) -> None:
        """Say how far the run is, also in a quiet one."""
        with self._lock:
            self._tell("info", str(self._progress), shown=True)

    def doing(self, what: str) -> None:
        """Take what the run does before its first image; an empty text: that is over."""
        with self._lock:
            self._progress.doing = what

    def expect(self, total: int) -> None:
        """Take the number of images there will be."""
        with self._lock:
            self._progress.total = total

    def finish(self) -> None:
        """Draw no bar, and tell no progress, from now on."""
        self._over.set()
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()
        with self._lock:
            self._print("", bar=False)
            self._live = False

    def image(self, row: Row, *, skipped: bool) -> None:
        """Count an image, and print its row where rows are wanted; raises Interrupted if nobody reads stdout any more."""
        failed = row["status"] == "failed"
        with self._lock:
            self._progress.count(row["path"], failed=failed, skipped=skipped)
        if self.verbose if skipped else not failed:
            self.detail(_words(row, skipped=skipped))
        if self.json_lines:
            line = json.dumps({**row, "skipped": skipped}, sort_keys=True)
            try:
                if self._data_beside_bar:
                    with self._lock:
                        self._print("", bar=False)
                        click.echo(line)
                        self._print("")
                else:
                    click.echo(line)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise Interrupted(signal.SIGPIPE) from None

    def _tick(self) -> None:
        """Draw the bar, and say now and then how far the run is, until it is over."""
        due = time.monotonic() + self._every
        while not self._over.wait(max(0.0, min(due - time.monotonic(), _FRAME if self._live else self._every))):
            with self._lock:
                if self._live:
                    self._print("")
                if time.monotonic() >= due:
                    due = time.monotonic() + self._every
                    self._tell("info", str(self._progress), shown=not (self.quiet or self._live))

    def _tell(self, level: str, text: str, *, shown: bool) -> None:
        with self._lock:
            self._note(level, text)
            if shown:
                self._print(f"smoothcam: {escaped(text)}\n")

    def _note(self, level: str, text: str) -> None:
        if self._log is None:
            return
        line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {level}: {escaped(text)}\n".encode()
        try:
            if self._log.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            name = self._log.name
            self._log.close()
            self._log = None
            self.warn(f"log file '{name}' cannot be written to any more: {error.strerror}; the run goes on")

    def _print(self, lines: str, *, bar: bool = True) -> None:
        """Write whole lines to stderr, and the bar below them where there is one."""
        with suppress(OSError, ValueError):
            self._bar.clear()
            self._stderr.write(lines)
            if bar and self._live:
                self._bar.draw(self._progress)
            self._stderr.flush()


def _own_stderr() -> TextIO:
    """Return a stream to where stderr leads now: while TensorFlow runs, file descriptor 2 leads nowhere."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return sys.stderr or io.StringIO()
    return open(descriptor, "w", encoding=sys.stderr.encoding, errors="backslashreplace")  # noqa: PTH123


def _opened(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path, "a")
    except OSError as error:
        raise UsageError(f"log file '{path}' cannot be opened: {error.strerror}; choose another path") from None


def _words(row: Row, *, skipped: bool) -> str:
    parts = ["already done" if row["status"] == "ok" else "failed before"] if skipped else []
    parts += [f"{row['error']['stage']}: {row['error']['message']}"] if row["error"] else []
    parts += [f"{entry['label']} {entry['probability']:.2f}" for entry in row["predictions"][:1]]
    states = Counter(entry["state"] for entry in row["maps"])
    parts += [f"{n} {state} {'map' if n == 1 else 'maps'}" for state, n in states.items()]
    return f"{row['path']}: {', '.join(parts)}"
