"""Lists of paths, read as they are needed: one a line or NUL-separated, from a file or from stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cam_cli.errors import UsageError

STDIN = Path("-")
_LONGEST = 2**16
_BLOCK = 2**16


def listed(source: Path, *, nul: bool) -> Iterator[Path]:
    """Yield the paths in a list, one at a time.

    Names are taken as they stand, with spaces, quotes and `#`; empty entries are passed over, and so is the carriage return of a
    line that Windows wrote.

    Args:
        source: a file; `-` is stdin. nul: entries end with NUL, as `find -print0` writes them, rather than with a line's end.

    Raises:
        UsageError: the list cannot be read, or an entry is no path.
    """
    name = "stdin" if source == STDIN else str(source)
    try:
        if source == STDIN:
            yield from _paths(sys.stdin.buffer, name, nul=nul)
        else:
            with source.open("rb") as file:
                yield from _paths(file, name, nul=nul)
    except OSError as error:
        raise UsageError(f"list '{name}' cannot be read: {error.strerror}") from None


def _paths(file: BinaryIO, name: str, *, nul: bool) -> Iterator[Path]:
    for number, entry in enumerate(_entries(file, b"\0" if nul else b"\n", name), 1):
        text = entry if nul else entry.removesuffix(b"\r")
        if b"\0" in text:
            raise UsageError(
                f"{name}:{number}: a path cannot hold a NUL; a list made with -print0 goes with --files-from0"
            )
        if text:
            yield Path(os.fsdecode(text))


def _entries(file: BinaryIO, end: bytes, name: str) -> Iterator[bytes]:
    rest = b""
    count = 0
    while block := file.read1(_BLOCK) if hasattr(file, "read1") else file.read(_BLOCK):
        *whole, rest = (rest + block).split(end)
        yield from whole
        count += len(whole)
        if len(rest) > _LONGEST:
            raise UsageError(f"{name}:{count + 1}: no path is longer than {_LONGEST} bytes; is this a list of paths?")
    if rest:
        yield rest
