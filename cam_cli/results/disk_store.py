"""OUT as a folder of this machine."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from typing_extensions import override

from cam_cli.errors import ImageError, SmoothcamError, UsageError
from cam_cli.results.files import read_regular, whole
from cam_cli.results.index import IndexWriter
from cam_cli.results.layout import INDEX, LOCK, MANIFEST, RUN, WORK, image_folder, index_file, work_folder
from cam_cli.results.lock import locked
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.text import shown

_NO_IMAGE_S_FAULT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


class DiskResultStore(ResultStore):
    """OUT as a folder of this machine: a folder for each image, and the records in `run.json` and `index.jsonl`.

    A staged folder becomes an image's folder by one rename. Nothing is written through a symbolic link inside OUT.
    """

    stamp_name = "manifest_mtime_ns"
    writers = 1

    _work: Path

    def __init__(self, path: Path, shard: Shard) -> None:
        super().__init__(path, shard, path / work_folder(shard))
        self.path = path
        self._text = os.fspath(path)

    @override
    def check(self) -> None:
        try:
            names = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from None
        if not names or any(RUN.fullmatch(name) and self._record(name).is_of_a_run for name in names):
            return
        # what a run leaves that was killed before it wrote its record
        indices = {name for name in names if INDEX.fullmatch(name)}
        begun = all(WORK.fullmatch(name) or name in {*indices, LOCK} for name in names)
        if not (LOCK in names and begun and not any((self.path / name).lstat().st_size for name in indices)):
            raise UsageError(f"output folder '{self.path}' holds files that no run made; choose another with -o")

    @override
    @contextlib.contextmanager
    def open_for_writing(self, wait: float, waiting: Callable[[], None]) -> Iterator[None]:
        self.check()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        with locked(self.path, self._shard, wait, waiting, self._holder):
            shutil.rmtree(self._work, ignore_errors=True)  # of a run that was killed
            try:
                self._work.mkdir()
            except OSError as error:
                raise self._unusable(error) from None
            try:
                yield
            finally:
                shutil.rmtree(self._work, ignore_errors=True)

    @override
    def index_files(self) -> contextlib.AbstractContextManager[Path]:
        return contextlib.nullcontext(self.path)

    @override
    def open_index(self) -> IndexWriter:
        return IndexWriter(self.path / index_file(self._shard))

    @override
    def key(self, relative: PurePosixPath) -> str:
        first = relative.parts[0]
        folder = image_folder(first)
        if folder == first:
            return f"{self._text}/{relative}"
        return os.path.join(self._text, folder, *relative.parts[1:])  # noqa: PTH118 - a resume asks for every image

    @override
    def obstacle(self, relative: PurePosixPath) -> str | None:
        above = self._text
        for part in PurePosixPath(os.path.relpath(self.key(relative), self._text)).parts:
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

    @override
    def stamp(self, key: str) -> int | None:
        try:
            return os.lstat(f"{key}/{MANIFEST}").st_mtime_ns
        except OSError:
            return None

    @override
    def holds(self, key: str, names: Collection[str]) -> bool:
        return all(os.path.isfile(f"{key}/{name}") for name in names)  # noqa: PTH113 - 3 of these an image

    @override
    def read(self, key: str, name: str) -> bytes:
        return read_regular(Path(key, name))

    @override
    def send(self, staged: Path, relative: PurePosixPath) -> None:
        """Do nothing: a rename takes no time."""

    @override
    def publish(self, staged: Path, relative: PurePosixPath, earlier: Collection[str]) -> int:
        folder = Path(self.key(relative))
        try:
            if (obstacle := self.obstacle(relative)) is not None:
                raise ImageError(obstacle, stage="write")
            if not self.path.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._text)
            folder.parent.mkdir(parents=True, exist_ok=True)
            written = (staged / MANIFEST).stat().st_mtime_ns
            try:
                staged.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                self._retire(folder, {MANIFEST, *earlier, *(entry.name for entry in staged.iterdir())})
                staged.rename(folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.refused(error) from error
        return written

    def _retire(self, folder: Path, made: Collection[str]) -> None:
        """Remove an earlier result, if it is nothing but that."""
        foreign = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.name not in made or not entry.is_file(follow_symlinks=False)
        )
        if foreign:
            raise self._foreign(folder, foreign[0])
        retired = self._work / "retired"
        folder.rename(retired)
        shutil.rmtree(retired)

    @override
    def refused(self, error: OSError) -> SmoothcamError:
        if error.errno in _NO_IMAGE_S_FAULT or not os.access(self.path, os.W_OK | os.X_OK):
            return self.stopped_by(error)
        return ImageError(f"cannot be written: {error.strerror}", stage="write")

    @override
    def _where(self, error: OSError) -> str:
        return f"the output folder '{self.path}'"

    @override
    def _run_files(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.path) if RUN.fullmatch(entry.name))

    @override
    def _read(self, name: str) -> bytes:
        return read_regular(self.path / name)

    @override
    def _write(self, name: str, data: bytes) -> Path:
        with self.writing():
            self._work.mkdir(exist_ok=True)
            with whole(self.path / name, self._work) as stream:
                stream.write(data)
        return self.path / name
