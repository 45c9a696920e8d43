"""The index of a run folder: a line of JSON for each image, appended as it is finished and found again by the image's path."""

import hashlib
import os
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import from_json
from typing_extensions import override

from cam_cli.errors import SmoothcamError
from cam_cli.results.files import to_json
from cam_cli.results.layout import INDEX
from cam_cli.results.manifest import IndexRow

_LONGEST = 2**26
"""No line is longer than this many bytes; what claims to be is not read into memory."""
_MOST_OPEN = 128
"""So many index files stay open for reading; a process may have 1024 files, and a run more shards."""
_BLOCK = 2**16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ROW = TypeAdapter(IndexRow)


def hash64(text: str) -> int:
    """Return a hash of a text, 0..2**64 - 1; index and shards go by that of an image's path as its row has it."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


class Index(AbstractContextManager["Index"]):
    """The rows of all index files of a run; of several rows for one path the one with the latest `finished` counts.

    It holds only the positions of the rows, 24 bytes an image, and reads a row when it is asked for. Lines that are not rows
    are skipped and counted in `skipped_lines`; an unfinished last line is not counted, as a run may just be writing it. Not
    thread-safe. Raises SmoothcamError if an index file cannot be read.

    folder: where the index files are, or several such folders. keep: tells by the hash of an image's path whether its row is
    wanted.
    """

    def __init__(self, folder: Path | Sequence[Path], keep: Callable[[int], bool] = lambda _: True) -> None:
        self.skipped_lines = 0
        self._open: dict[int, int] = {}
        self._paths = [path for one in ([folder] if isinstance(folder, Path) else folder) for path in _files_in(one)]
        hashes, finished, starts, lengths, files = array("Q"), array("q"), array("Q"), array("I"), array("I")
        for number, path in enumerate(self._paths):
            for start, line in _complete_lines(path):
                try:
                    row = _ROW.validate_json(line)
                    when = (datetime.fromisoformat(row["finished"]) - _EPOCH) // _MICROSECOND
                except (ValueError, TypeError):  # no row; a time without its zone
                    self.skipped_lines += 1
                    continue
                hashed = hash64(row["path"])
                if keep(hashed):
                    hashes.append(hashed)
                    finished.append(when)
                    starts.append(start)
                    lengths.append(len(line))
                    files.append(number)
        every = np.array(hashes, np.uint64)
        order = np.lexsort((np.array(finished, np.int64), every))
        ordered = every[order]
        latest = np.ones(len(order), bool)
        latest[:-1] = ordered[1:] != ordered[:-1]
        counting = order[latest]
        self._hashes = every[counting]
        self._starts = np.array(starts, np.uint64)[counting]
        self._lengths = np.array(lengths, np.uint32)[counting]
        self._files = np.array(files, np.uint32)[counting]

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __len__(self) -> int:
        return len(self._hashes)

    def row(self, path: str) -> IndexRow | None:
        """Return the row of an image by its path, as rows have it; None if there is none."""
        wanted = hash64(path)
        at = int(self._hashes.searchsorted(np.uint64(wanted)))
        if at < len(self._hashes) and int(self._hashes[at]) == wanted:
            with suppress(OSError, ValueError):
                row = self._read(at)
                return row if row["path"] == path else None
        return None

    def rows(self) -> Iterator[IndexRow]:
        """Yield the rows of all images in the order of the files; raises SmoothcamError if a file was changed meanwhile."""
        for at in np.lexsort((self._starts, self._files)):
            try:
                yield self._read(int(at))
            except (OSError, ValueError):
                path = self._paths[self._files[at]]
                raise SmoothcamError(f"'{path}' was changed while it was read; run the same command again") from None

    def _read(self, at: int) -> IndexRow:
        line = os.pread(self._descriptor(int(self._files[at])), int(self._lengths[at]), int(self._starts[at]))
        row = from_json(line, cache_strings="keys")
        if not isinstance(row, dict) or "path" not in row:
            raise ValueError
        return cast(IndexRow, row)

    def _descriptor(self, number: int) -> int:
        """Return an open index file; those used last stay open."""
        file = self._open.pop(number, None)
        if file is None:
            if len(self._open) >= _MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            file = os.open(self._paths[number], os.O_RDONLY | os.O_CLOEXEC)
        self._open[number] = file
        return file


class RowWriter(AbstractContextManager["RowWriter"]):
    """Appends rows to the index of a shard."""

    @abstractmethod
    def append(self, row: IndexRow) -> None:
        """Append one row; raises OSError if it cannot be written, and ValueError if it holds a NaN."""

    @abstractmethod
    def sync(self) -> None:
        """Bring the appended rows to the disk or into the store; raises OSError if that cannot be done."""


class IndexWriter(RowWriter):
    """Appends rows to an index file, each with one write, so that a reader meets whole lines only.

    A last line that a crash tore is cut off at the start. Raises SmoothcamError if the file cannot be opened or is a link.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o666)
            _cut_torn_line(self._file)
        except OSError as error:
            raise SmoothcamError(
                f"the index '{path}' cannot be written: {error.strerror}; move it away or choose another output folder"
            ) from error

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @override
    def append(self, row: IndexRow) -> None:
        line = memoryview(f"{to_json(row)}\n".encode())
        start = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except BaseException:
            with suppress(OSError):  # leave the file as it was before
                os.ftruncate(self._file, start)
            raise

    @override
    def sync(self) -> None:
        os.fsync(self._file)


def _cut_torn_line(file: int) -> None:
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry) for entry in entries if INDEX.fullmatch(entry.name) and entry.is_file())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SmoothcamError(f"'{folder}' cannot be read: {error.strerror}") from error


def _complete_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each complete line with its position; a line that is too long is yielded empty."""
    start = 0
    within = False
    try:
        with path.open("rb", buffering=_BLOCK) as file:
            while piece := file.readline(_LONGEST):
                ended = piece.endswith(b"\n")
                if not ended and len(piece) < _LONGEST:
                    return
                if ended:
                    yield start, b"" if within else piece
                within = not ended
                start += len(piece)
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"the index '{path}' cannot be read: {error.strerror}; correct that, and run again"
        raise SmoothcamError(message) from error
