"""Globs by the shell's rules, matched name by name on the way down a tree.

`pathspec` and `wcmatch` match whole paths and cannot tell whether anything below a folder may still match. With them a walk
would list folders that cannot matter. `pathspec` also gives `!`, `#`, `\\` and spaces at the end of a name a meaning of their
own and fails on `[b-a]`. The walk of `wcmatch` is unsorted and knows this machine's file system alone.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from cam_cli.errors import UsageError
from cam_cli.storage.location import Location, Url

_BRACKET = r"\[[!^]?+.[^\]]*\]"
_WILDCARD = re.compile(rf"[*?]|{_BRACKET}", re.DOTALL)
_OPENING = re.compile(rf"{_BRACKET}|\[", re.DOTALL)
_ANY_FOLDERS = "**"


def is_glob(path: PurePath | Url) -> bool:
    """Return True if a path holds a wildcard: `*`, `?` or a closed `[...]`."""
    return any(_WILDCARD.search(part) for part in path.parts)


def split_glob(path: Location) -> tuple[Location, PurePosixPath]:
    """Return the folder a glob starts from, which holds no wildcard, and the pattern of what it matches there.

    Raises:
        UsageError: `..` after a wildcard, or a wildcard in the name of a bucket.
    """
    parts = path.parts
    start = next(i for i, part in enumerate(parts) if _WILDCARD.search(part))
    if ".." in parts[start:]:
        raise UsageError(f"{str(path)!r} goes up with '..' after a wildcard; write the folder it starts from without")
    if start == 0 and isinstance(path, Url):
        raise UsageError(f"'{path}' has a wildcard in the name of its bucket; name each bucket")
    return path.parents[len(parts) - start - 1], PurePosixPath(*parts[start:])


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a glob. `**` repeats: it stands for any number of folders."""

    match: Callable[[str], object]
    repeats: bool
    only_folders: bool


@dataclass(frozen=True, slots=True)
class Glob:
    """One or several globs as seen from one folder: what is still to be matched below it.

    rests: the parts that are left of each glob. None are left once the folder itself, or one it lies in, is matched.
    """

    rests: frozenset[tuple[_Part, ...]] = frozenset()

    @classmethod
    def of(cls, names: Sequence[str], *, hidden: bool = False, only_folders: bool = False) -> Glob:
        """Return a glob as seen from the folder it starts in. Without names it matches that folder.

        Args:
            names: the glob, part by part. `*`, `?` and `[...]` stay within a name, `**` stands for any number of folders.
            hidden: whether wildcards match a dot at the start of a name.
            only_folders: whether it matches folders alone.
        """
        return cls(
            _opened({tuple(_Part(_matcher(name, hidden), name == _ANY_FOLDERS, only_folders) for name in names)})
        )

    def __or__(self, other: Glob) -> Glob:
        return Glob(self.rests | other.rests)

    @property
    def whole(self) -> bool:
        """Whether this folder, or one it lies in, is matched, so that a walk takes the images in it."""
        return () in self.rests

    def matches(self, name: str, *, folder: bool = False) -> bool:
        """Return True if a glob, to its end, matches a file (or folder) of that name in this folder."""
        for rest in self.rests:  # noqa: SIM110 - asked for every name there is, and `any` takes longer
            if len(rest) == 1 and rest[0].match(name) and (folder or not rest[0].only_folders):
                return True
        return False

    def below(self, name: str) -> Glob:
        """Return the globs as seen from a folder in this one, without those that match nothing there."""
        rests = {rest if rest[0].repeats else rest[1:] for rest in self.rests if rest and rest[0].match(name)}
        if self.whole and not name.startswith("."):
            rests.add(())
        return Glob(_opened(rests))


def exclusion(patterns: Sequence[str]) -> Glob:
    """Return what the patterns leave out, as seen from the root.

    Args:
        patterns: globs like gitignore's. Without a slash, of any name. With one, of the path relative to the root. With a slash
            at the end, of folders alone. Wildcards match a leading dot too.
    """
    excluded = Glob()
    for pattern in patterns:
        path = pattern.rstrip("/")
        if names := PurePosixPath(path.lstrip("/")).parts:
            anywhere = () if "/" in path else (_ANY_FOLDERS,)
            excluded |= Glob.of((*anywhere, *names), hidden=True, only_folders=path != pattern)
    return excluded


def _matcher(part: str, hidden: bool) -> Callable[[str], object]:
    def for_fnmatch(opening: re.Match[str]) -> str:
        """Return a bracket as fnmatch understands it: `[!a]` for `[^a]`, and `[[]` for one that is never closed."""
        return "[[]" if opening[0] == "[" else re.sub(r"^\[\^", "[!", opening[0])

    pattern = fnmatch.translate(_OPENING.sub(for_fnmatch, part))
    return re.compile(pattern if hidden or part.startswith(".") else r"(?!\.)" + pattern).match


def _opened(rests: set[tuple[_Part, ...]]) -> frozenset[tuple[_Part, ...]]:
    """Return the rests, and those that are left where `**` stands for no folder at all."""
    found = set(rests)
    for rest in rests:
        while rest and rest[0].repeats:
            rest = rest[1:]
            found.add(rest)
    return frozenset(found)
