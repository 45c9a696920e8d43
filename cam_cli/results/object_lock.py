"""One run at a time at a place of a store: a ticket that its holder renews, and that counts for a while without it.

Each run puts a ticket of its own, lists all tickets, and steps back if there is another that counts. Whoever lists after
putting sees whoever put before listing, so that of two runs one sees the other, or both do; then both step back, and try
again a moment later. Nothing is asked of the store but that a listing has what was put before it.
"""

from __future__ import annotations

import os
import random
import re
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
from cam_cli.results.lock import LOCK
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Stat, Url
from cam_cli.storage.store import Store

SECONDS = 60.0
"""So long a ticket counts after it was last put, by the clock of the store."""

TICKET = re.compile(rf"{re.escape(LOCK)}-([0-9]+)-of-([0-9]+)-[0-9a-f]{{32}}")
_EVERY = 0.5
_AT_ONCE = 5
_SIMULTANEOUS = 2.0
"""Tickets put within so many seconds of each other may both be new ones, which are about to step back; so often it is seen."""


class ObjectLock:
    """The right to write a shard's images at a place of a store; renewed by a thread while it is held.

    Args:
        seconds: that a ticket counts for.
    """

    def __init__(self, store: Store, folder: Url, shard: Shard, seconds: float = SECONDS) -> None:
        self._store = store
        self._folder = folder
        self._shard = shard
        self._seconds = seconds
        self._name = f"{LOCK}-{shard.index}-of-{shard.count}-{uuid.uuid4().hex}"
        self._ticket = folder.child(self._name)
        self._content = to_json(_this_process()).encode()
        self._put_at = -1.0
        self._lost = False
        self._lock = threading.Lock()

    @contextmanager
    def held(self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]) -> Iterator[None]:
        """Hold it for the while.

        Args:
            wait: seconds to go on trying. waiting: called once if it is not free at once. holder: says who has it.

        Raises:
            RunLockedError: another run still holds it. OSError: the store cannot be asked.
        """
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(over,), name="object_lock", daemon=True)
        try:
            self._take_in_time(wait, waiting, holder)
            renewing.start()
            yield
        finally:
            over.set()
            if renewing.is_alive():
                renewing.join()
            with suppress(OSError):
                self._store.delete(self._ticket)

    def _take_in_time(self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]) -> None:
        until = time.monotonic() + wait
        told = False
        while self._take(1 if wait else _AT_ONCE) is not None:
            if time.monotonic() >= until:
                raise RunLockedError(
                    f"'{self._folder}' is in use by another smoothcam{holder()}; wait for it with --lock-wait SECONDS, or "
                    "choose another place with -o. Of a run that was killed on another machine, the lock is free after "
                    f"{self._seconds:g} s"
                )
            if not told:
                waiting()
                told = True
            time.sleep(min(random.uniform(_EVERY / 2, _EVERY), max(0.0, until - time.monotonic())))

    def check(self) -> None:
        """See that it is still held; asks the store only if it could not be renewed for long.

        Raises:
            RunLockedError: another run has it by now. SmoothcamError: that cannot be told.
        """
        with self._lock:
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

    def _take(self, attempts: int) -> str | None:
        """Put the ticket and return None; the name of another one that counts, where there is one, and put none then."""
        while True:
            attempts -= 1
            before = _now()
            self._store.put(self._ticket, self._content)
            tickets = dict(self._tickets())
            mine = tickets.get(self._name)
            others = [name for name, stat in tickets.items() if mine and self._counts(name, stat, mine)]
            if mine is not None and not others:
                self._put_at = before
                return None
            self._store.delete(self._ticket)
            simultaneous = all(mine and abs(_age(tickets[name], mine)) <= _SIMULTANEOUS for name in others)
            if not (simultaneous and attempts > 0):
                return others[0] if others else self._name
            time.sleep(random.uniform(_EVERY / 5, _EVERY * 2))

    def _tickets(self) -> Iterator[tuple[str, Stat]]:
        """Yield the tickets of all shards that share an image with this one."""
        start, end = self._shard.interval
        for entry in self._store.children(self._folder, f"{LOCK}-"):
            found = TICKET.fullmatch(entry.name)
            if found and entry.stat is not None:
                first, last = Shard(int(found[1]), int(found[2])).interval
                if first < end and start < last:
                    yield entry.name, entry.stat

    def _counts(self, name: str, stat: Stat, mine: Stat) -> bool:
        """Say whether a ticket is another run's that may be at work; of one that is not, the ticket is taken away."""
        if name == self._name:
            return False
        ticket = self._folder.child(name)
        if _age(stat, mine) < self._seconds and not _is_over(self._store, ticket):
            return True
        self._store.delete(ticket)
        return False

    def _renew(self, over: threading.Event) -> None:
        while not self._lost and not over.wait(self._seconds / 4):
            before = _now()
            with self._lock, suppress(OSError):
                if before - self._put_at < self._seconds / 2:
                    self._store.put(self._ticket, self._content)
                    self._put_at = before
                else:
                    self._take_again()

    def _take_again(self) -> None:
        """Take it once more if nobody else has, after it may have been free for a moment."""
        if not self._lost:
            self._lost = self._take(attempts=1) is not None


def _age(stat: Stat, mine: Stat) -> float:
    """Return by how many seconds a ticket is older than mine, by the store's own clock."""
    if stat.modified is None or mine.modified is None:
        return 0.0
    return (mine.modified - stat.modified).total_seconds()


def _is_over(store: Store, ticket: Url) -> bool:
    """Say whether a ticket's process is known to have ended, because it ran here."""
    try:
        content = from_json(store.read(ticket))
        return isinstance(content, dict) and bool(content.get("process")) and _ended(content["process"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _this_process() -> dict[str, object]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "process": _identity(os.getpid())}


def _identity(pid: int) -> list[str] | None:
    """Return what tells a process from all others: the machine's start, who sees its number, the number, and its own start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        started = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
        return [boot, os.readlink("/proc/self/ns/pid"), str(pid), started]  # noqa: PTH115 - of no file
    except (OSError, IndexError, ValueError):
        return None


def _ended(process: object) -> bool:
    here = _identity(os.getpid())
    if not (here and isinstance(process, list) and len(process) == 4 and process[:2] == here[:2]):
        return False
    return _identity(int(process[2])) != process


def _now() -> float:
    """Return seconds by a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
