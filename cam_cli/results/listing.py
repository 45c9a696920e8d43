"""What lies below a place of a store, told by one listing and held in a few bytes an object."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cam_cli.storage.location import Stat


class Survey:
    """Answers for objects by their keys: which are there, what stamps their tags amount to, and where anything lies at all.

    Held are 64-bit hashes: 8 bytes an object, 16 more for those of the stamped name, 8 for each folder.

    Args:
        objects: keys and what the store says of each. stamped: the name of the objects whose stamps will be asked for.
    """

    def __init__(self, objects: Iterable[tuple[str, Stat]], stamped: str) -> None:
        keys, folders, marked, stamps = array("Q"), array("Q"), array("Q"), array("Q")
        last = None
        for key, stat in objects:
            hashed = _hash(key)
            keys.append(hashed)
            folder, _, name = key.rpartition("/")
            if folder != last:
                folders.append(_hash(folder))
                last = folder
            if name == stamped:
                marked.append(hashed)
                stamps.append(_hash(stat.tag))
        self._keys = np.sort(np.array(keys, np.uint64))
        self._folders = np.unique(np.array(folders, np.uint64))
        order = np.argsort(np.array(marked, np.uint64))
        self._marked = np.array(marked, np.uint64)[order]
        self._stamps = np.array(stamps, np.uint64)[order]

    def has(self, key: str) -> bool:
        """Say whether there is an object of this key."""
        return _at(self._keys, key) is not None

    def occupied(self, folder: str) -> bool:
        """Say whether any object lies directly in a folder."""
        return _at(self._folders, folder) is not None

    def stamp(self, key: str) -> str | None:
        """Return the stamp of an object of the stamped name; None where there is none."""
        at = _at(self._marked, key)
        return None if at is None else _shown(int(self._stamps[at]))


def stamp_of(tag: str) -> str:
    """Return the stamp that a tag amounts to: 16 hexadecimal digits."""
    return _shown(_hash(tag))


def _at(ordered: NDArray[np.uint64], text: str) -> int | None:
    wanted = np.uint64(_hash(text))
    at = int(ordered.searchsorted(wanted))
    return at if at < len(ordered) and ordered[at] == wanted else None


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _shown(value: int) -> str:
    return f"{value:016x}"
