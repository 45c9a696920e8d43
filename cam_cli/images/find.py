"""Image files under the paths a person named, one at a time, in an order no machine changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cam_cli.errors import UsageError

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})


@dataclass(frozen=True)
class Found:
    """An image file: the path to open, and its path relative to the root, which names its output."""

    path: Path
    relative: PurePosixPath


def _ignore(path: Path, error: OSError) -> None:
    """Do nothing."""


def find_images(
    paths: Sequence[Path],
    root: Path,
    *,
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    prune: Collection[Path] = (),
    prune_if: Callable[[Path], bool] = lambda _: False,
    on_error: Callable[[Path, OSError], None] = _ignore,
) -> Iterator[Found]:
    """Yield every image under `paths`, each once, in the order given.

    A path that is not a folder is always yielded, whatever its ending and even if it is missing, so that
    reading it tells why it failed. Folders are walked one at a time, their own files before their subfolders,
    sorted bytewise by name; hidden files and folders are skipped; links to folders are followed unless they
    lead back to a folder they lie in.

    Args:
        paths: files and folders, in any form; one that lies in another is yielded at its own place only.
        root: the folder that `Found.relative` starts from; must hold all of `paths`.
        extensions: endings of the files taken from folders, in lower case without the dot.
        prune: folders below those given that are not entered; prune_if says it of a folder by what is in it.
        on_error: called with each folder that cannot be listed, which is then left out.

    Raises:
        UsageError: a path outside the root.
    """
    base = _absolute(root)
    given: dict[Path, Path] = {}
    for path in paths:
        given.setdefault(_absolute(path), path)
    walk = _Walk(extensions, frozenset(path.resolve() for path in prune), prune_if, frozenset(given), on_error)
    for place, path in given.items():
        if not place.is_relative_to(base):
            raise UsageError(f"{str(path)!r} is not inside the root folder {str(base)!r}; name one that holds it")
        if _is_folder(path):
            for found, found_place in walk.images(path, place):
                yield Found(found, PurePosixPath(found_place.relative_to(base)))
        else:
            yield Found(path, PurePosixPath(place.relative_to(base)))


def common_root(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all paths, absolute, links kept; a folder stands for itself.

    Raises:
        UsageError: no path is given.
    """
    if not paths:
        raise UsageError("no image or folder is given; name at least one")
    places = (_absolute(path) if _is_folder(path) else _absolute(path).parent for path in paths)
    return Path(os.path.commonpath([str(place) for place in places]))


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


@dataclass(frozen=True)
class _Walk:
    """What a walk through a folder takes and leaves out; `given` paths are yielded in their own right."""

    extensions: Collection[str]
    prune: frozenset[Path]
    prune_if: Callable[[Path], bool]
    given: frozenset[Path]
    on_error: Callable[[Path, OSError], None]

    def images(self, folder: Path, place: Path) -> Iterator[tuple[Path, Path]]:
        """Yield (path to open, absolute path) of the images below `folder`, which stands at `place`."""
        waiting: list[tuple[Path, Path, frozenset[tuple[int, int]]]] = [(folder, place, frozenset())]
        while waiting:
            folder, place, above = waiting.pop()
            try:
                status = folder.stat()
                identity = (status.st_dev, status.st_ino)
                if identity in above:
                    continue
                files, subfolders = self._listing(folder)
            except OSError as error:
                self.on_error(folder, error)
                continue
            for name in files:
                if place / name not in self.given:
                    yield folder / name, place / name
            waiting.extend(
                (folder / name, place / name, above | {identity})
                for name in reversed(subfolders)
                if place / name not in self.given and not self._pruned(folder / name)
            )

    def _listing(self, folder: Path) -> tuple[list[str], list[str]]:
        files: list[str] = []
        subfolders: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    subfolders.append(entry.name)
                elif entry.name.rpartition(".")[2].lower() in self.extensions and "." in entry.name:
                    files.append(entry.name)
        return sorted(files, key=os.fsencode), sorted(subfolders, key=os.fsencode)

    def _pruned(self, folder: Path) -> bool:
        return (bool(self.prune) and folder.resolve() in self.prune) or self.prune_if(folder)


def _is_folder(entry: Path | os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
