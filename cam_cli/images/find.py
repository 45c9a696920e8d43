"""Image files under the paths a person named, one at a time, in an order no machine changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath

from cam_cli.errors import UsageError
from cam_cli.images.globs import Exclusion, Glob, is_glob, split_glob
from cam_cli.images.tree import LocalTree, Tree
from cam_cli.storage.location import Location, Url, escaped

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file: the path to open, and its path relative to the root, which names its output."""

    path: Location
    relative: PurePosixPath


def _ignore(path: Location, error: OSError) -> None:
    """Do nothing."""


def find_images(
    paths: Sequence[Location],
    root: Location,
    *,
    tree: Tree | None = None,
    lists: Iterable[Location] = (),
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    exclude: Sequence[str] = (),
    prune: Collection[Location] = (),
    prune_if: Callable[[Location], bool] = lambda _: False,
    on_error: Callable[[Location, OSError], None] = _ignore,
) -> Iterator[ImageFile]:
    """Yield every image that `paths` name, each once, in the order given; then every image on the lists.

    A path that is not a folder is always yielded, whatever its ending and even if it is missing, so that
    reading it tells why it failed. Folders are walked one at a time, their own files before their subfolders,
    sorted bytewise by name; hidden files and folders are skipped; links to folders are followed unless they
    lead back to a folder they lie in. A path that does not exist and holds wildcards is a glob: the files it
    matches are yielded whatever their ending, the folders it matches are walked, both in the order of a walk.

    Args:
        paths: files, folders and globs, in any form; what several of them reach is yielded at the place of the one that starts
            deepest (a glob starts from its last folder without a wildcard), and of the first of those.
        root: the folder that `ImageFile.relative` starts from; must hold all of `paths` and of the lists.
        tree: where all of them are; this machine's folders when left out.
        lists: further files and folders, taken one by one as they are needed and yielded as often as they are listed.
        extensions: endings of the files taken from folders, in lower case without the dot.
        exclude: gitignore-like globs (see `Exclusion`) of what is left out, except those of `paths` that they match themselves;
            a folder left out is not entered.
        prune: folders below those given that are not entered; prune_if says it of a folder by what is in it.
        on_error: called with each folder that cannot be listed, which is then left out.

    Raises:
        UsageError: a path outside the root, or `..` after a wildcard.
    """
    places = _Places(tree or LocalTree(), root)
    starts: dict[tuple[PurePosixPath, PurePosixPath | None], _Start] = {}
    for path in paths:
        start = places.start(path)
        starts.setdefault((start.relative, start.pattern), start)
    alone = _Walk(
        tree=places.tree,
        endings=tuple(f".{extension}" for extension in extensions),
        exclude=Exclusion.of(exclude),
        prune=frozenset(_resolved(path) for path in prune),
        prune_if=prune_if,
        on_error=on_error,
    )
    together = alone.beside(starts.values())
    for start in starts.values():
        yield from together.images(start)
    for path in lists:
        start = places.named(path)
        if not alone.exclude.covers_path(start.relative, folder=start.pattern is not None):
            yield from alone.images(start)


def common_root(paths: Sequence[Location], tree: Tree | None = None) -> Location:
    """Return the deepest folder that holds all paths, absolute, links kept; a folder stands for itself, a glob for its start.

    Args:
        tree: where they all are; this machine's folders when left out.

    Raises:
        UsageError: no path is given, or one with `..` after a wildcard.
    """
    if not paths:
        raise UsageError("no image or folder is given; name at least one")
    where: Tree = tree or LocalTree()
    folders = [_folder_of(path, where) for path in paths]
    if isinstance(folders[0], Url):
        above = [{folder, *folder.parents} for folder in folders]
        return next(
            (place for place in (folders[0], *folders[0].parents) if all(place in one for one in above)), folders[0]
        )
    return Path(os.path.commonpath([where.absolute(folder) for folder in folders]))


def _folder_of(path: Location, tree: Tree) -> Location:
    if is_glob(path) and not tree.exists(path):
        return split_glob(path)[0]
    return path if tree.file(path) is None else path.parent


@dataclass(frozen=True, slots=True)
class _Start:
    """Where one of the paths starts: a file (no pattern), a folder (an empty one), or the folder a glob starts from."""

    path: Location
    relative: PurePosixPath
    pattern: PurePosixPath | None

    @property
    def glob(self) -> Glob:
        return Glob.of(self.pattern.parts if self.pattern else ())


