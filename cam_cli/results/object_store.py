"""OUT as a folder of an object store, where nothing is renamed or appended to, and what is put is there whole or not at all."""

import contextlib
import errno
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from typing_extensions import override

from cam_cli.errors import ImageError, SmoothcamError, UsageError
from cam_cli.results.layout import ARTEFACT, INDEX, LOCK, LOCK_OBJECT, MANIFEST, RUN, image_folder
from cam_cli.results.listing import Listing, stamp_of
from cam_cli.results.manifest import Manifest, files_of, parse_manifest
from cam_cli.results.object_index import ObjectIndexWriter
from cam_cli.results.object_lock import ObjectLock
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Url, quoted
from cam_cli.storage.store import LONGEST_KEY, Store
from cam_cli.text import shown

_TRIES = 3
"""How often an image is put again from the start when something else came to its folder meanwhile."""


class ObjectResultStore(ResultStore):
    """OUT as a folder of an object store.

    An image's files are put first, each one only if there is none yet, and its manifest last. What an earlier run left there is
    deleted before, its manifest first. So a manifest that is there has its own files beside it: files of two runs never come
    together under one, whatever is killed when. All that is asked of the store is that an object can be put on condition that
    there is none, and that who reads or lists sees what was put before.
    """

    stamp_name = "manifest_tag"
    writers = 8

    def __init__(self, url: Url, shard: Shard) -> None:
        super().__init__(url, shard)
        self._url = url
        self._store = Store(url.protocol)
        self._lock: ObjectLock | None = None
        self._sent: set[Path] = set()
        self._sent_mutex = threading.Lock()

    @override
    def check(self) -> None:
        try:
            if any(self._record(name).is_of_a_run for name in self._run_files()):
                return
            names = {entry.name for entry in self._store.peek(self._url)}
        except OSError as error:
            raise self._unusable(error) from error
        if names and not (LOCK in names and all(name == LOCK or LOCK_OBJECT.fullmatch(name) for name in names)):
            raise UsageError(f"output folder '{self._url}' holds objects that no run put there; choose another with -o")

    @override
    @contextlib.contextmanager
    def open_for_writing(self, wait: float, waiting: Callable[[], None]) -> Iterator[None]:
        self.check()
        lock = ObjectLock(self._store, self._url, self._shard)
        with contextlib.ExitStack() as stack:
            try:
                with contextlib.suppress(FileExistsError):
                    self._store.put(self._url.child(LOCK), b"", new=True)
                stack.enter_context(lock.held(wait, waiting, self._holder))
            except OSError as error:
                raise self._unusable(error) from error
            stack.callback(self._remove_if_alone)
            self._lock = lock
            self._work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smoothcam-")))
            yield

    @override
    def run_records(self) -> Iterator[tuple[Shard, RunRecord]]:
        try:
            yield from super().run_records()
        except OSError as error:
            raise self._unusable(error) from error

    @override
    @contextlib.contextmanager
    def index_files(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="smoothcam-index-") as folder:
            try:
                self._store.fetch({self._url.child(name): Path(folder, name) for name in self._index_sizes()})
            except OSError as error:
                raise SmoothcamError(f"the index in '{self._url}' cannot be read: {error.strerror}") from error
            yield Path(folder)

    @override
    def open_index(self) -> ObjectIndexWriter:
        with self.writing():
            return ObjectIndexWriter(self._store, self._url, self._shard, self._index_sizes(), self._check_lock)

    @override
    def key(self, relative: PurePosixPath) -> str:
        first, *rest = map(quoted, relative.parts)
        return "/".join((image_folder(first), *rest))

    @override
    def obstacle(self, relative: PurePosixPath) -> str | None:
        longest = len(f"{self._url.prefix}{self.key(relative)}/{MANIFEST}".encode())
        return f"its key would be longer than {LONGEST_KEY} bytes" if longest > LONGEST_KEY else None

    @override
    def stamp(self, key: str) -> str | None:
        return self._listing.stamp(f"{key}/{MANIFEST}")

    @override
    def holds(self, key: str, names: Collection[str]) -> bool:
        return all(self._listing.has(f"{key}/{name}") for name in names)

    @override
    def manifest(self, key: str) -> Manifest | None:
        return super().manifest(key) if self.stamp(key) is not None else None

    @override
    def read(self, key: str, name: str) -> bytes:
        return self._store.read(self._url.child(key).child(name))

    @override
    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Put all of an image's files in its folder, but not the manifest."""
        if (obstacle := self.obstacle(relative)) is not None:
            raise ImageError(obstacle, stage="write")
        key = self.key(relative)
        folder = self._url.child(key)
        files = {path.name: path.read_bytes() for path in staged.iterdir()}
        for attempt in range(_TRIES):
            try:
                self._check_lock()
                if attempt or self._listing.occupied(key):
                    self._delete_earlier(key, files)
                self._store.put_new({folder.child(name): data for name, data in files.items() if name != MANIFEST})
            except FileExistsError:
                continue
            except OSError as error:
                raise self.refused(error) from error
            with self._sent_mutex:
                self._sent.add(staged)
            return
        raise self._contested(folder)

    @override
    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> str:
        """Put an image's manifest after all its files; the manifest there, not `earlier`, says what an earlier run made."""
        folder = self._url.child(self.key(relative))
        data = (staged / MANIFEST).read_bytes()
        for _ in range(_TRIES):
            if staged not in self._sent:
                self.send(staged, relative)
            self._sent.discard(staged)
            try:
                self._check_lock()
                tag = self._store.put(folder.child(MANIFEST), data, new=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise self.refused(error) from error
            shutil.rmtree(staged, ignore_errors=True)
            return stamp_of(tag)
        raise self._contested(folder)

    @override
    def refused(self, error: OSError) -> SmoothcamError:
        if error.errno == errno.ENAMETOOLONG:
            return ImageError(f"cannot be written: {error.strerror}", stage="write")
        return self.stopped_by(error)

    @override
    def _where(self, error: OSError) -> str:
        here = f" (or to '{self._work}', for files on their way)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"'{self._url}'{here}"

    @cached_property
    def _listing(self) -> Listing:
        """What was here when it was first asked for, after the lock was taken."""
        try:
            return Listing(self._store.below(self._url), MANIFEST)
        except OSError as error:
            raise SmoothcamError(f"'{self._url}' cannot be listed: {error.strerror}") from error

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    @override
    def _run_files(self) -> list[str]:
        entries = self._store.children(self._url, "run")
        return sorted(entry.name for entry in entries if RUN.fullmatch(entry.name) and entry.stat)

    @override
    def _read(self, name: str) -> bytes:
        return self._store.read(self._url.child(name))

    @override
    def _write(self, name: str, data: bytes) -> Url:
        self._check_lock()
        with self.writing():
            self._store.put(self._url.child(name), data)
        return self._url.child(name)

    def _index_sizes(self) -> dict[str, int]:
        entries = self._store.children(self._url, "index")
        return {entry.name: entry.stat.size for entry in entries if entry.stat and INDEX.fullmatch(entry.name)}

    def _delete_earlier(self, key: str, files: Collection[str]) -> None:
        """Delete what an earlier run put in an image's folder, its manifest first, if there is nothing but that.

        Files without a manifest are what a run left that was killed while it put them; they are known by their names.
        """
        folder = self._url.child(key)
        names = [entry.name for entry in self._store.children(folder) if entry.stat is not None and entry.name]
        manifest = parse_manifest(self.read(key, MANIFEST)) if MANIFEST in names else None
        made = {MANIFEST, *files, *(files_of(manifest.row()) if manifest else filter(ARTEFACT.fullmatch, names))}
        if foreign := sorted(set(names) - made):
            raise self._foreign(folder, foreign[0])
        for name in sorted(names, key=lambda name: name != MANIFEST):
            self._store.delete(folder.child(name))

    def _contested(self, folder: Url) -> ImageError:
        return ImageError(f"somebody else puts objects in its folder {shown(folder)}", stage="write")

    def _remove_if_alone(self) -> None:
        """Delete the mark of a run from a folder in which nothing came to be."""
        with contextlib.suppress(OSError):
            if {entry.name for entry in self._store.peek(self._url) if not LOCK_OBJECT.fullmatch(entry.name)} == {LOCK}:
                self._store.delete(self._url.child(LOCK))

    @override
    def _unusable(self, error: OSError) -> SmoothcamError:
        if isinstance(error, FileNotFoundError):
            return super()._unusable(error)
        return SmoothcamError(f"'{self._url}' cannot be used: {error.strerror}; correct that, and run again")
