"""Where a run looks for images: what the person named, resolved and checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.errors import NoImagesError, SmoothcamError, UsageError
from cam_cli.images.find import ImageFile, common_root, find_images
from cam_cli.images.formats import IMAGE_EXTENSIONS
from cam_cli.images.globs import is_glob
from cam_cli.images.lists import listed
from cam_cli.images.tree import FileTree, LocalTree, StoreTree
from cam_cli.results.store import run_folders_in
from cam_cli.storage.location import Location, Url
from cam_cli.storage.store import Store
from cam_cli.text import printable

STDIN = Path("-")


@dataclass(frozen=True)
class Discovery:
    """Paths and lists of paths, and what is taken from the folders among them.

    root: absolute; images are named relative to it. lists, nul_lists: files of paths, one a line or NUL-separated; `-` is
    stdin.
    """

    paths: tuple[Location, ...]
    lists: tuple[Path, ...]
    nul_lists: tuple[Path, ...]
    root: Location
    tree: FileTree
    extensions: Collection[str]
    exclude: tuple[str, ...]
    output: Location

    @property
    def repeatable(self) -> bool:
        """Whether `images` can be asked for twice: stdin and pipes give what they hold to one reader only, and a store is asked
        about each object on a list.
        """
        if isinstance(self.root, Url) and (self.lists or self.nul_lists):
            return False
        return all(source != STDIN and source.is_file() for source in (*self.lists, *self.nul_lists))

    def images(self, on_error: Callable[[Location, OSError], None]) -> Iterator[ImageFile]:
        """Yield the images, each folder's as it is reached.

        Args:
            on_error: called with each folder that cannot be listed.

        Raises:
            UsageError: a path outside the root, or a list that cannot be read.
        """
        return find_images(
            self.paths,
            self.root,
            tree=self.tree,
            lists=chain(
                chain.from_iterable(listed(source, nul=False) for source in self.lists),
                chain.from_iterable(listed(source, nul=True) for source in self.nul_lists),
            ),
            extensions=self.extensions,
            exclude=self.exclude,
            prune=(self.output,),
            prune_if=run_folders_in(self.tree),
            on_error=on_error,
        )

    def some_images(self, on_error: Callable[[Location, OSError], None]) -> Iterator[ImageFile]:
        """Yield the images as `images` does, but look for the first at once: an empty folder should not cost a model's loading.

        Raises:
            NoImagesError: there is none, and no folder that could not be listed either.
        """
        trouble = False

        def noticed(path: Location, error: OSError) -> None:
            nonlocal trouble
            trouble = True
            on_error(path, error)

        images = self.images(noticed)
        first = next(images, None)
        if first is None and not trouble:
            named = ", ".join(f"'{printable(path)}'" for path in (*self.paths, *self.lists, *self.nul_lists))
            raise NoImagesError(f"no images in {named} (looking for {', '.join(sorted(self.extensions))} files)")
        return chain([first] if first else [], images)


def discovery_for(paths: Sequence[Location], config: RunConfig) -> Discovery:
    """Decide where to look.

    The root is the one asked for; else for paths the deepest folder that holds them, and for lists the working directory, so
    that an image is named the same whatever else is on tonight's list.

    Raises:
        UsageError: nothing is named, a path that does not exist, or paths that no run can have together. SmoothcamError: a
            store cannot be asked.
    """
    lists, nul_lists = tuple(config.files_from), tuple(config.files_from0)
    if not (paths or lists or nul_lists):
        raise UsageError("no image or folder is given; name at least one, or a list of them with --files-from")
    tree = _tree_of([*paths, *([config.root] if config.root else ())])
    for path in paths:
        if not is_glob(path) and not _is_there(path, tree):
            raise UsageError(f"no such file or folder: '{printable(path)}'")
    root = config.root or (Path.cwd() if lists or nul_lists else common_root(paths, tree))
    if tree.file(root) is not None:
        raise UsageError(f"root '{printable(root)}' is no folder; name one that holds all images")
    return Discovery(
        paths=tuple(paths),
        lists=lists,
        nul_lists=nul_lists,
        root=Path(os.path.normpath(root.absolute())) if isinstance(root, Path) else root,
        tree=tree,
        extensions=frozenset(config.ext) if config.ext else IMAGE_EXTENSIONS,
        exclude=tuple(config.exclude),
        output=config.output,
    )


def _tree_of(locations: Sequence[Location]) -> FileTree:
    """Return the tree that holds all locations.

    Raises:
        UsageError: some are in a store and others are not, or what talks to the store is not installed.
    """
    protocols = {location.protocol if isinstance(location, Url) else None for location in locations}
    if len(protocols) > 1:
        raise UsageError("images in an object store and images on this machine, or in another store, need a run each")
    protocol = next(iter(protocols), None)
    return LocalTree() if protocol is None else StoreTree(Store(protocol))


def _is_there(path: Location, tree: FileTree) -> bool:
    try:
        return tree.exists(path)
    except OSError as error:
        raise SmoothcamError(
            f"'{printable(path)}' cannot be looked for: {error.strerror}; correct that, and run again"
        ) from error
