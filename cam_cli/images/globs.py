"""Globs by the shell's rules, matched name by name on the way down a tree."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath, PurePosixPath

from cam_cli.errors import UsageError
from cam_cli.storage.location import Location, Url

_BRACKET = r"\[[!^]?+.[^\]]*\]"
_WILDCARD = re.compile(rf"[*?]|{_BRACKET}", re.DOTALL)
_OPENING = re.compile(rf"{_BRACKET}|\[", re.DOTALL)
_ANY_FOLDERS = "**"


def is_glob(path: PurePath | Url) -> bool:
    """Say whether a path holds a wildcard: `*`, `?` or a closed `[...]`."""
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
    """What one part of a glob says of a name; one that stands for any number of folders repeats."""

    takes: Callable[[str], object]
    repeats: bool


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob as seen from one folder.

    parts: the whole glob. reached: the parts that names in this folder are held against; `len(parts)` says that the folder, or
    one it lies in, is matched itself.
    """

    parts: tuple[_Part, ...]
    reached: frozenset[int]

    @classmethod
    def of(cls, names: Sequence[str], *, hidden: bool = False) -> Glob:
        """Return a glob as seen from the folder it starts in; without names it matches that folder.

        Args:
            names: the glob, part by part: `*`, `?` and `[...]` stay within a name, `**` alone stands for any number of folders.
            hidden: whether wildcards match a dot at the start of a name.
        """
        parts = tuple(_Part(_matcher(name, hidden), name == _ANY_FOLDERS) for name in names)
        return cls(parts, _passed(parts, {0}))

    @property
    def whole(self) -> bool:
        """Whether this folder, or one it lies in, is matched, so that a walk takes the images in it."""
        return len(self.parts) in self.reached

    @property
    def spent(self) -> bool:
        """Whether nothing but such a walk is left to do in this folder."""
        return len(self.reached) == 1 and self.whole

    def matches(self, name: str) -> bool:
        """Say whether the glob, to its end, matches something of that name in this folder."""
        last = len(self.parts) - 1
        return last in self.reached and bool(self.parts[last].takes(name))

    def below(self, name: str) -> Glob | None:
        """Return the glob as seen from a folder in this one; None if it takes nothing there."""
        if self.spent:
            return None if name.startswith(".") else self
        reached: set[int] = set()
        for i in self.reached:
            if i == len(self.parts):
                if not name.startswith("."):
                    reached.add(i)
            elif self.parts[i].takes(name):
                reached.add(i if self.parts[i].repeats else i + 1)
        return replace(self, reached=_passed(self.parts, reached)) if reached else None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is left out, as seen from one folder; each rule is a glob, and whether it speaks of folders alone."""

    rules: tuple[tuple[Glob, bool], ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Exclusion:
        """Return what the patterns leave out, as seen from the root.

        Args:
            patterns: globs like gitignore's: without a slash of any name, with one of the path relative to the root; with a
                slash at the end of folders alone. Wildcards match a leading dot too.
        """
        rules = []
        for pattern in patterns:
            path = pattern.rstrip("/")
            names = PurePosixPath(path.lstrip("/")).parts
            if names:
                anywhere = () if "/" in path else (_ANY_FOLDERS,)
                rules.append((Glob.of((*anywhere, *names), hidden=True), path != pattern))
        return cls(tuple(rules))

    def covers(self, name: str, *, folder: bool) -> bool:
        """Say whether something of that name in this folder is left out."""
        return any(glob.matches(name) and (folder or not folders_alone) for glob, folders_alone in self.rules)

    def covers_path(self, path: PurePosixPath, *, folder: bool) -> bool:
        """Say whether a path from this folder, or a folder on its way, is left out."""
        here = self
        for name in path.parts[:-1]:
            if here.covers(name, folder=True):
                return True
            here = here.below(name)
        return bool(path.name) and here.covers(path.name, folder=folder)

    def below(self, *names: str) -> Exclusion:
        """Return what is left out as seen from a folder in this one."""
        rules = self.rules
        for name in names:
            steps = ((glob.below(name), folders_alone) for glob, folders_alone in rules)
            rules = tuple((glob, folders_alone) for glob, folders_alone in steps if glob)
        return Exclusion(rules) if rules else _NOTHING


_NOTHING = Exclusion(())


def _matcher(part: str, hidden: bool) -> Callable[[str], object]:
    pattern = fnmatch.translate(_OPENING.sub(_for_fnmatch, part))
    return re.compile(pattern if hidden or part.startswith(".") else r"(?!\.)" + pattern).match


def _for_fnmatch(opening: re.Match[str]) -> str:
    """Return a bracket as fnmatch understands it: `[!a]` for `[^a]`, and `[[]` for one that is never closed."""
    text = opening.group()
    if text == "[":
        return "[[]"
    return "[!" + text[2:] if text.startswith("[^") else text


def _passed(parts: tuple[_Part, ...], reached: set[int]) -> frozenset[int]:
    """Return the places reached once parts that stand for no folder at all are passed over too."""
    found = set(reached)
    for i, part in enumerate(parts):
        if i in found and part.repeats:
            found.add(i + 1)
    return frozenset(found)
