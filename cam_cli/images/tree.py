"""What a walk asks of the place it walks in: folders of this machine, or those that the keys of a store make up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cam_cli.images.globs import is_glob
from cam_cli.storage.location import Location, Stat, Url, escaped
from cam_cli.storage.store import Store

Identity = tuple[int, int]


class Tree(Protocol):
    """Folders and files, by the places that a person or a walk names."""

    def exists(self, place: Any) -> bool:
        """Say whether there is a file or folder, or a link to nothing.

        Raises:
            OSError: that cannot be told.
        """

    def file(self, place: Any) -> Location | None:
        """Return a place that is no folder, with what is known of it; None for a folder."""

    def absolute(self, place: Any) -> str:
        """Return the one text by which a place is known, that of its folder and a slash being the beginning of its own."""

    def identity(self, folder: Any) -> Identity:
        """Return what no other folder has in common with this one, by whatever way it is reached.

        Raises:
            OSError: there is no such folder.
        """

    def files(self, folder: Any, takes: Callable[[str], bool], folders: list[str]) -> Iterator[tuple[str, Location]]:
        """Yield the files whose names are taken, by those names, sorted bytewise; add those of the subfolders to `folders`.

        The subfolders are known once all files are.

        Raises:
            OSError: the folder cannot be listed.
        """


class LocalTree:
    """Folders of this machine."""

    def exists(self, place: Path) -> bool:
        """See `Tree`."""
        return os.path.lexists(place)

    def file(self, place: Path) -> Path | None:
        """See `Tree`."""
        return None if _is_folder(place) else place

    def absolute(self, place: Path) -> str:
        """See `Tree`."""
        return "/" + os.path.normpath(place.absolute()).lstrip("/")

    def identity(self, folder: Path) -> Identity:
        """See `Tree`."""
        status = folder.stat()
        return status.st_dev, status.st_ino

    def files(self, folder: Path, takes: Callable[[str], bool], folders: list[str]) -> Iterator[tuple[str, Path]]:
        """See `Tree`."""
        files: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append(entry.name)
                elif takes(entry.name):
                    files.append(entry.name)
        folders.sort(key=os.fsencode)
        files.sort(key=os.fsencode)
        return ((name, folder / name) for name in files)


class StoreTree:
    """What the keys of a store make up; the parts of keys have their `escaped` names. Asked in pages, as it is walked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._named: dict[Url, Stat | None] = {}

    def exists(self, place: Url) -> bool:
        """See `Tree`; the answer for what a person named is kept."""
        try:
            self._named[place] = self.store.stat(place)
        except FileNotFoundError:
            return False
        except OSError as error:
            if is_glob(place):  # the folder that it starts from will tell
                return False
            if not isinstance(error, PermissionError) or "." not in place.name:  # of a photo, reading it will
                raise
        return True

    def file(self, place: Url) -> Url | None:
        """See `Tree`; what cannot be asked about is an object if it has an ending, so that reading it tells why."""
        try:
            stat = self._named[place] if place in self._named else self.store.stat(place)
        except FileNotFoundError:
            return place
        except OSError:
            return place if "." in place.name else None
        return None if stat is None else replace(place, stat=stat)

    def absolute(self, place: Url) -> str:
        """See `Tree`."""
        return str(place)

    def identity(self, folder: Url) -> Identity:
        """See `Tree`; there are no links, so that a folder never lies in itself."""
        return -1, len(folder.prefix)

    def files(self, folder: Url, takes: Callable[[str], bool], folders: list[str]) -> Iterator[tuple[str, Url]]:
        """See `Tree`; what a store keeps in place of an empty folder is no file."""
        for entry in self.store.children(folder):
            name = escaped(entry.name)
            if entry.stat is None:
                folders.append(name)
            elif entry.name and takes(name):
                yield name, folder.child(entry.name, entry.stat)
        folders.sort(key=os.fsencode)


def _is_folder(entry: Path | os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):
        return False
