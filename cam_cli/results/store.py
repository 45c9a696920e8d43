"""Where a run writes: a folder of this machine or a folder of an object store, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Protocol

from cam_cli.errors import SmoothcamError
from cam_cli.images.tree import StoreTree, Tree
from cam_cli.results.layout import MANIFEST, SHEET, run_file, shard_of_run_file
from cam_cli.results.manifest import IndexRow, Manifest, Stamp, parse_manifest
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Location, Url


class RowWriter(AbstractContextManager["RowWriter"], Protocol):
    """Appends rows to the index."""

    def append(self, row: IndexRow) -> None:
        """Append one row.

        Raises:
            OSError: it cannot be written. ValueError: it holds a NaN.
        """

    def sync(self) -> None:
        """Bring the appended rows to the disk or into the store.

        Raises:
            OSError: that cannot be done.
        """


class ResultStore(ABC):
    """OUT, as one run or one shard of it sees it: a folder for each image, and the records of the run.

    An image is there whole, with its manifest, or not at all. Its files are made in a folder of this machine (`stage`), sent by
    any thread (`send`), and made to count in the order of the run (`publish`). Nothing is replaced that no run made.

    stamp_name: the field of a row that holds the stamp of its manifest. writers: how many threads may `send` at a time.
    """

    stamp_name: ClassVar[Literal["manifest_mtime_ns", "manifest_tag"]]
    writers: ClassVar[int]

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    @abstractmethod
    def check(self) -> None:
        """Check that a run may write here.

        Raises:
            UsageError: there are files that no run made, or the folder cannot be used. SmoothcamError: the object store does
                not answer.
        """

    @abstractmethod
    def open_for_writing(self, wait: float, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Make the folder, take the lock of this shard and have an empty staging folder, until the context ends.

        Args:
            wait: seconds to wait for the lock. waiting: called once if it is not free at once.

        Raises:
            RunLockedError: another run has the lock. UsageError, SmoothcamError: see `check`; or nothing can be written.
        """

    def last_run(self) -> RunRecord | None:
        """Return the record of this shard's last run, or else of another shard's; None if there is none."""
        own = run_file(self._shard)
        if found := self._record_of_a_run(own):
            return found
        with suppress(OSError):
            others = (name for name in self._run_files() if name != own)
            return next((found for name in others if (found := self._record_of_a_run(name))), None)
        return None

    def run_records(self) -> Iterator[tuple[Shard, RunRecord | None]]:
        """Yield every shard that has a run record, and the record; None if it cannot be read.

        Raises:
            OSError, SmoothcamError: the folder cannot be listed.
        """
        for name in self._run_files():
            if shard := shard_of_run_file(name):
                yield shard, self._record(name)

    @abstractmethod
    def index_files(self) -> AbstractContextManager[Path]:
        """Have the index files of all shards in a folder of this machine, until the context ends.

        Raises:
            SmoothcamError: they cannot be fetched.
        """

    @abstractmethod
    def open_index(self) -> RowWriter:
        """Return what appends rows to this shard's index.

        Raises:
            SmoothcamError: it cannot be opened.
        """

    @abstractmethod
    def key(self, relative: PurePosixPath) -> str:
        """Return what the methods below take for an image's folder: its path, or what the keys of its objects begin with."""

    @abstractmethod
    def obstacle(self, relative: PurePosixPath) -> str | None:
        """Return in a few words why an image's folder cannot be written; None if it can."""

    @abstractmethod
    def stamp(self, key: str) -> Stamp | None:
        """Return what tells an image's manifest from any that was there before; None if there is no manifest."""

    @abstractmethod
    def holds(self, key: str, names: Collection[str]) -> bool:
        """Return True if an image's folder has files of all these names."""

    def manifest(self, key: str) -> Manifest | None:
        """Return the manifest in an image's folder; None if there is none that this version understands."""
        try:
            return parse_manifest(self.read(key, MANIFEST))
        except OSError:
            return None

    @abstractmethod
    def read(self, key: str, name: str) -> bytes:
        """Return a file of an image's folder.

        Raises:
            OSError: it cannot be read.
        """

    @abstractmethod
    def stage(self) -> Path:
        """Return an empty folder for one image's files, for `send` and `publish`.

        Raises:
            SmoothcamError: it cannot be made.
        """

    @abstractmethod
    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Do the part of publishing that takes time and that any thread can do.

        Raises:
            ImageError, SmoothcamError, FileNotFoundError: see `publish`.
        """

    @abstractmethod
    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> Stamp:
        """Replace an image's folder, whole or not at all, by a staged one.

        Args:
            earlier: names of the files that an earlier run is known to have made there.

        Returns:
            The stamp of the manifest.

        Raises:
            ImageError: stage `write`; something is there that no run made, or the folder cannot be written.
            SmoothcamError: no image can be written. FileNotFoundError: the staged folder, or OUT itself, was removed.
        """

    @abstractmethod
    def refused(self, error: OSError) -> SmoothcamError:
        """Return what a failed write means: the failure of one image, or the end of the run."""

    @abstractmethod
    def stopped_by(self, error: OSError) -> SmoothcamError:
        """Return the error that ends a run because nothing can be written."""

    def write_run_record(self, record: RunRecord) -> None:
        """Write run.json.

        Raises:
            SmoothcamError: it cannot be written.
        """
        self._write(run_file(self._shard), record.to_json())

    def write_sheet(self, picture: bytes) -> Location:
        """Write the contact sheet and return where it is.

        Raises:
            SmoothcamError: it cannot be written.
        """
        return self._write(SHEET, picture)

    @abstractmethod
    def _run_files(self) -> list[str]:
        """Return the names of all run records, in order; raises OSError if the folder cannot be listed."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Return a file that lies directly in OUT; raises OSError if it cannot be read."""

    @abstractmethod
    def _write(self, name: str, data: bytes) -> Location:
        """Replace a file that lies directly in OUT, whole or not at all, and return where it is."""

    def _record(self, name: str) -> RunRecord | None:
        with suppress(OSError, ValueError):
            return RunRecord.from_json(self._read(name))
        return None

    def _record_of_a_run(self, name: str) -> RunRecord | None:
        found = self._record(name)
        return found if found and found.is_of_a_run else None

    def _holder(self) -> str:
        """Return in a few words which run has the lock."""
        last = self.last_run()
        running = last and last.state == "running"
        return f" (process {last.pid} on {last.host}, since {last.started})" if last and running else ""


def result_store_at(location: Location, shard: Shard) -> ResultStore:
    """Return the store of results at a location.

    Raises:
        UsageError: what talks to such a store is not installed.
    """
    if isinstance(location, Url):
        from cam_cli.results.object_store import ObjectResultStore

        return ObjectResultStore(location, shard)
    from cam_cli.results.disk_store import DiskResultStore

    return DiskResultStore(location, shard)


def run_folders_in(tree: Tree) -> Callable[[Any], bool]:
    """Return a function that tells whether a folder was made by a run; its pictures are no images to explain."""
    from cam_cli.results import disk_store, object_store

    return partial(object_store.is_run_folder, tree.store) if isinstance(tree, StoreTree) else disk_store.is_run_folder
