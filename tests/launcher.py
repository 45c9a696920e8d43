"""Commands forked off a process that has imported TensorFlow, which takes seconds; from there on they are the real `main`."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ALONE = 'import sys; sys.modules.update(dict.fromkeys(("sklearn", "matplotlib")))'
"""As where these two are not installed: they came with the tests, Keras imports them where they are, and that takes seconds."""

COMMAND = f"{ALONE}; sys.argv[0] = 'smoothcam'; from cam_cli.cli import main; main()"
"""The command, for `python -c`."""

LAUNCHER = """
import json, os, signal, sys
import cam_cli.cli.explain, cam_cli.pipeline.run, cam_cli.executors.worker

print("ready", flush=True)
while line := sys.stdin.readline():
    order = json.loads(line)
    if "ask" in order:
        pid, status = os.waitpid(order["ask"], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid:
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        print(pid, flush=True)
        continue
    os.setpgid(0, 0)
    for number, path in enumerate(order["streams"]):
        file = os.open(path, os.O_RDWR if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(order["variables"])
    for signum in order["ignored"]:
        signal.signal(signum, signal.SIG_IGN)
    sys.argv = ["smoothcam", *order["arguments"]]
    from cam_cli.cli import main

    main()
"""

PATIENCE = 180.0
"""Seconds after which a test gives a process up; none is expected to take nearly as long."""


class Process(Protocol):
    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


class Launcher:
    """A process that has imported TensorFlow and forks off a command whenever asked to.

    Args:
        folder: where the commands' stderr is kept.
        bound: a command that starts the process, such as one that gives up rights; may be empty.
    """

    def __init__(self, folder: Path, bound: Sequence[str] = ()) -> None:
        self.folder = folder
        self._variables: dict[str, str] = {}
        self._popen = subprocess.Popen(
            [*bound, sys.executable, "-c", f"{ALONE}\n{LAUNCHER}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == "ready\n"

    def with_variables(self, **variables: str) -> Launcher:
        """Return this launcher, whose commands have further variables in their environment."""
        further = copy.copy(self)
        further._variables = self._variables | variables
        return further

    def order(self, order: dict[str, Any]) -> Any:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(f"{json.dumps(order)}\n")
        self._popen.stdin.flush()
        return json.loads(self._popen.stdout.readline())

    def start(self, *arguments: object, ignored: Sequence[int] = (), stdout: str = os.devnull) -> Command:
        stderr = self.folder / f"stderr-{time.monotonic_ns()}"
        streams = [os.devnull, stdout, str(stderr)]
        pid = self.order(
            {
                "arguments": [str(a) for a in arguments],
                "ignored": list(map(int, ignored)),
                "streams": streams,
                "variables": self._variables,
            }
        )
        return Command(self, pid, stderr)

    def run(self, *arguments: object) -> Command:
        command = self.start(*arguments)
        command.ended()
        return command

    def close(self) -> None:
        with self._popen:
            self._popen.kill()


@dataclass
class Command:
    """A command that a launcher forked off."""

    launcher: Launcher
    pid: int
    stderr: Path
    _code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self.launcher.order({"ask": self.pid})
        return self._code

    def ended(self, patience: float = PATIENCE) -> int:
        await_that(lambda: self.poll() is not None, patience=patience)
        assert self._code is not None
        return self._code

    @property
    def said(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SMOOTHCAM_")}


def await_that(happened: Callable[[], object], pause: float = 0.002, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < end
        time.sleep(pause)
