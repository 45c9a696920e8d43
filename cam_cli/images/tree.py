"""What a walk asks of the tree it walks in: folders of this machine, or those that the keys of a store make up."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cam_cli.images.globs import is_glob
from cam_cli.storage.location import Location, Stat, Url, quoted
from cam_cli.storage.store import Store

Identity = tuple[int, int]


class LocalTree:
    """Folders of this machine."""

    def exists(self, path: Any) -> bool:
        """Return True if there is a file or folder, or a link to nothing."""
        return os.path.lexists(path)

    def file(self, path: Any) -> Location | None:
        """Return a path that is no folder, with what is known of it; None for a folder."""
        return None if _is_folder(path) else path

    def identity(self, folder: Any) -> Identity:
        """Return what tells a folder from all others, whatever path leads to it; raises OSError if there is no such folder."""
        status = folder.stat()
        return status.st_dev, status.st_ino

    def children(self, folder: Any) -> Iterator[tuple[str, Location | None]]:
        """Return the names in a folder and the path of each file, None for a subfolder; the files are sorted bytewise.

        Raises OSError if the folder cannot be listed.
        """
        with os.scandir(folder) as entries:
            found = sorted(
                ((entry.name, _is_folder(entry)) for entry in entries), key=lambda each: os.fsencode(each[0])
            )
        return ((name, None if is_folder else folder / name) for name, is_folder in found)


class StoreTree:
    """What the keys of a store make up, each part by its `quoted` name. Listed page by page, as it is walked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[Url, Stat | None] = {}

    def exists(self, path: Any) -> bool:
        """Return True if there is an object or a folder, and keep the answer for `file`; raises OSError if it is not told."""
        try:
            self._known[path] = self.store.stat(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            if is_glob(path):  # listing the folder that it starts from will tell
                return False
            if not isinstance(error, PermissionError) or "." not in path.name:  # reading an image will tell
                raise
        return True

    def file(self, path: Any) -> Location | None:
        """See `LocalTree`. Where the store does not tell, a name with an ending is a file, so that reading it tells why."""
        try:
            stat = self._known[path] if path in self._known else self.store.stat(path)
        except OSError as error:
            url: Url = path
            return url if isinstance(error, FileNotFoundError) or "." in url.name else None
        return None if stat is None else replace(path, stat=stat)

    def identity(self, folder: Any) -> Identity:
        """See `LocalTree`. There are no links, so a folder never lies in itself."""
        return -1, len(folder.prefix)

    def children(self, folder: Any) -> Iterator[tuple[str, Location | None]]:
        """See `LocalTree`. The object with an empty name, which marks an empty folder, is left out."""
        for entry in self.store.children(folder):
            if entry.stat is None or entry.name:
                yield quoted(entry.name), None if entry.stat is None else folder.child(entry.name, entry.stat)


FileTree = LocalTree | StoreTree


def _is_folder(entry: Path | os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):
        return False
