"""Where a run looks for images: what the person named, resolved and checked before anything is started."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from itertools import chain, islice
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.errors import NoImagesError, SmoothcamError, UsageError
from cam_cli.images.find import ImageFile, common_root, find_images
from cam_cli.images.formats import endings_left_out, endings_read, left_out_text
from cam_cli.images.globs import is_glob
from cam_cli.images.lists import listed
from cam_cli.images.tree import FileTree, LocalTree, StoreTree
from cam_cli.results.store import is_run_folder
from cam_cli.storage.location import Location, Url
from cam_cli.storage.store import Store
from cam_cli.text import near, printable

STDIN = Path("-")


@dataclass(frozen=True)
class Discovery:
    """The paths and lists of paths that a run was given; `root` is absolute, `-` among the lists is stdin."""

    paths: tuple[Location, ...]
    lists: tuple[Path, ...]
    config: RunConfig
    root: Location
    tree: FileTree

    @property
    def extensions(self) -> Collection[str]:
        """Endings of the files that are taken from folders."""
        return self.config.ext or endings_read()

    @property
    def repeatable(self) -> bool:
        """Whether `images` can be asked for twice: stdin and pipes give what they hold to one reader only, and a store is asked
        about each object on a list.
        """
        if isinstance(self.root, Url) and self.lists:
            return False
        return all(source != STDIN and source.is_file() for source in self.lists)

    def images(
        self, on_error: Callable[[Location, OSError], None], on_left_out: Callable[[str], None] = lambda _: None
    ) -> Iterator[ImageFile]:
        """Yield the images, each folder's as it is reached; with `limit` or `sample` only as many.

        Args:
            on_error: called with each folder that cannot be listed.
            on_left_out: called with the ending of each file that looks like an image and is left out of a folder, unless the
                user has said which endings to take.

        Raises:
            UsageError: a path outside the root, or a list that cannot be read.
        """
        images = find_images(
            self.paths,
            self.root,
            tree=self.tree,
            lists=chain(
                *(listed(source, nul=False) for source in self.config.files_from),
                *(listed(source, nul=True) for source in self.config.files_from0),
            ),
            extensions=self.extensions,
            exclude=self.config.exclude,
            prune=(self.config.output,),
            prune_if=partial(is_run_folder, self.tree),
            on_error=on_error,
            lookalikes=() if self.config.ext else endings_left_out(),
            on_left_out=on_left_out,
        )
        if self.config.sample is not None:
            return iter(sampled(images, self.config.sample, self.config.seed))
        return islice(images, self.config.limit)

    def some_images(self, on_error: Callable[[Location, OSError], None], left_out: Counter[str]) -> Iterator[ImageFile]:
        """Yield the images as `images` does, but look for the first at once: an empty folder should not cost a model's loading.

        Args:
            on_error: as for `images`.
            left_out: gets the number of files that look like images and are left out, by ending, as the images are yielded.

        Raises:
            NoImagesError: there is none, and no folder that could not be listed either.
        """
        trouble = False

        def noticed(path: Location, error: OSError) -> None:
            nonlocal trouble
            trouble = True
            on_error(path, error)

        def note(ending: str) -> None:
            left_out[ending] += 1

        images = self.images(noticed, note)
        first = next(images, None)
        if first is None and not trouble:
            named = ", ".join(f"'{printable(path)}'" for path in (*self.paths, *self.lists))
            besides = f"; {left_out_text(left_out)}" if left_out else ""
            raise NoImagesError(
                f"no images in {named} (looking for {', '.join(sorted(self.extensions))} files){besides}"
            )
        return chain([first] if first else [], images)


def sampled(images: Iterable[ImageFile], count: int, seed: int) -> list[ImageFile]:
    """Choose `count` of the images by chance, in the order they come.

    The choice depends on the seed and on each image's path alone, so that most stay when others are added.
    """

    def rank(numbered: tuple[int, ImageFile]) -> bytes:
        return hashlib.sha256(f"{seed}\n{printable(numbered[1].relative)}".encode()).digest()

    return [image for _, image in sorted(nsmallest(count, enumerate(images), rank))]


def discovery_for(paths: Sequence[Location], config: RunConfig) -> Discovery:
    """Decide where to look.

    The root is the one asked for; else for paths the deepest folder that holds them, and for lists the working directory, so
    that an image is named the same whatever else is on tonight's list.

    Raises UsageError if nothing is named, a path does not exist, or no run can have the paths together, and SmoothcamError if a
    store cannot be asked.
    """
    lists = (*config.files_from, *config.files_from0)
    if not (paths or lists):
        raise UsageError("no image or folder is given; name at least one, or a list of them with --files-from")
    tree = _tree_of([*paths, *([config.root] if config.root else ())])
    for path in paths:
        if not is_glob(path) and not _is_there(path, tree):
            hint = near(path.name, _beside(path)) if isinstance(path, Path) else ""
            raise UsageError(f"no such file or folder: '{printable(path)}'{hint}")
    root = config.root or (Path.cwd() if lists else common_root(paths, tree))
    if tree.file(root) is not None:
        raise UsageError(f"root '{printable(root)}' is no folder; name one that holds all images")
    if isinstance(root, Path):
        root = Path(os.path.normpath(root.absolute()))
    return Discovery(tuple(paths), lists, config, root, tree)


def _beside(path: Path) -> list[str]:
    """Return the names in the folder of a path that is not there."""
    with suppress(OSError):
        return [printable(beside.name) for beside in path.parent.iterdir()]
    return []


def _tree_of(locations: Sequence[Location]) -> FileTree:
    protocols = {location.protocol if isinstance(location, Url) else None for location in locations}
    if len(protocols) > 1:
        raise UsageError("images in an object store and images on this machine, or in another store, need a run each")
    protocol = next(iter(protocols), None)
    return LocalTree() if protocol is None else StoreTree(Store(protocol))


def _is_there(path: Location, tree: FileTree) -> bool:
    try:
        return tree.exists(path)
    except OSError as error:
        message = f"'{printable(path)}' cannot be looked for: {error.strerror}; correct that, and run again"
        raise SmoothcamError(message) from error
