"""Many pictures side by side on one sheet, with captions."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from cam_cli.render.size import picture_size
from cam_cli.render.text import INK, PAPER, cut, fitted, font

_EMPTY = (36, 36, 39)
_HEADING = (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """One cell of a sheet: a picture, or an empty frame, and the line under it."""

    image: Image.Image | None
    caption: str


def contact_sheet(rows: Sequence[Sequence[Cell]], titles: Sequence[str] | None = None, cell: int = 256) -> Image.Image:
    """Arrange pictures in a grid with captions; a row is as high as its highest picture.

    Args:
        rows: the cells, at least one; rows may differ in length.
        cell: side in pixels, at least 16, of the square that each picture is shrunk or enlarged to fit.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or cell < 16:
        raise ValueError("a contact sheet needs a picture, and cells of at least 16 pixels")
    gap = max(4, cell // 16)
    caption_face, title_face = font(max(8, cell // 18)), font(max(9, cell // 14))
    line, heading = round(caption_face.size * 1.8), round(title_face.size * 1.6) if titles else 0
    heights = [max((_size(entry.image, cell)[1] for entry in row), default=0) for row in rows]
    size = (gap + columns * (cell + gap), gap + heading + sum(heights) + len(rows) * (line + gap // 2))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for across, title in enumerate((titles or ())[:columns]):
        middle = (gap + across * (cell + gap) + cell / 2, (gap + heading) / 2)
        written, face = fitted(title, cell, largest=round(title_face.size))
        draw.text(middle, written, _HEADING, face, anchor="mm")
    top = gap + heading
    for row, height in zip(rows, heights, strict=True):
        for across, entry in enumerate(row):
            left = gap + across * (cell + gap)
            width_drawn, height_drawn = _size(entry.image, cell)
            corner = (left + (cell - width_drawn) // 2, top + (height - height_drawn) // 2)
            if entry.image is None:
                sheet.paste(_EMPTY, (*corner, corner[0] + width_drawn, corner[1] + height_drawn))
            else:
                picture = entry.image.convert("RGB")
                sheet.paste(picture.resize((width_drawn, height_drawn), Image.Resampling.LANCZOS), corner)
            middle = (left + cell / 2, top + height + line / 2)
            draw.text(middle, cut(entry.caption, cell, caption_face), INK, caption_face, anchor="mm")
        top += height + line + gap // 2
    return sheet


def _size(image: Image.Image | None, cell: int) -> tuple[int, int]:
    return (cell, cell // 2) if image is None else picture_size(*image.size, cell, enlarge=True)
