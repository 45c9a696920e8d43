"""Short texts cut or shrunk to fit a picture."""

from bisect import bisect_right

from PIL import ImageFont

PAPER = (24, 24, 26)
INK = (226, 226, 226)
SMALLEST = 8
_LONGEST = 400


def font(size: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font at `size` pixels."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


def one_line(text: str) -> str:
    """Return `text` as one line that any font can be asked to draw: odd characters become `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))[:_LONGEST]


def cut(text: str, width: float, face: ImageFont.FreeTypeFont) -> str:
    """Return `text` in one line no wider than `width` pixels, with an ellipsis if cut; empty if none fits."""
    line = one_line(text)
    if face.getlength(line) <= width:
        return line
    lengths = range(1, len(line))
    fits = bisect_right(lengths, width, key=lambda length: face.getlength(line[:length].rstrip() + "..."))
    return line[:fits].rstrip() + "..." if fits else ""


def fitted(text: str, width: float, largest: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return `text` and the largest font up to `largest` pixels that fits it in `width`.

    Text that would be smaller than `SMALLEST` is cut to `width` instead; it is empty if `largest` is under that.
    """
    if largest < SMALLEST:
        return "", font(SMALLEST)
    line = one_line(text)
    whole = font(largest).getlength(line)
    size = largest if whole <= width else int(largest * width / whole)
    if size >= SMALLEST:
        return line, font(size)
    return cut(line, width, font(SMALLEST)), font(SMALLEST)
