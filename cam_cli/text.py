"""Text from outside: made harmless for a terminal and for a spreadsheet, and compared with known words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def escaped(text: str) -> str:
    """Return text with control characters made visible, so that no file name can steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def near(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean '...'?)` for the known word nearest to `word`, or nothing if none is near."""
    matches = get_close_matches(word, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def cell(value: object) -> str:
    """Return a value as a cell of CSV: text that a spreadsheet would take for a formula gets an apostrophe in front of it."""
    text = escaped(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
