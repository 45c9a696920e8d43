"""The index in a store, where nothing can be appended to an object: rows go up in parts, each an object of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from cam_cli.results.files import to_json
from cam_cli.results.manifest import IndexRow
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Url
from cam_cli.storage.store import Store

MOST_ROWS = 512
_MOST_BYTES = 2**23
_LONGEST_WAIT = 30.0
"""A part goes up when it has so many rows, bytes, or rows that have waited so many seconds; what a killed run had not sent yet
is found out again from the manifests."""

_MOST_SMALL = 16
"""With more parts than this of less than `_MOST_BYTES`, a run begins by putting them together."""


class ObjectIndexWriter:
    """Appends rows to the index of a shard at a place of a store; see `IndexWriter`.

    Args:
        parts: names and sizes of the shard's parts. allowed: raises where this run may not write any more.
    """

    repaired = False

    def __init__(
        self, store: Store, folder: Url, shard: Shard, parts: Mapping[str, int], allowed: Callable[[], None]
    ) -> None:
        self._store = store
        self._folder = folder
        self._shard = shard
        self._allowed = allowed
        self._rows: list[bytes] = []
        self._bytes = 0
        self._oldest = 0.0
        self._number = max((_number(name) for name in parts), default=0)
        small = [name for name, size in parts.items() if size < _MOST_BYTES]
        if len(small) > _MOST_SMALL:
            self._put_together(small)

    def __enter__(self) -> ObjectIndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: what counts was brought there by `sync`."""

    def append(self, row: IndexRow) -> None:
        """Append one row.

        Raises:
            OSError: rows cannot be sent; they are kept for the next time. ValueError: it holds a NaN.
        """
        line = f"{to_json(row)}\n".encode()
        if not self._rows:
            self._oldest = time.monotonic()
        self._rows.append(line)
        self._bytes += len(line)
        waited = time.monotonic() - self._oldest
        if len(self._rows) >= MOST_ROWS or self._bytes >= _MOST_BYTES or waited >= _LONGEST_WAIT:
            self.sync()

    def sync(self) -> None:
        """Send what was appended.

        Raises:
            OSError: it cannot be sent.
        """
        if self._rows:
            self._put(b"".join(self._rows))
            self._rows, self._bytes = [], 0

    def _put(self, data: bytes) -> None:
        self._allowed()
        while True:
            self._number += 1
            try:
                self._store.put(self._folder.child(part_name(self._shard, self._number)), data, new=True)
            except FileExistsError:  # of a run that had the lock before, sent late
                continue
            return

    def _put_together(self, names: Sequence[str]) -> None:
        """Make one part of several; if that is cut short, rows stand there twice, which does no harm."""
        places = [self._folder.child(name) for name in names]
        batch: list[Url] = []
        contents: list[bytes] = []
        for place in places:
            batch.append(place)
            contents.append(self._store.read(place))
            if sum(map(len, contents)) >= _MOST_BYTES or place == places[-1]:
                self._put(b"".join(contents))
                for old in batch:
                    self._store.delete(old)
                batch, contents = [], []


def part_name(shard: Shard, number: int) -> str:
    """Return the name of a part of a shard's index."""
    return f"index{shard.suffix}.part-{number:06}.jsonl"


def parts_of(shard: Shard) -> re.Pattern[str]:
    """Return the pattern of the names of all parts of a shard's index."""
    return re.compile(rf"index{re.escape(shard.suffix)}\.part-[0-9]+\.jsonl")


def _number(name: str) -> int:
    return int(re.findall("[0-9]+", name)[-1])
