"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def read_regular(path: Path, *, follow_link: bool = False) -> bytes:
    """Read a file whole, if it is a regular one; a pipe is not waited for.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    links = 0 if follow_link else os.O_NOFOLLOW
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | links)
    with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, which Path cannot open
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return stream.read()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet and bring it to the disk.

    Raises:
        FileExistsError: something has that name already, were it a link. OSError: it cannot be written.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(file, "wb") as stream:  # noqa: PTH123 - a descriptor, which Path cannot open
        stream.write(data)
        stream.flush()
        os.fsync(file)


def replace_whole(path: Path, data: bytes, staging: Path) -> None:
    """Write a file so that no reader and no crash ever meets half of it: into `staging`, then rename.

    Args:
        staging: a folder on the same file system, which nobody else writes to.
    """
    temporary = staging / path.name
    temporary.unlink(missing_ok=True)
    write_new(temporary, data)
    temporary.replace(path)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Have a new file beside a place, which takes that place, also that of a link, when all went well and vanishes when not.

    Raises:
        OSError: it cannot be written there.
    """
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_json(value: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return JSON with sorted keys, ASCII only; raises ValueError on NaN, which JSON does not have."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, separators=separators)
