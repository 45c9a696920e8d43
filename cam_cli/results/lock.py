"""One run at a time in a run folder, or in each shard of it: a lock of the kernel, which ends with the process that has it."""

import errno
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cam_cli.errors import RunLockedError, UsageError
from cam_cli.results.layout import LOCK
from cam_cli.results.shard import HASHES, Shard

_BYTES = 2**62
"""The lock file is empty; a shard locks the range of byte numbers that its interval of hashes maps to."""
_RETRY_SECONDS = 0.5


@contextmanager
def locked(
    folder: Path, shard: Shard, wait: float, waiting: Callable[[], None], holder: Callable[[], str]
) -> Iterator[None]:
    """Hold the lock of a shard's share of `folder` until the context ends; see `ResultStore.open_for_writing`.

    Two shards exclude each other if they share an image, as `1/2` and `2/4` do, or one and the whole folder. `holder` returns
    in a few words which run has the lock.
    """
    start, end = (bound * _BYTES // HASHES for bound in shard.interval)
    with ExitStack() as stack:

        def take() -> bool:
            stack.close()
            try:
                file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise _unusable(folder, f"cannot be used: {LOCK}: {error.strerror}") from None
            stack.callback(os.close, file)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, end - start, start)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                raise _unusable(folder, f"is on a file system without locks ({error.strerror})") from None
            with suppress(FileNotFoundError):  # a run that came to nothing may have removed it
                return os.path.samestat(os.fstat(file), os.lstat(folder / LOCK))
            return False

        wait_for(take, wait, waiting, lambda: f"'{folder}' is in use by another smoothcam{holder()}")
        try:
            yield
        finally:
            with suppress(OSError):
                if [entry.name for entry in folder.iterdir()] == [LOCK]:  # nothing came to be
                    (folder / LOCK).unlink()


def wait_for(
    take: Callable[[], bool], wait: float, waiting: Callable[[], None], in_use: Callable[[], str], hint: str = ""
) -> None:
    """Try to take a lock for `wait` seconds; raises RunLockedError with these words if another run still has it then."""
    until = time.monotonic() + wait
    announced = False
    while not take():
        if time.monotonic() >= until:
            advice = "wait for it with --lock-wait SECONDS, or choose another folder with -o"
            raise RunLockedError(f"{in_use()}; {advice}{hint}")
        if not announced:
            waiting()
            announced = True
        time.sleep(min(random.uniform(_RETRY_SECONDS / 2, _RETRY_SECONDS), max(0.0, until - time.monotonic())))


def _unusable(folder: Path, problem: str) -> UsageError:
    return UsageError(f"output folder '{folder}' {problem}; choose another with -o")
