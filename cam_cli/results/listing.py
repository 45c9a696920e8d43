"""What lies in a folder of an object store, told by one listing and held in a few bytes an object."""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cam_cli.results.index import hash64
from cam_cli.storage.location import Stat


class Listing:
    """Answers questions about objects by their keys: which ones there are, and what their stamps are.

    It holds 64-bit hashes: 8 bytes an object, 8 a folder, and 16 more for each object of the `stamped` name, which has a stamp.
    """

    def __init__(self, objects: Iterable[tuple[str, Stat]], stamped: str) -> None:
        keys, folders, with_stamp, stamps = array("Q"), array("Q"), array("Q"), array("Q")
        last = None
        for key, stat in objects:
            hashed = hash64(key)
            keys.append(hashed)
            folder, _, name = key.rpartition("/")
            if folder != last:
                folders.append(hash64(folder))
                last = folder
            if name == stamped:
                with_stamp.append(hashed)
                stamps.append(hash64(stat.tag))
        self._keys = np.sort(np.array(keys, np.uint64))
        self._folders = np.unique(np.array(folders, np.uint64))
        order = np.argsort(np.array(with_stamp, np.uint64))
        self._with_stamp = np.array(with_stamp, np.uint64)[order]
        self._stamps = np.array(stamps, np.uint64)[order]

    def has(self, key: str) -> bool:
        """Return True if there is an object of this key."""
        return _find(self._keys, key) is not None

    def occupied(self, folder: str) -> bool:
        """Return True if any object lies directly in a folder."""
        return _find(self._folders, folder) is not None

    def stamp(self, key: str) -> str | None:
        """Return the stamp of an object of the stamped name; None if there is none."""
        at = _find(self._with_stamp, key)
        return None if at is None else f"{int(self._stamps[at]):016x}"


def stamp_of(tag: str) -> str:
    """Return the stamp of an object with this tag: 16 hexadecimal digits."""
    return f"{hash64(tag):016x}"


def _find(ordered: NDArray[np.uint64], text: str) -> int | None:
    wanted = np.uint64(hash64(text))
    at = int(ordered.searchsorted(wanted))
    return at if at < len(ordered) and ordered[at] == wanted else None
