"""How large a picture is drawn."""

from __future__ import annotations


def picture_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Return width and height of a photo's pictures: its own, shrunk so that no side exceeds `longest`."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
