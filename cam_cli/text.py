"""Text from outside, made harmless for a terminal and for a spreadsheet."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return text with control characters made visible, so that no file name can steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(value: object) -> str:
    """Return a value as a cell of CSV: text that a spreadsheet would take for a formula gets an apostrophe in front of it."""
    text = escaped(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
