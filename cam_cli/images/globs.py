"""Shell patterns for paths: `*`, `?` and `[...]` within a name, `**` for any number of folders."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cached_property
from pathlib import Path, PurePosixPath

_MAGIC = re.compile(r"[*?]|\[[^/]+\]")
_ANY_FOLDERS = "**"


def is_glob(path: Path) -> bool:
    """Say whether a path holds wildcards."""
    return bool(_MAGIC.search(str(path)))


class Glob:
    """A pattern for relative POSIX paths.

    `*`, `?` and `[...]` match within one name and no leading dot; `**` as a whole name matches any number of folders that are not
    hidden.
    """

    def __init__(self, pattern: PurePosixPath) -> None:
        self._parts = [None if part == _ANY_FOLDERS else _name(part) for part in pattern.parts]

    def matches(self, parts: tuple[str, ...]) -> bool:
        """Say whether the pattern matches a path, given as its names."""
        return len(self._parts) in self._reached(parts)

    def may_match_below(self, parts: tuple[str, ...]) -> bool:
        """Say whether the pattern could match something inside a folder, given as its names."""
        return any(at < len(self._parts) for at in self._reached(parts))

    def _reached(self, parts: tuple[str, ...]) -> set[int]:
        """Return how many names of the pattern can have been used up by `parts`."""
        reached = self._past_any_folders({0})
        for part in parts:
            step = set()
            for at in reached:
                if at < len(self._parts):
                    name = self._parts[at]
                    if name is None and not part.startswith("."):
                        step.add(at)
                    elif name is not None and name.fullmatch(part):
                        step.add(at + 1)
            reached = self._past_any_folders(step)
        return reached

    def _past_any_folders(self, reached: set[int]) -> set[int]:
        found = set(reached)
        for at in sorted(reached):
            end = at
            while end < len(self._parts) and self._parts[end] is None:
                end += 1
                found.add(end)
        return found


class Exclusions:
    """Patterns of what is left out: one without a slash matches any name, one with a slash the path relative to the root."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._names = [_name(p.rstrip("/"), hidden=True) for p in patterns if "/" not in p.rstrip("/")]
        self._paths = [Glob(PurePosixPath(p.strip("/"))) for p in patterns if "/" in p.rstrip("/")]

    @cached_property
    def empty(self) -> bool:
        """Whether nothing is left out."""
        return not (self._names or self._paths)

    def cover(self, relative: PurePosixPath) -> bool:
        """Say whether a file or folder, or a folder it lies in, is left out."""
        if self.empty:
            return False
        parts = relative.parts
        if any(name.fullmatch(part) for name in self._names for part in parts):
            return True
        return any(glob.matches(parts[:depth]) for glob in self._paths for depth in range(1, len(parts) + 1))


def split_glob(path: Path) -> tuple[Path, PurePosixPath]:
    """Return the folder that a glob starts from, which holds no wildcards, and the pattern for what lies in it."""
    parts = path.parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:fixed]), PurePosixPath(*parts[fixed:])


def _name(pattern: str, *, hidden: bool = False) -> re.Pattern[str]:
    visible = "" if hidden or pattern.startswith(".") else r"(?!\.)"
    return re.compile(visible + translate(pattern), re.DOTALL)