class _Places:
    """Tells where paths start, seen from the root."""

    def __init__(self, tree: Tree, root: Location) -> None:
        self.tree = tree
        self._root = root
        self._base = tree.absolute(root)

    def start(self, path: Location) -> _Start:
        if not is_glob(path) or self.tree.exists(path):
            return self.named(path)
        folder, pattern = split_glob(path)
        return _Start(folder, self._relative(folder), pattern)

    def named(self, path: Location) -> _Start:
        relative = self._relative(path)
        file = self.tree.file(path)
        return _Start(path, relative, PurePosixPath()) if file is None else _Start(file, relative, None)

    def _relative(self, path: Location) -> PurePosixPath:
        if isinstance(path, Url) and path.parts[: len(self._root.parts)] == self._root.parts:
            return PurePosixPath(*map(escaped, path.parts[len(self._root.parts) :]))
        known = not isinstance(path, Url) and not isinstance(self._root, Url)
        place = self.tree.absolute(path) if known else str(path)
        if not known or (place != self._base and not place.startswith(self._base.rstrip("/") + "/")):
            raise UsageError(
                f"{place!r} is not inside the root folder {self._base!r}; name a folder that holds all images with --root"
            )
        return PurePosixPath(place[len(self._base) :].lstrip("/"))


def _resolved(path: Location) -> Location:
    return path.resolve() if isinstance(path, Path) else path


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder on a walk: `glob` takes images here but what `rivals` take is theirs; `above` are the folders it lies in."""

    path: Location
    relative: PurePosixPath
    glob: Glob
    rivals: tuple[Glob, ...]
    exclude: Exclusion
    above: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class _Walk:
    """What a walk takes and leaves out; `files` and what starts in the folders of `starting` is yielded in its own right.

    Of all starts that match a file and lie above it, the deepest reaches it if any does, as its way is part of the others': so
    a walk can leave the file to it without looking.
    """

    tree: Tree
    endings: tuple[str, ...]
    exclude: Exclusion
    prune: frozenset[Location]
    prune_if: Callable[[Location], bool]
    on_error: Callable[[Location, OSError], None]
    files: frozenset[str] = frozenset()
    starting: Mapping[str, Sequence[_Start]] = field(default_factory=dict)

    def beside(self, starts: Iterable[_Start]) -> _Walk:
        """Return a walk that leaves to each start what is its own."""
        starting: dict[str, list[_Start]] = {}
        files = set()
        for start in starts:
            if start.pattern is None:
                files.add(str(start.relative))
            else:
                starting.setdefault(str(start.relative), []).append(start)
        return replace(self, files=frozenset(files), starting=starting)

    def images(self, start: _Start) -> Iterator[ImageFile]:
        """Yield the images one start stands for."""
        if start.pattern is None:
            yield ImageFile(start.path, start.relative)
            return
        waiting = [iter([self._first(start)])]
        while waiting:
            place = next(waiting[-1], None)
            if place is None:
                waiting.pop()
                continue
            if place.above and self._pruned(place.path):
                continue
            folders: list[str] = []
            try:
                identity = self.tree.identity(place.path)
                if identity in place.above:
                    continue
                for name, path in self.tree.files(place.path, partial(self._takes, place), folders):
                    yield ImageFile(path, place.relative / name)
            except OSError as error:
                is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
                if place.above or not (start.pattern.parts and is_absent):
                    self.on_error(place.path, error)
                continue
            waiting.append(self._below(place, folders, place.above | {identity}))

    def _first(self, start: _Start) -> _Place:
        earlier = takewhile(lambda other: other is not start, self.starting.get(str(start.relative), ()))
        exclude = self.exclude.below(*start.relative.parts)
        return _Place(start.path, start.relative, start.glob, tuple(s.glob for s in earlier), exclude, frozenset())

    def _below(self, place: _Place, names: Sequence[str], above: frozenset[tuple[int, int]]) -> Iterator[_Place]:
        for name in names:
            glob = place.glob.below(name)
            if glob is None or place.exclude.covers(name, folder=True):
                continue
            relative = place.relative / name
            passing = filter(None, (rival.below(name) for rival in place.rivals))
            rivals = (*passing, *(start.glob for start in self.starting.get(str(relative), ())))
            if not (glob.spent and any(rival.whole for rival in rivals)):
                yield _Place(place.path / name, relative, glob, rivals, place.exclude.below(name), above)

    def _takes(self, place: _Place, name: str) -> bool:
        return (
            self._match(place.glob, name)
            and not place.exclude.covers(name, folder=False)
            and not any(self._match(rival, name) for rival in place.rivals)
            and not (self.files and str(place.relative / name) in self.files)
        )

    def _match(self, glob: Glob, name: str) -> bool:
        walked = glob.whole and not name.startswith(".") and name.lower().endswith(self.endings)
        return walked or glob.matches(name)

    def _pruned(self, folder: Location) -> bool:
        return (bool(self.prune) and _resolved(folder) in self.prune) or self.prune_if(folder)
