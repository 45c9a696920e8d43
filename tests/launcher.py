"""Commands forked off a process that has imported TensorFlow, which takes seconds; from there on they are the real `main`."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

REPOSITORY = Path(__file__).parent.parent

ALONE = 'import sys; sys.modules.update(dict.fromkeys(("sklearn", "matplotlib")))'
"""As where these two are not installed: they came with the tests, Keras imports them where they are, and that takes seconds."""

COMMAND = f"{ALONE}; sys.argv[0] = 'smoothcam'; from cam_cli.cli import main; main()"
"""The command, for `python -c`."""

LAUNCHER = """
import json, os, signal, sys
import cam_cli.engine.openvino_import

cam_cli.engine.openvino_import.openvino_version = lambda: None  # a trial at each start would cost too much
import cam_cli.cli.explain, cam_cli.executors.worker, cam_cli.pipeline.run
import cam_cli.engine.tensorflow_runtime, cam_cli.plan.decide

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

SERVER = """
import json, os, socket, sys
import cam_cli.engine.openvino_import

cam_cli.engine.openvino_import.openvino_version = lambda: None  # a trial at each start would cost too much
import cam_cli.cli.explain, cam_cli.executors.worker, cam_cli.pipeline.run
import cam_cli.engine.tensorflow_runtime, cam_cli.plan.decide

server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
while True:
    asked, _ = server.accept()
    if os.fork() == 0:
        break
    asked.close()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
server.close()
message, streams, _, _ = socket.recv_fds(asked, 2**20, 3)
pid = os.fork()
if pid:
    for stream in streams:
        os.close(stream)
    asked.sendall(f"{pid}\\n".encode())
    asked.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())
    os._exit(0)
asked.close()
os.setpgid(0, 0)
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
order = json.loads(message)
os.chdir(order["folder"])
os.environ.clear()
os.environ.update(order["variables"])
sys.argv = ["smoothcam", *order["arguments"]]
from cam_cli.cli import main

main()
"""

CLIENT = """
import json, os, signal, socket, sys

asked = socket.socket(socket.AF_UNIX)
asked.connect(sys.argv[1])
order = {"arguments": sys.argv[2:], "folder": os.getcwd(), "variables": dict(os.environ)}
stopping = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
socket.send_fds(asked, [json.dumps(order).encode()], [0, 1, 2])
answers = asked.makefile()
pid = int(answers.readline())
for signum in stopping:
    if signal.getsignal(signum) is not signal.SIG_IGN:
        signal.signal(signum, lambda signum, frame: os.kill(pid, signum))
signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping)
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
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


class CommandServer:
    """A process that has imported TensorFlow and forks off a command for each call of a program that scripts can start.

    The command has the caller's arguments, folder, environment and streams; signals that stop the caller are passed on to it,
    and the caller ends as it does.

    Args:
        folder: where the socket is; its path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "socket"
        self._client = folder / "client.py"
        self._client.write_text(CLIENT)
        self._popen = subprocess.Popen(
            [sys.executable, "-c", f"{ALONE}\n{SERVER}", self._socket],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == "ready\n"

    def install(self, program: Path) -> None:
        """Write the program that scripts start as `smoothcam`."""
        call = shlex.join([sys.executable, "-I", "-S", str(self._client), str(self._socket)])
        path = shlex.quote(os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]))
        program.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {call} "$@"\n')
        program.chmod(0o755)

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
