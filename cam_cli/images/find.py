"""Image files under the paths a person named, one at a time, in an order no machine changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cam_cli.errors import UsageError
from cam_cli.images.globs import Exclusions, Glob, is_glob, split_glob

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})


@dataclass(frozen=True, slots=True)
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
    lists: Iterable[Path] = (),
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    exclude: tuple[str, ...] = (),
    prune: Collection[Path] = (),
    prune_if: Callable[[Path], bool] = lambda _: False,
    on_error: Callable[[Path, OSError], None] = _ignore,
) -> Iterator[Found]:
    """Yield every image that `paths` name, each once, in the order given, and then every one that `lists` names.

    A path that is not a folder is always yielded, whatever its ending and even if it is missing, so that
    reading it tells why it failed. Folders are walked one at a time, their own files before their subfolders,
    sorted bytewise by name; hidden files and folders are skipped; links to folders are followed unless they
    lead back to a folder they lie in. A path that is not there and holds wildcards is a glob: the files it matches are taken
    whatever their ending, and the folders it matches are walked.

    Args:
        paths: files, folders and globs, in any form; one that lies in another is yielded at its own place only.
        root: the folder that `Found.relative` starts from; must hold all that is named.
        lists: further files and folders, read as they are needed and not remembered: named twice is yielded twice.
        extensions: endings of the files taken from folders, in lower case without the dot.
        exclude: globs of what is left out, but not of `paths` themselves (see `Exclusions`).
        prune: folders below those given that are not entered; prune_if says it of a folder by what is in it.
        on_error: called with each folder that cannot be listed, which is then left out.

    Raises:
        UsageError: a path outside the root.
    """
    base = _absolute(root)
    given = {_absolute(path): path for path in reversed(paths)}
    pruned = frozenset(path.resolve() for path in prune)
    walk = _Walk(extensions, Exclusions(exclude), pruned, prune_if, frozenset(given), on_error)
    for place in dict.fromkeys(_absolute(path) for path in paths):
        path = given[place]
        if is_glob(path) and not os.path.lexists(path):
            start, pattern = split_glob(path)
            yield from walk.images(start, _relative(_absolute(start), base), base, Glob(pattern))
        else:
            yield from _named(path, _relative(place, base), walk, base)
    for path in lists:
        relative = _relative(_absolute(path), base)
        if not walk.exclude.cover(relative):
            yield from _named(path, relative, walk, base)


def common_root(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all paths, absolute, links kept; a folder stands for itself, a glob for its start.

    Raises:
        UsageError: no path is given.
    """
    if not paths:
        raise UsageError("no image or folder is given; name at least one")
    return Path(os.path.commonpath([str(_absolute(_folder_of(path))) for path in paths]))


def _folder_of(path: Path) -> Path:
    if is_glob(path) and not os.path.lexists(path):
        return split_glob(path)[0]
    return path if _is_folder(path) else path.parent


def _named(path: Path, relative: PurePosixPath, walk: _Walk, base: Path) -> Iterator[Found]:
    if _is_folder(path):
        yield from walk.images(path, relative, base)
    else:
        yield Found(path, relative)


def _relative(place: Path, base: Path) -> PurePosixPath:
    if not place.is_relative_to(base):
        raise UsageError(
            f"{str(place)!r} is not inside the root folder {str(base)!r}; name a folder that holds all images with --root"
        )
    return PurePosixPath(place.relative_to(base))


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


@dataclass(frozen=True)
class _Waiting:
    """A folder to be listed.

    path: to open. relative: to the root. below: the names from where the walk started. above: the folders it lies in, by device
    and inode. whole: all images in it are wanted, not only what the glob matches.
    """

    path: Path
    relative: PurePosixPath
    below: tuple[str, ...]
    above: frozenset[tuple[int, int]]
    whole: bool


@dataclass(frozen=True)
class _Walk:
    """What a walk through a folder takes and leaves out; `given` paths are yielded in their own right."""

    extensions: Collection[str]
    exclude: Exclusions
    prune: frozenset[Path]
    prune_if: Callable[[Path], bool]
    given: frozenset[Path]
    on_error: Callable[[Path, OSError], None]

    def images(self, folder: Path, relative: PurePosixPath, base: Path, glob: Glob | None = None) -> Iterator[Found]:
        """Yield the images below `folder`, which stands at `relative` below `base`; with a glob, those it stands for."""
        waiting = [_Waiting(folder, relative, (), frozenset(), glob is None)]
        while waiting:
            here = waiting.pop()
            try:
                status = here.path.stat()
                identity = (status.st_dev, status.st_ino)
                if identity in here.above:
                    continue
                files, subfolders = _listing(here.path)
            except OSError as error:
                self.on_error(here.path, error)
                continue
            given = {place.name for place in self.given if place.parent == base / here.relative}
            for name in files:
                if name not in given and self._wanted(name, here, glob):
                    found = here.relative / name
                    if not self.exclude.cover(found):
                        yield Found(here.path / name, found)
            for name in reversed(subfolders):
                below = (*here.below, name)
                whole = (here.whole and not name.startswith(".")) or (glob is not None and glob.matches(below))
                if name in given or not (whole or (glob is not None and glob.may_match_below(below))):
                    continue
                path, place = here.path / name, here.relative / name
                if not (self.exclude.cover(place) or self._pruned(path)):
                    waiting.append(_Waiting(path, place, below, here.above | {identity}, whole))

    def _wanted(self, name: str, here: _Waiting, glob: Glob | None) -> bool:
        if (
            here.whole
            and not name.startswith(".")
            and "." in name
            and name.rpartition(".")[2].lower() in self.extensions
        ):
            return True
        return glob is not None and glob.matches((*here.below, name))

    def _pruned(self, folder: Path) -> bool:
        return (bool(self.prune) and folder.resolve() in self.prune) or self.prune_if(folder)


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    subfolders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (subfolders if _is_folder(entry) else files).append(entry.name)
    return sorted(files, key=os.fsencode), sorted(subfolders, key=os.fsencode)


def _is_folder(entry: Path | os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):
        return False
