"""One run at a time in a run folder, or in each shard of it: a lock of the kernel's, which no crash leaves behind."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cam_cli.errors import RunLockedError, UsageError
from cam_cli.results.layout import LOCK
from cam_cli.results.shard import HASHES, Shard

_BYTES = 2**62
"""The lock file is empty; a shard locks the range of byte numbers that its interval of hashes maps to."""
_EVERY = 0.5


@contextmanager
def locked(
    folder: Path, shard: Shard, wait: float, waiting: Callable[[], None], holder: Callable[[], str]
) -> Iterator[None]:
    """Hold the lock of a shard's share of `folder` for the while.

    Shards that share no image do not hinder each other, and any that do, do: `1/2` and `2/4`, or one and the whole folder.

    Args:
        wait: seconds to go on trying. waiting: called once if the lock is not free at once. holder: says who has it.

    Raises:
        RunLockedError: another process still holds it. UsageError: the file system has no locks, or the folder cannot be used.
    """
    until = time.monotonic() + wait
    told = False
    file = _opened(folder)
    try:
        while not (_taken(file, shard, folder) and _still_there(file, folder)):
            if time.monotonic() >= until:
                raise RunLockedError(
                    f"'{folder}' is in use by another smoothcam{holder()}; wait for it with --lock-wait SECONDS, or choose "
                    "another folder with -o"
                )
            if not told:
                waiting()
                told = True
            time.sleep(min(_EVERY, max(0.0, until - time.monotonic())))
            os.close(file)
            file = _opened(folder)
        try:
            yield
        finally:
            _remove_if_alone(folder)
    finally:
        os.close(file)


def _opened(folder: Path) -> int:
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(
            f"output folder '{folder}' cannot be used: {LOCK}: {error.strerror}; choose another with -o"
        ) from None


def _still_there(file: int, folder: Path) -> bool:
    """Say whether the lock is on the file that others find, and not on one that a run which came to nothing took away."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(folder / LOCK))
    except FileNotFoundError:
        return False


def _remove_if_alone(folder: Path) -> None:
    """Take the lock file away from a folder in which nothing came to be."""
    with suppress(OSError):
        if [entry.name for entry in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()


def _taken(file: int, shard: Shard, folder: Path) -> bool:
    start, end = (bound * _BYTES // HASHES for bound in shard.interval)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, end - start, start)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise UsageError(
            f"output folder '{folder}' is on a file system without locks ({error.strerror}); choose another with -o"
        ) from None
    return True
