"""Files that are there whole or not at all."""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def read_regular(path: Path) -> bytes:
    """Read a file; raises OSError if it cannot be read or is not a regular file: a link, or a pipe, which is not waited for."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor, which Path cannot open
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return stream.read()


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def write_new(path: Path, data: bytes) -> None:
    """Write a new file and bring it to the disk; raises FileExistsError if anything, even a link, has its name already."""
    with open(path, "xb", opener=_without_links) as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def whole(path: Path, staging: Path | None = None) -> Iterator[BinaryIO]:
    """Have a new file that replaces `path`, or a link there, if all goes well, and vanishes if not.

    No reader and no crash ever meets half of it. Raises OSError if it cannot be written. staging: a folder on the same file
    system, in which nobody else writes, for the unfinished file; default: its own.
    """
    temporary = staging / path.name if staging else path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=_without_links) as stream:
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
