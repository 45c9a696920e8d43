"""Where a run writes: a folder of this machine or a place in a store, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from cam_cli.errors import SmoothcamError
from cam_cli.images.tree import FileTree, StoreTree
from cam_cli.results import disk_store, object_store
from cam_cli.results.manifest import IndexRow, Manifest, Stamp
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Location, Url


class Rows(AbstractContextManager["Rows"], Protocol):
    """What rows of the index are appended to; see `IndexWriter`."""

    @property
    def repaired(self) -> bool:
        """Whether a last row was torn."""

    def append(self, row: IndexRow) -> None:
        """Append one row; raises `OSError` where it cannot be written."""

    def sync(self) -> None:
        """Bring what was appended to where it will last; raises `OSError` where that cannot be done."""


class ResultStore(Protocol):
    """OUT, as one run or one shard of it sees it: a place for each image, and the records of the run.

    An image is there whole, with its manifest, or not at all. Its files are made in a folder of this machine (`stage`), brought
    on their way by any thread (`send`), and made to count in the order of the run (`publish`). The exceptions are those that
    `DiskResultStore` documents.

    stamp_name: what a row of the index calls the stamp of its manifest. writers: threads that may `send` side by side.
    """

    stamp_name: Literal["manifest_mtime_ns", "manifest_tag"]
    writers: int

    def check(self) -> None:
        """Look whether the place can be used."""

    def make(self) -> None:
        """Make the place where it is missing."""

    def locked(
        self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]
    ) -> AbstractContextManager[None]:
        """Keep other runs from this shard's images for the while."""

    def staging(self) -> AbstractContextManager[None]:
        """Have a place for unfinished files for the while; the lock must be held."""

    def last_run(self) -> RunRecord | None:
        """Return what run.json says, and None where it cannot be read."""

    def run_records(self) -> Iterator[tuple[str, RunRecord | None]]:
        """Yield the name of each run.json and what it says."""

    def index_files(self) -> AbstractContextManager[Path]:
        """Have all index files in a folder of this machine for the while."""

    def open_rows(self) -> Rows:
        """Return what this run's rows are appended to."""

    def place(self, relative: PurePosixPath) -> str:
        """Return the place of one image, as the methods below take it."""

    def obstacle(self, relative: PurePosixPath) -> str | None:
        """Say what stands where an image's files should be."""

    def stamp(self, place: str) -> Stamp | None:
        """Return what tells a manifest from any that was there before; None where there is none."""

    def holds(self, place: str, names: Collection[str]) -> bool:
        """Say whether files of these names lie beside the manifest."""

    def manifest(self, place: str) -> Manifest | None:
        """Return the manifest of a finished image."""

    def read(self, place: str, name: str) -> bytes:
        """Return a file of a finished image; raises `OSError`."""

    def stage(self) -> Path:
        """Return an empty folder for one image's files."""

    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Do what of publishing takes time; for any thread."""

    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> Stamp:
        """Bring a staged image to its place and return its manifest's stamp."""

    def refused(self, error: OSError) -> SmoothcamError:
        """Return what a failed write amounts to."""

    def stopped_by(self, error: OSError) -> SmoothcamError:
        """Return the error that ends a run."""

    def write_run_record(self, record: RunRecord) -> None:
        """Write run.json."""

    def write_sheet(self, picture: bytes) -> Location:
        """Write the contact sheet and return where it is."""


def result_store_at(place: Location, shard: Shard) -> ResultStore:
    """Return the run folder at a place.

    Raises:
        UsageError: what talks to such a store is not installed.
    """
    return (
        object_store.ObjectResultStore(place, shard)
        if isinstance(place, Url)
        else disk_store.DiskResultStore(place, shard)
    )


def run_folders_in(tree: FileTree) -> Callable[[Any], bool]:
    """Return what says whether a folder was made by a run, so that its pictures are no photos to explain."""
    return partial(object_store.is_run_folder, tree.store) if isinstance(tree, StoreTree) else disk_store.is_run_folder
