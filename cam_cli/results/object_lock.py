"""One run at a time in a folder of an object store: a lock object that its run renews, and that expires without it.

Each run puts a lock object of its own, lists all of them, and steps back if there is another that is valid. A run that lists
after it has put sees every object that was put before. So of two runs one sees the other, or both do; then both step back, and
try again a moment later. All that is asked of the store is that a listing has what was put before it.
"""

import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic_core import from_json

from cam_cli.errors import RunLockedError, SmoothcamError
from cam_cli.results.files import to_json
from cam_cli.results.layout import LOCK, LOCK_OBJECT
from cam_cli.results.lock import wait_for
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Stat, Url
from cam_cli.storage.store import Store

SECONDS = 60.0
"""How long a lock object is valid after it was last put, by the clock of the store."""

_SIMULTANEOUS_SECONDS = 2.0
_ATTEMPTS = 5
"""Lock objects that were put within so few seconds of each other may all be new and about to step back; so often a run that
does not wait tries again."""


class ObjectLock:
    """The right to write a shard's images in a folder of an object store, valid for `seconds` and renewed by a thread."""

    def __init__(self, store: Store, folder: Url, shard: Shard, seconds: float = SECONDS) -> None:
        self._store = store
        self._folder = folder
        self._shard = shard
        self._seconds = seconds
        self._name = f"{LOCK}-{shard.index}-of-{shard.count}-{uuid.uuid4().hex}"
        self._object = folder.child(self._name)
        process = {"host": socket.gethostname(), "pid": os.getpid(), "process": _identity(os.getpid())}
        self._content = to_json(process).encode()
        self._put_at = -1.0
        self._lost = False
        self._mutex = threading.Lock()

    @contextmanager
    def held(self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]) -> Iterator[None]:
        """Hold the lock until the context ends; see `locked`. Raises OSError if the store cannot be asked."""
        over = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(over,), name="lock renewal", daemon=True)
        try:
            in_use = f"'{self._folder}' is in use by another smoothcam"
            hint = f". If that run was killed on another machine, the lock is free after {self._seconds:g} s"
            attempts = 1 if wait else _ATTEMPTS
            wait_for(lambda: self._take(attempts), wait, waiting, lambda: f"{in_use}{holder()}", hint)
            renewal.start()
            yield
        finally:
            over.set()
            if renewal.is_alive():
                renewal.join()
            with suppress(OSError):
                self._store.delete(self._object)

    def check(self) -> None:
        """Check that the lock is still held; the store is asked only if the lock could not be renewed for long.

        Raises RunLockedError if another run has it by now, and SmoothcamError if the store does not answer.
        """
        with self._mutex:
            try:
                if _now() - self._put_at >= self._seconds / 2:
                    self._take_again()
            except OSError as error:
                raise SmoothcamError(
                    f"the lock of '{self._folder}' cannot be renewed: {error.strerror}; the same command goes on from there"
                ) from error
        if self._lost:
            raise RunLockedError(
                f"another smoothcam has taken '{self._folder}' over, as this one could not renew its lock for "
                f"{self._seconds:g} s; what is finished stays"
            )

    def _renew(self, over: threading.Event) -> None:
        while not self._lost and not over.wait(self._seconds / 4):
            before = _now()
            with self._mutex, suppress(OSError):
                if before - self._put_at < self._seconds / 2:
                    self._store.put(self._object, self._content)
                    self._put_at = before
                else:
                    self._take_again()

    def _take_again(self) -> None:
        """Take the lock once more, as it may have expired, unless another run has it."""
        if not self._lost:
            self._lost = not self._take(attempts=1)

    def _take(self, attempts: int) -> bool:
        """Put the lock object; where another one is valid, delete it again and return False."""
        while True:
            attempts -= 1
            before = _now()
            self._store.put(self._object, self._content)
            objects = dict(self._lock_objects())
            mine = objects.get(self._name)
            others = [name for name, stat in objects.items() if mine and self._is_valid(name, stat, mine)]
            if mine is not None and not others:
                self._put_at = before
                return True
            self._store.delete(self._object)
            simultaneous = all(mine and abs(_age(objects[name], mine)) <= _SIMULTANEOUS_SECONDS for name in others)
            if not (simultaneous and attempts > 0):
                return False
            time.sleep(random.uniform(0.1, 1.0))

    def _lock_objects(self) -> Iterator[tuple[str, Stat]]:
        """Yield the lock objects of all shards that share an image with this one."""
        start, end = self._shard.interval
        for entry in self._store.children(self._folder, f"{LOCK}-"):
            match = LOCK_OBJECT.fullmatch(entry.name)
            if match and entry.stat is not None:
                first, last = Shard(int(match[1]), int(match[2])).interval
                if first < end and start < last:
                    yield entry.name, entry.stat

    def _is_valid(self, name: str, stat: Stat, mine: Stat) -> bool:
        """Return True if a lock object is of another run that may still go on; delete it if that run has ended."""
        if name == self._name:
            return False
        other = self._folder.child(name)
        if _age(stat, mine) < self._seconds and not _has_ended(self._store, other):
            return True
        self._store.delete(other)
        return False


def _age(stat: Stat, mine: Stat) -> float:
    """Return by how many seconds a lock object is older than mine, by the store's own clock."""
    if stat.modified is None or mine.modified is None:
        return 0.0
    return (mine.modified - stat.modified).total_seconds()


def _has_ended(store: Store, lock_object: Url) -> bool:
    """Return True if the process of a lock object ran on this machine and has ended."""
    try:
        content = from_json(store.read(lock_object))
        process = content.get("process") if isinstance(content, dict) else None
        here = _identity(os.getpid())
        if not (here and isinstance(process, list) and len(process) == 4 and process[:2] == here[:2]):
            return False
        return _identity(int(process[2])) != process
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError):
        return False


def _identity(pid: int) -> list[str] | None:
    """Return what tells a process from all others: the start of the machine, the namespace of the number, the number, and the
    start of the process. None if there is no /proc, as on macOS, or no such process.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        started = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
        return [boot, os.readlink("/proc/self/ns/pid"), str(pid), started]  # noqa: PTH115 - of no file
    except (OSError, IndexError, ValueError):
        return None


def _now() -> float:
    """Return seconds by a clock that goes on while the machine sleeps; on macOS, CLOCK_MONOTONIC does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
