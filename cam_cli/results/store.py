"""Where a run writes: a folder of this machine or a folder of an object store, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal
from uuid import uuid4

from cam_cli.errors import ImageError, SmoothcamError, UsageError
from cam_cli.images.tree import FileTree, StoreTree
from cam_cli.results.index import RowWriter
from cam_cli.results.layout import LOCK, MANIFEST, RUN, SHEET, run_file, shard_of_run_file
from cam_cli.results.manifest import Manifest, Stamp, parse_manifest
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Location, Url
from cam_cli.text import shown


class ResultStore(ABC):
    """OUT, as one run or one shard of it sees it: a folder for each image, and the records of the run.

    An image is there whole, with its manifest, or not at all. Its files are made in a folder of this machine (`stage`), sent by
    any thread (`send`), and made to count in the order of the run (`publish`). Nothing is replaced that no run made.

    stamp_name: the field of a row that holds the stamp of its manifest. writers: how many threads may `send` at a time.
    """

    stamp_name: ClassVar[Literal["manifest_mtime_ns", "manifest_tag"]]
    writers: ClassVar[int]

    def __init__(self, location: Location, shard: Shard, work: Path | None = None) -> None:
        self.location = location
        self._shard = shard
        self._work = work
        self._mark = uuid4().hex  # other machines may stage images of this run in the same folder
        self._numbers = count()

    @abstractmethod
    def check(self) -> None:
        """Check that a run may write here; raises UsageError if not, and SmoothcamError if a store does not answer."""

    @abstractmethod
    def open_for_writing(self, wait: float, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Make the folder, take the lock of this shard and have an empty staging folder, until the context ends.

        Args:
            wait: seconds to wait for the lock.
            waiting: called once if it is not free at once.

        Raises RunLockedError if another run has the lock, what `check` does, and SmoothcamError if nothing can be written.
        """

    def last_run(self) -> RunRecord | None:
        """Return the record of this shard's last run, or else of another shard's; None if there is none."""
        own = run_file(self._shard)
        if (record := self._record(own)).is_of_a_run:
            return record
        with suppress(OSError):
            others = (self._record(name) for name in self._run_files() if name != own)
            return next((other for other in others if other.is_of_a_run), None)
        return None

    def run_records(self) -> Iterator[tuple[Shard, RunRecord]]:
        """Yield every shard with its run record, which is empty if it cannot be read; raises OSError or SmoothcamError."""
        for name in self._run_files():
            if shard := shard_of_run_file(name):
                yield shard, self._record(name)

    @abstractmethod
    def index_files(self) -> AbstractContextManager[Path]:
        """Have the index files of all shards in a folder of this machine; raises SmoothcamError if that cannot be done."""

    @abstractmethod
    def open_index(self) -> RowWriter:
        """Return what appends rows to this shard's index; raises SmoothcamError if it cannot be opened."""

    @abstractmethod
    def key(self, relative: PurePosixPath) -> str:
        """Return what the methods below take for an image's folder: its path, or what the keys of its objects begin with."""

    def folder_of(self, relative: PurePosixPath) -> Location:
        """Return where the files of an image are."""
        key = self.key(relative)
        return self.location.child(key) if isinstance(self.location, Url) else Path(key)

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
        """Return a file of an image's folder; raises OSError if it cannot be read."""

    def read_own(self, name: str) -> bytes:
        """Return a file that lies directly in OUT; raises OSError if it cannot be read."""
        return self._read(name)

    def stage(self) -> Path:
        """Return an empty folder for one image's files; raises SmoothcamError if it cannot be made."""
        assert self._work is not None
        staged = self._work / f"{self._mark}.{next(self._numbers)}"
        with self.writing():
            staged.mkdir(parents=self._work.parent.is_dir())
        return staged

    @abstractmethod
    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Do the part of `publish` that takes time and that any thread can do; raises the same errors."""

    @abstractmethod
    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> Stamp:
        """Replace an image's folder, whole or not at all, by a staged one, and return the stamp of the manifest.

        Args:
            earlier: names of the files that an earlier run is known to have made there.

        Raises:
            ImageError: stage `write`; something is there that no run made, or the folder cannot be written.
            SmoothcamError: no image can be written. FileNotFoundError: the staged folder, or OUT itself, was removed.
        """

    @abstractmethod
    def refused(self, error: OSError) -> SmoothcamError:
        """Return what a failed write means: the failure of one image, or the end of the run."""

    def stopped_by(self, error: OSError) -> SmoothcamError:
        """Return the error that ends a run because nothing can be written."""
        return SmoothcamError(
            f"cannot write to {self._where(error)}: {error.strerror}. What is finished stays; the same command goes on "
            "from there"
        )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have an OSError in the context end the run; see `stopped_by`."""
        try:
            yield
        except OSError as error:
            raise self.stopped_by(error) from error

    def write_run_record(self, record: RunRecord) -> None:
        """Write run.json; raises SmoothcamError if it cannot be written."""
        self._write(run_file(self._shard), record.to_json())

    def write_sheet(self, picture: bytes) -> Location:
        """Write the contact sheet and return where it is; raises SmoothcamError if it cannot be written."""
        return self._write(SHEET, picture)

    @abstractmethod
    def _where(self, error: OSError) -> str:
        """Return in words where a failed write was to go."""

    @abstractmethod
    def _run_files(self) -> list[str]:
        """Return the names of all run records, in order; raises OSError if the folder cannot be listed."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Return a file that lies directly in OUT; raises OSError if it cannot be read."""

    @abstractmethod
    def _write(self, name: str, data: bytes) -> Location:
        """Replace a file that lies directly in OUT, whole or not at all, and return its location."""

    def _record(self, name: str) -> RunRecord:
        with suppress(OSError, ValueError):
            return RunRecord.from_json(self._read(name))
        return RunRecord()

    def _unusable(self, error: OSError) -> SmoothcamError:
        return UsageError(f"output folder '{self.location}' cannot be used: {error.strerror}; choose another with -o")

    def _foreign(self, folder: Location, name: str) -> ImageError:
        return ImageError(
            f"its folder {shown(folder)} holds {shown(name)}, which no run made for this image; move it away or choose another "
            "output folder",
            stage="write",
        )

    def _holder(self) -> str:
        """Return in a few words which run has the lock."""
        last = self.last_run()
        running = last and last.state == "running"
        return f" (process {last.pid} on {last.host}, since {last.started})" if last and running else ""


def is_run_folder(tree: FileTree, folder: Any) -> bool:
    """Return True if a run made a folder; the pictures in it are no images to explain."""
    try:
        if isinstance(tree, StoreTree):
            names = [entry.name for entry in tree.store.peek(folder) if entry.stat is not None]
        else:
            names = [entry.name for entry in folder.iterdir()] if (folder / LOCK).is_file() else []
    except OSError:
        return False
    return LOCK in names and any(RUN.fullmatch(name) for name in names)
