"""The run folder: where an image's results lie, how they come there, and the records of the run itself."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal
from uuid import uuid4

from cam_cli.errors import ImageError, SmoothcamError, UsageError
from cam_cli.results.files import read_regular, replace_whole
from cam_cli.results.index import INDEX, IndexWriter
from cam_cli.results.lock import LOCK, locked
from cam_cli.results.manifest import MANIFEST, Manifest, read_manifest
from cam_cli.results.object_lock import TICKET
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import SHARD, Shard
from cam_cli.text import shown

SHEET = "sheet.jpg"
RUN = re.compile(rf"run{SHARD}\.json")
_WORK = re.compile(rf"\.work{SHARD}")
_OWN = re.compile(
    rf"({RUN.pattern}|{INDEX.pattern}|{_WORK.pattern}|{re.escape(LOCK)}|{TICKET.pattern}|{re.escape(SHEET)})"
)
_NOBODY_S_FAULT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


def is_run_folder(path: Path) -> bool:
    """Say whether a folder was made by a run, so that its pictures are no photos to explain."""
    try:
        return (path / LOCK).is_file() and any(RUN.fullmatch(entry.name) for entry in path.iterdir())
    except OSError:
        return False


def set_apart(first: str) -> str:
    """Return the first part of an image's path; one that is called like one of a run's own files gets a `~`."""
    return f"{first}~" if _OWN.fullmatch(first.rstrip("~")) else first


def run_record(read: Callable[[], bytes]) -> RunRecord | None:
    """Return the record in a run.json; None if no run wrote it, or `read` raises `OSError`."""
    with contextlib.suppress(OSError, ValueError):
        found = RunRecord.from_json(read())
        if found.is_of_a_run:
            return found
    return None


class DiskResultStore:
    """OUT on this machine's disks: a folder for each image, and the records in `run.json` and `index.jsonl`. See `ResultStore`.

    An image's files are written into a staging folder and come to their place by one rename, so that a result is there whole or
    not at all. Nothing is written through a symbolic link inside OUT, and nothing is replaced that no run made.
    """

    stamp_name: Literal["manifest_mtime_ns", "manifest_tag"] = "manifest_mtime_ns"
    writers = 1

    def __init__(self, path: Path, shard: Shard) -> None:
        self.path = path
        self._shard = shard
        self._text = os.fspath(path)
        self._run = path / f"run{shard.suffix}.json"
        self.index = path / f"index{shard.suffix}.jsonl"
        self._work = path / f".work{shard.suffix}"
        self._mark = (
            uuid4().hex
        )  # as others may stage images of this run, and an earlier run's may not have ended everywhere
        self._numbers = count()

    def check(self) -> None:
        """Look whether the place can be used.

        Raises:
            UsageError: it holds files that no run made, or is no folder.
        """
        try:
            names = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from None
        if not (self._only_begun(names) or any(RUN.fullmatch(name) and self._run_record(name) for name in names)):
            raise UsageError(f"output folder '{self.path}' holds files that no run made; choose another with -o")

    def _only_begun(self, names: Collection[str]) -> bool:
        """Say whether there is nothing but what a run leaves that was killed before it described itself."""
        if not names:
            return True
        begun = (_WORK.fullmatch(name) or INDEX.fullmatch(name) or name == LOCK for name in names)
        indices = (self.path / name for name in names if INDEX.fullmatch(name))
        return LOCK in names and all(begun) and not any(index.lstat().st_size for index in indices)

    def _run_record(self, name: str) -> RunRecord | None:
        return run_record(lambda: read_regular(self.path / name))

    def make(self) -> None:
        """Make the folder where it is missing.

        Raises:
            UsageError: it cannot be made, or holds files that no run made.
        """
        self.check()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def locked(
        self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]
    ) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of this shard for the while; see `cam_cli.results.lock.locked`."""
        return locked(self.path, self._shard, wait, waiting, holder)

    @contextlib.contextmanager
    def staging(self) -> Iterator[None]:
        """Have an empty staging folder for the while, cleared of what a killed run left; the lock must be held."""
        shutil.rmtree(self._work, ignore_errors=True)
        try:
            self._work.mkdir()
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield
        finally:
            shutil.rmtree(self._work, ignore_errors=True)

    def last_run(self) -> RunRecord | None:
        """Return what run.json says, and None where it cannot be read; a shard without one takes another's."""
        others = sorted(entry.name for entry in self.path.glob("run*.json") if RUN.fullmatch(entry.name))
        return next((found for name in (self._run.name, *others) if (found := self._run_record(name))), None)

    def run_records(self) -> Iterator[tuple[str, RunRecord | None]]:
        """Yield the name of each run.json, in their order, and what it says; None where it cannot be read.

        Raises:
            OSError: the folder cannot be read.
        """
        for name in sorted(entry.name for entry in os.scandir(self.path)):
            if RUN.fullmatch(name):
                try:
                    yield name, RunRecord.from_json((self.path / name).read_bytes())
                except (OSError, ValueError):
                    yield name, None

    def index_files(self) -> contextlib.AbstractContextManager[Path]:
        """Return the folder whose index files are this run's and its other shards'."""
        return contextlib.nullcontext(self.path)

    def open_rows(self) -> IndexWriter:
        """Return what this run's rows are appended to.

        Raises:
            SmoothcamError: it cannot be opened.
        """
        return IndexWriter(self.index)

    def of(self, relative: PurePosixPath) -> Path:
        """Return the folder of one image."""
        return Path(self.place(relative))

    def place(self, relative: PurePosixPath) -> str:
        """Return the folder of one image as text; a photo that is called like one of the run's own files gets a `~`."""
        first = relative.parts[0]
        if _OWN.fullmatch(first.rstrip("~")):
            return os.path.join(self._text, set_apart(first), *relative.parts[1:])  # noqa: PTH118 - in the loop of a resume
        return f"{self._text}/{relative}"

    def stamp(self, place: str) -> int | None:
        """Return the modification time of the manifest in an image's folder, in nanoseconds; None where there is none."""
        try:
            return os.lstat(f"{place}/{MANIFEST}").st_mtime_ns
        except OSError:
            return None

    def holds(self, place: str, names: Collection[str]) -> bool:
        """Say whether an image's folder holds files of these names."""
        return all(os.path.isfile(f"{place}/{name}") for name in names)  # noqa: PTH113 - 3 of these an image

    def manifest(self, place: str) -> Manifest | None:
        """Return the manifest in an image's folder; None where there is none that this version understands."""
        return read_manifest(Path(place))

    def read(self, place: str, name: str) -> bytes:
        """Return a file of an image's folder.

        Raises:
            OSError: it cannot be read.
        """
        return Path(place, name).read_bytes()

    def obstacle(self, relative: PurePosixPath) -> str | None:
        """Say what stands where an image's folder, or a folder above it, should be: a file or a link; None if nothing does."""
        above = self._text
        for part in PurePosixPath(os.path.relpath(self.place(relative), self._text)).parts:
            above = f"{above}/{part}"
            try:
                mode = os.lstat(above).st_mode
            except FileNotFoundError:
                return None
            except OSError as error:
                return f"{shown(above)}: {error.strerror}"
            if not stat.S_ISDIR(mode):
                kind = "a link" if stat.S_ISLNK(mode) else "a file"
                return f"{shown(above)} is {kind}, which no run made; move it away or choose another output folder"
        return None

    def stage(self) -> Path:
        """Return an empty folder for one image's files, to be handed to `publish`.

        Raises:
            SmoothcamError: the output folder cannot be written to.
        """
        place = self._work / f"{self._mark}.{next(self._numbers)}"
        try:
            place.mkdir(parents=self.path.is_dir())
        except OSError as error:
            raise self.stopped_by(error) from error
        return place

    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Do what of publishing takes time and can be done on any thread: here nothing, as a rename is all there is to it."""

    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> int:
        """Bring a staged image to its place in one step, where it takes the place of an earlier result.

        Args:
            earlier: names of the files that an earlier run is known to have made there.

        Returns:
            The modification time of its manifest, in nanoseconds.

        Raises:
            ImageError: stage `write`; the place is taken by something that no run made, or cannot be used.
            SmoothcamError: the output folder cannot be written to at all.
            FileNotFoundError: the staged folder, or the output folder itself, was removed.
        """
        place = self.of(relative)
        try:
            self._make_parent(place, relative)
            written = (staged / MANIFEST).stat().st_mtime_ns
            try:
                staged.rename(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                self._retire(place, {MANIFEST, *earlier, *(entry.name for entry in staged.iterdir())})
                staged.rename(place)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.refused(error) from error
        return written

    def refused(self, error: OSError) -> SmoothcamError:
        """Return what a failed write amounts to: the image's failure, or the run's where no other image would fare better."""
        if error.errno in _NOBODY_S_FAULT or not os.access(self.path, os.W_OK | os.X_OK):
            return self.stopped_by(error)
        return ImageError(f"cannot be written: {error.strerror}", stage="write")

    def stopped_by(self, error: OSError) -> SmoothcamError:
        """Return the error that ends a run whose output folder cannot be written to."""
        return SmoothcamError(
            f"cannot write to the output folder '{self.path}': {error.strerror}. What is finished stays; "
            "the same command goes on from there"
        )

    def write_run_record(self, record: RunRecord) -> None:
        """Write run.json.

        Raises:
            SmoothcamError: the output folder cannot be written to.
        """
        self._replace(self._run, record.to_json())

    def write_sheet(self, picture: bytes) -> Path:
        """Write the contact sheet and return its path.

        Raises:
            SmoothcamError: the output folder cannot be written to.
        """
        self._replace(self.path / SHEET, picture)
        return self.path / SHEET

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                self._work.mkdir()
            replace_whole(path, data, self._work)
        except OSError as error:
            raise self.stopped_by(error) from error

    def _make_parent(self, place: Path, relative: PurePosixPath) -> None:
        if (obstacle := self.obstacle(relative)) is not None:
            raise ImageError(obstacle, stage="write")
        if not self.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._text)
        place.parent.mkdir(parents=True, exist_ok=True)

    def _retire(self, place: Path, made: Collection[str]) -> None:
        """Move an earlier result out of the way, if it is nothing but that."""
        foreign = sorted(
            entry.name
            for entry in os.scandir(place)
            if entry.name not in made or not entry.is_file(follow_symlinks=False)
        )
        if foreign:
            raise ImageError(
                f"its place {shown(place)} holds {shown(foreign[0])}, which no run made for this image; move it "
                "away or choose another output folder",
                stage="write",
            )
        retired = self._work / "retired"
        place.rename(retired)
        shutil.rmtree(retired)

    def _unusable(self, error: OSError) -> UsageError:
        return UsageError(f"output folder '{self.path}' cannot be used: {error.strerror}; choose another with -o")
