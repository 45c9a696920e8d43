"""Image files under the paths a person named, one at a time, in an order no machine changes."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from cam_cli.errors import UsageError
from cam_cli.images.formats import IMAGE_EXTENSIONS
from cam_cli.images.globs import Glob, exclusion, is_glob, split_glob
from cam_cli.images.tree import FileTree, Identity, LocalTree
from cam_cli.storage.location import Location, Url, quoted, unquoted


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file: the path to open, and its path relative to the root, which names its output."""

    path: Location
    relative: PurePosixPath

    @property
    def root(self) -> Location:
        """The folder or URL that `relative` is relative to; that of a path is absolute."""
        if isinstance(self.path, Path):
            return Path(*Path(os.path.normpath(self.path.absolute())).parts[: -len(self.relative.parts)])
        below = sum(len(unquoted(part)) + 1 for part in self.relative.parts)
        return replace(self.path, key=(self.path.key or "")[:-below] or None, stat=None)


def find_images(
    paths: Sequence[Location],
    root: Location,
    *,
    tree: FileTree | None = None,
    lists: Iterable[Location] = (),
    extensions: Collection[str] = IMAGE_EXTENSIONS,
    exclude: Sequence[str] = (),
    prune: Collection[Location] = (),
    prune_if: Callable[[Location], bool] = lambda _: False,
    on_error: Callable[[Location, OSError], None] = lambda *_: None,
    lookalikes: Collection[str] = (),
    on_left_out: Callable[[str], None] = lambda _: None,
) -> Iterator[ImageFile]:
    """Yield every image that `paths` name, each once, in the order given; then every image on the lists.

    A path that is not a folder is always yielded, whatever its ending and even if it is missing: reading it tells why it fails.
    Folders are walked one at a time, their own files before their subfolders, sorted bytewise by name. Hidden files and
    folders are skipped. Links to folders are followed unless they lead back to a folder they lie in. A path that does not exist
    and holds wildcards is a glob: the files it matches are yielded whatever their ending, the folders it matches are walked,
    both in the order of a walk.

    Args:
        paths: files, folders and globs, in any form. An image that several of them reach is yielded by the one that starts
            deepest (a glob starts from its last folder without a wildcard), and by the first of those.
        root: the folder that `ImageFile.relative` starts from; must hold all of `paths` and of the lists.
        tree: the tree that holds all of them; this machine's folders when left out.
        lists: further files and folders, taken one by one as they are needed and yielded as often as they are listed.
        extensions: endings of the files taken from folders, in lower case without the dot.
        exclude: gitignore-like globs (see `exclusion`) of what is left out, except those of `paths` that they match themselves;
            a folder left out is not entered.
        prune: folders below those given that are not entered.
        prune_if: returns True for a folder that is not entered either.
        on_error: called with each folder that cannot be listed, which is then left out.
        lookalikes: further endings of images, of files that are not taken.
        on_left_out: called with the ending of each file that a folder would have given if it were one of `extensions`.

    Raises:
        UsageError: a path outside the root, or `..` after a wildcard.
    """
    walk = _Walk(
        tree=tree or LocalTree(),
        root=_normalised(root),
        endings=tuple(f".{extension}" for extension in extensions),
        lookalikes=tuple(f".{extension}" for extension in lookalikes),
        on_left_out=on_left_out,
        exclude=exclusion(exclude),
        prune=frozenset(_resolved(path) for path in prune),
        prune_if=prune_if,
        on_error=on_error,
    )
    starts = dict.fromkeys(walk.start(path) for path in paths)
    starting: dict[PurePosixPath, Glob] = {}
    rivals = []
    for start in starts:
        rivals.append(starting.get(start.relative, Glob()))
        if start.pattern is not None:
            starting[start.relative] = rivals[-1] | start.glob
    files = frozenset(start.relative for start in starts if start.pattern is None)
    together = replace(walk, files=files, starting=starting)
    for start, earlier in zip(starts, rivals, strict=True):
        yield from together.images(start, earlier)
    for path in lists:
        start = walk.start(path, globs=False)
        if not walk.leaves_out(start):
            yield from walk.images(start, Glob())


def common_root(paths: Sequence[Location], tree: FileTree | None = None) -> Location:
    """Return the deepest folder that holds all paths, absolute, links kept; a folder holds itself, a glob its first folder.

    Raises:
        UsageError: no path is given, or one with `..` after a wildcard.
    """
    if not paths:
        raise UsageError("no image or folder is given; name at least one")
    starts = [_start(path, tree or LocalTree()) for path in paths]
    folders = [_normalised(path.parent if pattern is None else path) for path, pattern in starts]
    levels = zip(*(folder.parts for folder in folders), strict=False)
    depth = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    first = folders[0]
    return next((folder for folder in (first, *first.parents) if len(folder.parts) <= depth), first)


def _start(path: Location, tree: FileTree, *, globs: bool = True) -> tuple[Location, PurePosixPath | None]:
    """Return where a path starts, and what it matches there; see `_Start`."""
    if globs and is_glob(path) and not tree.exists(path):
        return split_glob(path)
    file = tree.file(path)
    return (path, PurePosixPath()) if file is None else (file, None)


