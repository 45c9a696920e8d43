"""Text from outside, made harmless for a terminal."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return text with control characters made visible, so that no file name can steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
