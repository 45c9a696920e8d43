"""Lists of paths, read as they are needed: one path a line, or NUL-separated."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, cast

from cam_cli.errors import UsageError
from cam_cli.storage.location import Location, location

LONGEST = 65_536
"""The most bytes of one path; no file system allows more."""


def listed(source: Path | Literal["-"], *, nul: bool) -> Iterator[Location]:
    """Yield the paths of a list one at a time, each as soon as it is read.

    Every name stands for itself: no comments, no quoting, no wildcards. Empty entries are skipped.

    Args:
        source: a file, or `-` for stdin.
        nul: whether entries end with NUL, as `find -print0` writes them, or with a line feed (or CR LF); the last need not.

    Raises:
        UsageError: a list that cannot be read; an entry of more than `LONGEST` bytes; a NUL in a line.
    """
    name = "stdin" if str(source) == "-" else str(source)
    try:
        with _opened(source) as stream:
            for number, entry in enumerate(_entries(stream, b"\0" if nul else b"\n"), 1):
                text = entry if nul else entry.removesuffix(b"\r")
                try:
                    path = _path(text, nul)
                except ValueError as error:
                    raise UsageError(f"{name if name.isprintable() else repr(name)}:{number}: {error}") from None
                if text:
                    yield path
    except OSError as error:
        raise UsageError(f"list {name!r} cannot be read: {error.strerror or error}; check the path") from error


def _path(text: bytes, nul: bool) -> Location:
    if len(text) > LONGEST:
        other = "one path a line goes with --files-from" if nul else "one path a line, in plain text, is expected"
        raise ValueError(f"more than {LONGEST} bytes are no path; {other}")
    if b"\0" in text:
        raise ValueError("a NUL is in no path; a NUL-separated list goes with --files-from0")
    return location(os.fsdecode(text))


def _opened(source: Path | Literal["-"]) -> AbstractContextManager[io.BufferedReader]:
    if str(source) != "-":
        return Path(source).open("rb")
    if sys.stdin is None:
        raise OSError("stdin is closed")
    return nullcontext(cast(io.BufferedReader, sys.stdin.buffer))


def _entries(stream: io.BufferedReader, end: bytes) -> Iterator[bytes]:
    """Yield what stands between the ends; of an entry longer than `LONGEST`, only as much as was read of it."""
    rest = b""
    while block := stream.read1(LONGEST):
        *entries, rest = (rest + block).split(end)
        yield from entries
        if len(rest) > LONGEST + 1:
            break
    if rest:
        yield rest
