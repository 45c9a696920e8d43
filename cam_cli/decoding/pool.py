"""Images decoded ahead in processes of their own: one that hangs or crashes costs the image it worked on, and no other."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.errors import SmoothcamError
from cam_cli.results.manifest import Failure
from cam_cli.storage.location import Location

R = TypeVar("R")
T = TypeVar("T")

_FOR_THE_MAIN_THREAD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE)
"""Blocked in the threads and in the processes that they start, which ignore them once they run."""

_STARTS = 3
_START_SECONDS = 120.0
_END_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_LONGEST_ALARM = 1e8


def decoders_for(cores: int) -> int:
    """Return how many decoder processes keep an engine on so many cores busy."""
    return max(1, min(4, cores // 2))


class DecoderPool(AbstractContextManager["DecoderPool"]):
    """Decoder processes, each with a thread that serves it.

    A signal's exception may come at any point of the caller's thread. If it came while a lock of the thread pool is taken, that
    lock would stay taken. So jobs are submitted under `deferred`, and results are waited for in a queue without such locks.

    Args:
        workers: how many processes.
        timeout: seconds that reading and decoding one image may take.
        deferred: see `Interruption.deferred`.
    """

    def __init__(
        self, workers: int, timeout: float, deferred: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._deferred = deferred
        self._decoders = [_Decoder(timeout) for _ in range(workers)]
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)
        block = (signal.SIG_BLOCK, _FOR_THE_MAIN_THREAD)
        self._threads = ThreadPoolExecutor(workers, "decoder", signal.pthread_sigmask, block)

    def start(self) -> None:
        """Start the processes that are not running, without waiting for them."""
        with self._deferred():
            for _ in self._decoders:
                self._threads.submit(self._lend, _Decoder.start)  # if that fails, the first job tries again and raises

    def decode(
        self, jobs: Iterable[tuple[T, Location, str | None]], settings: DecodeSettings, ahead: int = 8
    ) -> Iterator[tuple[T, Decoded]]:
        """Yield what becomes of each job, in their order, while the next ones are worked on.

        Args:
            jobs: what to yield with the result, the file, and the sha256 of bytes that need not be decoded again; taken one by
                one, in the caller's thread, as they are needed.
            ahead: how many are taken beyond the one yielded.

        Raises SmoothcamError if no decoder process can be started.
        """
        waiting: deque[tuple[T, SimpleQueue[Decoded | BaseException], Future[None]]] = deque()

        def first() -> tuple[T, Decoded]:
            token, answers, _ = waiting.popleft()
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            return token, answer

        try:
            for token, path, known in jobs:
                with self._deferred():
                    answers: SimpleQueue[Decoded | BaseException] = SimpleQueue()
                    future = self._threads.submit(self._answer, answers, path, known, settings)
                    waiting.append((token, answers, future))
                if len(waiting) > ahead:
                    yield first()
            while waiting:
                yield first()
        finally:
            for _, _, future in waiting:
                future.cancel()

    def __exit__(self, *_: object) -> None:
        """End the processes at once, whatever they are doing."""
        for decoder in self._decoders:
            decoder.kill()
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.discard()

    def _answer(self, answers: SimpleQueue[Decoded | BaseException], *job: object) -> None:
        try:
            answers.put(self._lend(_Decoder.open, *job))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answers.put(error)

    def _lend(self, use: Callable[..., R], *arguments: object) -> R:
        decoder = self._idle.get()
        try:
            return use(decoder, *arguments)
        finally:
            self._idle.put(decoder)


class _Decoder:
    """A decoder process, replaced when it has died; used by one thread at a time, and killed by any."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._closed = False

    def start(self) -> _Process:
        """Return the process, started if none is running; it may not be ready yet."""
        if self._process and self._process.has_ended():
            self.discard()
        with self._lock:
            if self._closed:
                raise SmoothcamError("the decoder processes are closed")
            if self._process is None:
                self._process = _Process()
            return self._process

    def open(self, path: Location, known: str | None, settings: DecodeSettings) -> Decoded:
        """Return what becomes of a file; if its decoder hangs or dies, that is the failure of this file."""
        alarm = min(2 * self._timeout + 10, _LONGEST_ALARM)
        for _ in range(2):
            process = self._ready()
            try:
                opened: Decoded = process.answer((path, known, settings, alarm), self._timeout)
            except TimeoutError:
                process.kill()
                self.discard()
                break
            except Exception:  # noqa: BLE001 - whatever can be left of an answer when its sender dies
                code = self.discard()
            else:
                return opened
            if code != -signal.SIGALRM:  # it goes off while the whole run is suspended: try again
                memory = "the memory may have run out: use fewer workers, or shrink the image"
                advice = memory if code == -signal.SIGKILL else "repair the file, or leave it out"
                return _failed("DecoderCrash", f"the process that decoded it {_ended(code)}; {advice}")
        slow = f"reading and decoding took longer than {self._timeout:g} s; repair the file, or raise image_timeout"
        return _failed("DecoderHang", slow)

    def kill(self) -> None:
        """End the process at once, and start no other."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def discard(self) -> int | None:
        """End the process; see `_Process.end`."""
        with self._lock:
            process, self._process = self._process, None
        return process.end() if process else None

    def _ready(self) -> _Process:
        reason = ""
        for _ in range(_STARTS):
            try:
                process = self.start()
            except OSError as error:
                reason = f"{error.strerror or error}; free memory, or use fewer workers"
                continue
            try:
                process.wait_until_ready()
            except (OSError, EOFError):
                command = f"{sys.executable} -m cam_cli.decoding.child </dev/null"
                reason = f"it {_ended(self.discard())}; `{command}` may show why"
            else:
                return process
        raise SmoothcamError(f"no process to decode images in can be started: {reason}")


class _Process:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_LOOK_SECONDS)
        as_here = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": str(sys.flags.utf8_mode)}
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            try:
                self._popen = subprocess.Popen(
                    [sys.executable, "-P", "-m", "cam_cli.decoding.child"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | as_here | one_thread,
                )
            except OSError:
                self._socket.close()
                raise
        self._ready = False
        self._killed = False
        self._patience = 0.0

    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def wait_until_ready(self) -> None:
        if not self._ready:
            self._patience = _START_SECONDS
            self._read(1)
            self._ready = True

    def answer(self, job: tuple[Location, str | None, DecodeSettings, float], seconds: float) -> Any:
        """Return its answer to a job; see `child.serve`."""
        self._patience = seconds
        self._socket.sendall(pickle.dumps(job))
        sizes, rest = pickle.loads(self._read(int.from_bytes(self._read(8))))
        return pickle.loads(rest, buffers=[self._read(size) for size in sizes])

    def kill(self) -> None:
        """End it at once; the thread that waits for its answer notices within half a second."""
        self._killed = True
        self._popen.kill()

    def end(self) -> int | None:
        """End it, and return its exit code; None: it hangs in the kernel, where no signal reaches it."""
        self._socket.close()
        for _ in range(2):
            with suppress(subprocess.TimeoutExpired):
                return int(self._popen.wait(_END_SECONDS))
            self._popen.kill()
        return None

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            try:
                received = self._socket.recv_into(rest)
            except TimeoutError:  # counts as one look, however long the run was suspended, as by Ctrl-Z
                self._patience -= _LOOK_SECONDS
                if self._killed or self._patience <= 0:
                    raise
                continue
            if not received:
                raise EOFError
            rest = rest[received:]
        return data


def _failed(kind: str, message: str) -> Decoded:
    return Decoded(source=None, sha256=None, error=Failure(stage="decode", type=kind, message=message))


def _ended(code: int | None) -> str:
    if code is None:
        return "hangs in the kernel"
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