def _normalised(path: Location) -> Location:
    """Return a path absolute and without `..`, links kept."""
    return path if isinstance(path, Url) else Path("/" + os.path.normpath(path.absolute()).lstrip("/"))


def _resolved(path: Location) -> Location:
    return path.resolve() if isinstance(path, Path) else path


@dataclass(frozen=True, slots=True)
class _Start:
    """Where one of the paths starts: a file (no pattern), a folder (an empty one), or the folder a glob starts from."""

    path: Location = field(compare=False)
    relative: PurePosixPath
    pattern: PurePosixPath | None

    @property
    def glob(self) -> Glob:
        return Glob.of(self.pattern.parts if self.pattern else ())


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder on a walk: `glob` takes images here except those that `rivals` take; `above` are the folders it lies in."""

    path: Location
    relative: PurePosixPath
    glob: Glob
    rivals: Glob
    exclude: Glob
    above: frozenset[Identity]


@dataclass(frozen=True)
class _Walk:
    """What a walk takes and leaves out.

    It leaves out `files`, and what the globs of deeper starts (`starting`) take: these are yielded on their own. Of all starts
    that match a file, the deepest reaches it if any does, because its way is part of theirs. So no start has to look whether
    another one does.
    """

    tree: FileTree
    root: Location
    endings: tuple[str, ...]
    lookalikes: tuple[str, ...]
    on_left_out: Callable[[str], None]
    exclude: Glob
    prune: frozenset[Location]
    prune_if: Callable[[Location], bool]
    on_error: Callable[[Location, OSError], None]
    files: frozenset[PurePosixPath] = frozenset()
    starting: Mapping[PurePosixPath, Glob] = field(default_factory=dict)

    def start(self, path: Location, *, globs: bool = True) -> _Start:
        path, pattern = _start(path, self.tree, globs=globs)
        whole, depth = _normalised(path), len(self.root.parts)
        if whole.parts[:depth] != self.root.parts:
            raise UsageError(
                f"{str(whole)!r} is not inside the root folder {str(self.root)!r}; "
                "name a folder that holds all images with --root"
            )
        below = whole.parts[depth:]
        return _Start(path, PurePosixPath(*(map(quoted, below) if isinstance(path, Url) else below)), pattern)

    def leaves_out(self, start: _Start) -> bool:
        """Return True if a start, or a folder on its way from the root, is excluded."""
        exclude, names = self.exclude, start.relative.parts
        for depth, name in enumerate(names, 1):
            if exclude.matches(name, folder=depth < len(names) or start.pattern is not None):
                return True
            exclude = exclude.below(name)
        return False

    def images(self, start: _Start, earlier: Glob) -> Iterator[ImageFile]:
        """Yield the images one start stands for, except those that an earlier one in the same folder takes."""
        if start.pattern is None:
            yield ImageFile(start.path, start.relative)
            return
        exclude = self.exclude
        for name in start.relative.parts:
            exclude = exclude.below(name)
        waiting = [iter([_Folder(start.path, start.relative, start.glob, earlier, exclude, frozenset())])]
        while waiting:
            folder = next(waiting[-1], None)
            if folder is None:
                waiting.pop()
                continue
            is_pruned = self.prune and _resolved(folder.path) in self.prune
            if folder.above and (is_pruned or self.prune_if(folder.path)):
                continue
            names: list[str] = []
            try:
                identity = self.tree.identity(folder.path)
                if identity in folder.above:
                    continue
                for name, path in self.tree.children(folder.path):
                    if path is None:
                        names.append(name)
                    elif self._takes(folder, name, self.endings):
                        yield ImageFile(path, folder.relative / name)
                    elif self.lookalikes and self._takes(folder, name, self.lookalikes):
                        self.on_left_out(name.rpartition(".")[2].lower())
            except OSError as error:
                is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
                if folder.above or not (start.pattern.parts and is_absent):
                    self.on_error(folder.path, error)
                continue
            waiting.append(self._below(folder, names, folder.above | {identity}))

    def _below(self, folder: _Folder, names: Sequence[str], above: frozenset[Identity]) -> Iterator[_Folder]:
        for name in sorted(names, key=os.fsencode):
            glob, relative = folder.glob.below(name), folder.relative / name
            rivals = folder.rivals.below(name) | self.starting.get(relative, Glob())
            rivals_take_all = glob.rests <= rivals.rests
            if not rivals_take_all and not folder.exclude.matches(name, folder=True):
                yield _Folder(folder.path / name, relative, glob, rivals, folder.exclude.below(name), above)

    def _takes(self, folder: _Folder, name: str, endings: tuple[str, ...]) -> bool:
        """Return True if a walk that takes files with these endings takes the file, and nothing else of the walk does."""
        walked = not name.startswith(".") and name.lower().endswith(endings)
        return (
            ((walked and folder.glob.whole) or folder.glob.matches(name))
            and not folder.exclude.matches(name)
            and not ((walked and folder.rivals.whole) or folder.rivals.matches(name))
            and not (self.files and folder.relative / name in self.files)
        )
