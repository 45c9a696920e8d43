"""OUT in a store of objects, where nothing is renamed or appended to, and what is put is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import ValidationError

from cam_cli.errors import ImageError, SmoothcamError, UsageError
from cam_cli.results.disk_store import RUN, SHEET, run_record, set_apart
from cam_cli.results.index import INDEX
from cam_cli.results.layout import is_artefact
from cam_cli.results.listing import Survey, stamp_of
from cam_cli.results.lock import LOCK
from cam_cli.results.manifest import MANIFEST, Manifest, files_of
from cam_cli.results.object_index import ObjectIndexWriter, parts_of
from cam_cli.results.object_lock import TICKET, ObjectLock
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Url, quoted
from cam_cli.storage.store import LONGEST_KEY, Store
from cam_cli.text import shown

_TRIES = 3
"""So often an image is put again from the start when something else came to its place meanwhile."""


def is_run_folder(store: Store, place: Url) -> bool:
    """Say whether a place was made by a run, by the first of what lies there."""
    try:
        names = {entry.name for entry in store.peek(place) if entry.stat is not None}
    except OSError:
        return False
    return LOCK in names and any(RUN.fullmatch(name) for name in names)


class ObjectResultStore:
    """OUT as a place in a store. See `ResultStore`.

    An image's files are put first, each where there is none yet, and its manifest last. What an earlier run left there is taken
    away before, its manifest first. So a manifest that is there has its own files beside it: files of two runs never come
    together under one, whatever is killed when. All that is asked of the store is that an object can be put on condition that
    there is none, and that who reads or lists sees what was put before.
    """

    stamp_name: Literal["manifest_mtime_ns", "manifest_tag"] = "manifest_tag"
    writers = 8

    def __init__(self, url: Url, shard: Shard) -> None:
        self._url = url
        self._shard = shard
        self._store = Store(url.protocol)
        self._lease: ObjectLock | None = None
        self._work: Path | None = None
        self._numbers = count()
        self._sent: set[Path] = set()
        self._sent_lock = threading.Lock()

    def check(self) -> None:
        """Look whether the place can be used.

        Raises:
            UsageError: it holds objects that no run put there, or there is no such bucket. SmoothcamError: it cannot be told.
        """
        try:
            if any(self._run_record(name) for name in self._run_names()):
                return
            names = {entry.name for entry in self._store.peek(self._url)}
        except OSError as error:
            raise self._unusable(error) from error
        if names and not (LOCK in names and all(name == LOCK or TICKET.fullmatch(name) for name in names)):
            raise UsageError(f"output folder '{self._url}' holds objects that no run put there; choose another with -o")

    def make(self) -> None:
        """Mark the place as a run's.

        Raises:
            UsageError, SmoothcamError: as `check` does; or nothing can be put there.
        """
        self.check()
        try:
            with contextlib.suppress(FileExistsError):
                self._store.put(self._url.child(LOCK), b"", new=True)
        except OSError as error:
            raise self._unusable(error) from error

    @contextlib.contextmanager
    def locked(self, wait: float, waiting: Callable[[], None], holder: Callable[[], str]) -> Iterator[None]:
        """Hold a object_lock on this shard for the while; see `ObjectLock`.

        Raises:
            RunLockedError: another run holds one. SmoothcamError: the store cannot be asked.
        """
        object_lock = ObjectLock(self._store, self._url, self._shard)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(object_lock.held(wait, waiting, holder))
            except OSError as error:
                raise self._unusable(error) from error
            stack.callback(self._remove_if_alone)
            self._lease = object_lock
            yield

    @contextlib.contextmanager
    def staging(self) -> Iterator[None]:
        """Have a folder of this machine for files on their way."""
        with tempfile.TemporaryDirectory(prefix="smoothcam-") as work:
            self._work = Path(work)
            yield

    def last_run(self) -> RunRecord | None:
        """Return what run.json says, and None where it cannot be read; a shard without one takes another's."""
        own = f"run{self._shard.suffix}.json"
        if found := self._run_record(own):
            return found
        try:
            others = [name for name in self._run_names() if name != own]
        except OSError:
            return None
        return next((found for name in others if (found := self._run_record(name))), None)

    def run_records(self) -> Iterator[tuple[str, RunRecord | None]]:
        """Yield the name of each run.json, in their order, and what it says; None where it cannot be read.

        Raises:
            UsageError, SmoothcamError: the store cannot be asked.
        """
        try:
            names = self._run_names()
        except OSError as error:
            raise self._unusable(error) from error
        for name in names:
            try:
                yield name, RunRecord.from_json(self._store.read(self._url.child(name)))
            except (OSError, ValueError):
                yield name, None

    @contextlib.contextmanager
    def index_files(self) -> Iterator[Path]:
        """Have copies of all parts of the index in a folder of this machine for the while.

        Raises:
            SmoothcamError: they cannot be fetched.
        """
        with tempfile.TemporaryDirectory(prefix="smoothcam-index-") as folder:
            try:
                self._store.fetch({self._url.child(name): Path(folder, name) for name in self._index_parts()})
            except OSError as error:
                raise SmoothcamError(f"the index in '{self._url}' cannot be read: {error.strerror}") from error
            yield Path(folder)

    def open_rows(self) -> ObjectIndexWriter:
        """Return what this run's rows are appended to.

        Raises:
            SmoothcamError: nothing can be put there.
        """
        own = parts_of(self._shard)
        try:
            parts = {name: size for name, size in self._index_parts().items() if own.fullmatch(name)}
            return ObjectIndexWriter(self._store, self._url, self._shard, parts, self._check_lease)
        except OSError as error:
            raise self.stopped_by(error) from error

    def place(self, relative: PurePosixPath) -> str:
        """Return the key of one image's place, below this one."""
        first, *rest = map(quoted, relative.parts)
        return "/".join((set_apart(first), *rest))

    def obstacle(self, relative: PurePosixPath) -> str | None:
        """Return what makes a place unusable: keys may be so long, and nothing else stands in the way of an object."""
        longest = len(f"{self._url.prefix}{self.place(relative)}/{MANIFEST}".encode())
        return f"its key would be longer than {LONGEST_KEY} bytes" if longest > LONGEST_KEY else None

    def stamp(self, place: str) -> str | None:
        """Return the stamp of an image's manifest, from the tag that the store gave it; None where there is none."""
        return self._survey.stamp(f"{place}/{MANIFEST}")

    def holds(self, place: str, names: Collection[str]) -> bool:
        """Say whether objects of these names lie at an image's place."""
        return all(self._survey.has(f"{place}/{name}") for name in names)

    def manifest(self, place: str) -> Manifest | None:
        """Return the manifest at an image's place; None where there is none that this version understands."""
        if self._survey.stamp(f"{place}/{MANIFEST}") is None:
            return None
        try:
            return _understood(self.read(place, MANIFEST))
        except OSError:
            return None

    def read(self, place: str, name: str) -> bytes:
        """Return a file of an image's place.

        Raises:
            OSError: it cannot be read.
        """
        return self._store.read(self._at(place).child(name))

    def stage(self) -> Path:
        """Return an empty folder for one image's files, to be handed to `send` and `publish`.

        Raises:
            SmoothcamError: it cannot be made.
        """
        assert self._work is not None
        staged = self._work / str(next(self._numbers))
        try:
            staged.mkdir(parents=True)
        except OSError as error:
            raise self.stopped_by(error) from error
        return staged

    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Put all of an image's files in their place but the manifest.

        Raises:
            ImageError: stage `write`; the place is taken by something that no run put there, or cannot be used.
            SmoothcamError: the store cannot be written to. FileNotFoundError: the staged folder was removed.
        """
        if (obstacle := self.obstacle(relative)) is not None:
            raise ImageError(obstacle, stage="write")
        place = self.place(relative)
        files = {path.name: path.read_bytes() for path in staged.iterdir()}
        at = self._at(place)
        for attempt in range(_TRIES):
            try:
                self._check_lease()
                if attempt or self._survey.occupied(place):
                    self._take_away(place, files)
                self._store.put_new({at.child(name): data for name, data in files.items() if name != MANIFEST})
            except FileExistsError:
                continue
            except OSError as error:
                raise self.refused(error) from error
            with self._sent_lock:
                self._sent.add(staged)
            return
        raise self._contested(place)

    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> str:  # noqa: ARG002
        """Put an image's manifest in its place, after all its other files.

        Args:
            earlier: as for `DiskResultStore.publish`; what was there is known from its own manifest.

        Returns:
            The stamp of the manifest.

        Raises:
            ImageError, SmoothcamError, FileNotFoundError: as `send` does.
        """
        place = self.place(relative)
        data = (staged / MANIFEST).read_bytes()
        for _ in range(_TRIES):
            if staged not in self._sent:
                self.send(staged, relative)
            try:
                self._check_lease()
                tag = self._store.put(self._at(place).child(MANIFEST), data, new=True)
            except FileExistsError:
                self._sent.discard(staged)
                continue
            except OSError as error:
                raise self.refused(error) from error
            self._sent.discard(staged)
            shutil.rmtree(staged, ignore_errors=True)
            return stamp_of(tag)
        raise self._contested(place)

    def refused(self, error: OSError) -> SmoothcamError:
        """Return what a failed write amounts to: the image's failure where its key alone is at fault, else the run's."""
        if error.errno == errno.ENAMETOOLONG:
            return ImageError(f"cannot be written: {error.strerror}", stage="write")
        return self.stopped_by(error)

    def stopped_by(self, error: OSError) -> SmoothcamError:
        """Return the error that ends a run which cannot write any more."""
        here = f" (or to '{self._work}', for files on their way)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return SmoothcamError(
            f"cannot write to '{self._url}'{here}: {error.strerror}. What is finished stays; the same command goes on from "
            "there"
        )

    def write_run_record(self, record: RunRecord) -> None:
        """Put run.json, whole.

        Raises:
            SmoothcamError: it cannot be put there.
        """
        self._put(f"run{self._shard.suffix}.json", record.to_json())

    def write_sheet(self, picture: bytes) -> Url:
        """Put the contact sheet and return where it is.

        Raises:
            SmoothcamError: it cannot be put there.
        """
        self._put(SHEET, picture)
        return self._url.child(SHEET)

    @cached_property
    def _survey(self) -> Survey:
        """What lay here when it was first asked for, after the lock was taken."""
        try:
            return Survey(self._store.below(self._url), MANIFEST)
        except OSError as error:
            raise SmoothcamError(f"'{self._url}' cannot be listed: {error.strerror}") from error

    def _at(self, place: str) -> Url:
        return self._url.child(place)

    def _put(self, name: str, data: bytes) -> None:
        self._check_lease()
        try:
            self._store.put(self._url.child(name), data)
        except OSError as error:
            raise self.stopped_by(error) from error

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _run_names(self) -> list[str]:
        return sorted(
            entry.name for entry in self._store.children(self._url, "run") if RUN.fullmatch(entry.name) and entry.stat
        )

    def _run_record(self, name: str) -> RunRecord | None:
        return run_record(lambda: self._store.read(self._url.child(name)))

    def _index_parts(self) -> dict[str, int]:
        entries = self._store.children(self._url, "index")
        return {entry.name: entry.stat.size for entry in entries if entry.stat and INDEX.fullmatch(entry.name)}

    def _take_away(self, place: str, files: Collection[str]) -> None:
        """Take away what an earlier run put at an image's place, its manifest first, if there is nothing but that.

        Files without a manifest are what a run left that was killed while it put them; they are known by their names.
        """
        at = self._at(place)
        names = [entry.name for entry in self._store.children(at) if entry.stat is not None and entry.name]
        manifest = _understood(self.read(place, MANIFEST)) if MANIFEST in names else None
        made = {MANIFEST, *files, *(files_of(manifest.row()) if manifest else filter(is_artefact, names))}
        if foreign := sorted(set(names) - made):
            raise ImageError(
                f"its place {shown(at)} holds {shown(foreign[0])}, which no run put there for this image; move it away or "
                "choose another output folder",
                stage="write",
            )
        for name in sorted(names, key=lambda name: name != MANIFEST):
            self._store.delete(at.child(name))

    def _contested(self, place: str) -> ImageError:
        return ImageError(f"somebody else puts objects at its place {shown(self._at(place))}", stage="write")

    def _remove_if_alone(self) -> None:
        """Take the mark away from a place where nothing came to be."""
        with contextlib.suppress(OSError):
            if {entry.name for entry in self._store.peek(self._url) if not TICKET.fullmatch(entry.name)} == {LOCK}:
                self._store.delete(self._url.child(LOCK))

    def _unusable(self, error: OSError) -> SmoothcamError:
        if isinstance(error, FileNotFoundError):
            return UsageError(f"output folder '{self._url}' cannot be used: {error.strerror}; choose another with -o")
        return SmoothcamError(f"'{self._url}' cannot be used: {error.strerror}; see to it, and run again")


def _understood(manifest: bytes) -> Manifest | None:
    try:
        return Manifest.model_validate_json(manifest)
    except ValidationError:
        return None
