"""The index in an object store: as nothing can be appended to an object, rows go up in parts, each one an object."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from typing_extensions import override

from cam_cli.results.files import to_json
from cam_cli.results.index import RowWriter
from cam_cli.results.layout import index_file, index_part
from cam_cli.results.manifest import IndexRow
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Url
from cam_cli.storage.store import Store

MOST_ROWS = 512
_MOST_BYTES = 2**23
_LONGEST_WAIT = 30.0
"""A part is sent when it has so many rows or bytes, or when its first row has waited so many seconds. Rows that a killed run
had not sent yet are found again from the manifests."""

_MOST_SMALL = 16
"""If there are more parts than this of less than `_MOST_BYTES`, a run begins by merging them."""


class ObjectIndexWriter(RowWriter):
    """Appends rows to the index of a shard in a folder of an object store.

    files: names and sizes of all index files in the folder. allowed: raises if this run may not write any more.
    """

    def __init__(
        self, store: Store, folder: Url, shard: Shard, files: Mapping[str, int], allowed: Callable[[], None]
    ) -> None:
        self._store = store
        self._folder = folder
        self._shard = shard
        self._allowed = allowed
        self._rows: list[bytes] = []
        self._bytes = 0
        self._oldest = 0.0
        parts = {name: part for name in files if (part := index_part(shard, name)) is not None}
        self._last = max(parts.values(), default=0)
        small = [folder.child(name) for name in parts if files[name] < _MOST_BYTES]
        if len(small) > _MOST_SMALL:
            self._merge(small)

    def __exit__(self, *_: object) -> None:
        """Do nothing: `sync` has sent the rows."""

    @override
    def append(self, row: IndexRow) -> None:
        """Append one row; rows that cannot be sent are kept for the next time."""
        line = f"{to_json(row)}\n".encode()
        if not self._rows:
            self._oldest = time.monotonic()
        self._rows.append(line)
        self._bytes += len(line)
        waited = time.monotonic() - self._oldest
        if len(self._rows) >= MOST_ROWS or self._bytes >= _MOST_BYTES or waited >= _LONGEST_WAIT:
            self.sync()

    @override
    def sync(self) -> None:
        if self._rows:
            self._put(b"".join(self._rows))
            self._rows, self._bytes = [], 0

    def _put(self, data: bytes) -> None:
        self._allowed()
        while True:
            self._last += 1
            with suppress(FileExistsError):  # a run that had the lock before has sent it late
                self._store.put(self._folder.child(index_file(self._shard, self._last)), data, new=True)
                return

    def _merge(self, parts: list[Url]) -> None:
        """Merge parts into larger ones; if that is cut short, rows are there twice, which does no harm."""
        merged: dict[Url, bytes] = {}
        for part in parts:
            merged[part] = self._store.read(part)
            if sum(map(len, merged.values())) >= _MOST_BYTES or part == parts[-1]:
                self._put(b"".join(merged.values()))
                for old in merged:
                    self._store.delete(old)
                merged.clear()
