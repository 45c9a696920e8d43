"""How large a picture is drawn."""


def picture_size(width: int, height: int, longest: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Return width and height of an image, shrunk (or, with `enlarge`, also enlarged) to a longest side of `longest` pixels."""
    scale = longest / max(width, height)
    if not enlarge:
        scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))
