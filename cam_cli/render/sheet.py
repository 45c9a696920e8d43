"""Many pictures side by side on one sheet, with captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from cam_cli.render.size import picture_size
from cam_cli.render.text import INK, PAPER, cut, fitted, font

LARGEST: Final = 8192
"""The longest side of a sheet in pixels: what image viewers, browsers and graphics cards open."""

_SMALLEST_CELL = 96
_SHAPE = 1.5
_HEADING = (255, 255, 255)
_FAINT = (150, 150, 155)
_MARK = (214, 48, 49)


@dataclass(frozen=True)
class Cell:
    """One cell of a sheet: a picture, or the text `instead` where there is none, and the line under it.

    mark: a warning, written on the picture, which gets a frame.
    """

    image: Image.Image | None
    caption: str
    instead: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """A sheet, and how many of the rows and of the columns that were asked for are on it."""

    image: Image.Image
    rows: int
    columns: int


@dataclass(frozen=True)
class _Layout:
    """How rows are arranged: in blocks beside each other, each `per_block` rows high. Lengths are in pixels."""

    cell: int
    columns: int
    heights: tuple[int, ...]
    per_block: int
    heading: int

    @property
    def gap(self) -> int:
        return max(4, self.cell // 16)

    @property
    def line(self) -> int:
        return round(max(8, self.cell // 18) * 1.8)

    @property
    def across(self) -> int:
        """The width of a block, with the gap after it."""
        return self.columns * (self.cell + self.gap)

    def blocks(self) -> list[range]:
        """Return the rows of each block."""
        count = len(self.heights)
        return [range(first, min(first + self.per_block, count)) for first in range(0, count, self.per_block)]

    def size(self) -> tuple[int, int]:
        """Return width and height of the sheet."""
        blocks = self.blocks()
        tall = max(sum(self.heights[row] + self.line + self.gap // 2 for row in rows) for rows in blocks)
        return self.gap + len(blocks) * self.across + (len(blocks) - 1) * self.gap, self.gap + self.heading + tall


def contact_sheet(
    rows: Sequence[Sequence[Cell]], titles: Sequence[str] | None = None, cell: int = 256, largest: int = LARGEST
) -> Sheet:
    """Arrange rows of pictures with captions: below each other, and from some number on also beside each other.

    The cells become smaller, and then rows and columns at the end are left out, where a sheet would be larger than `largest`.

    Args:
        rows: the cells, at least one; rows may differ in length. A row is as high as its highest picture.
        titles: of the columns, written above each block of rows.
        cell: side in pixels, at least 16, of the square that each picture is shrunk or enlarged to fit.
        largest: the longest side of the sheet, in pixels.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or cell < 16:
        raise ValueError("a contact sheet needs a picture, and cells of at least 16 pixels")
    smallest = min(cell, _SMALLEST_CELL)
    columns = min(columns, max(1, (largest - smallest) // (smallest + max(4, smallest // 16))))
    shown = len(rows)
    layout = _arranged(rows, columns, titles is not None, cell)
    while max(layout.size()) > largest:
        if cell > smallest:
            cell = max(smallest, min(cell - 8, cell * largest // max(layout.size())))
        elif shown > 1:
            shown = max(1, min(shown - 1, shown * largest // max(layout.size())))
        else:
            break
        layout = _arranged(rows[:shown], columns, titles is not None, cell)
    return Sheet(_drawn(rows[:shown], titles or (), layout), shown, columns)


def _arranged(rows: Sequence[Sequence[Cell]], columns: int, titled: bool, cell: int) -> _Layout:
    """Return the layout whose shape is nearest to that of a screen."""
    heights = tuple(max((_size(entry, cell)[1] for entry in row[:columns]), default=0) for row in rows)
    heading = round(max(9, cell // 14) * 1.6) if titled else 0
    per_block = sorted({math.ceil(len(rows) / blocks) for blocks in range(1, len(rows) + 1)}, reverse=True)
    layouts = [_Layout(cell, columns, heights, count, heading) for count in per_block]
    return min(layouts, key=lambda layout: abs(math.log(layout.size()[0] / layout.size()[1] / _SHAPE)))


def _drawn(rows: Sequence[Sequence[Cell]], titles: Sequence[str], layout: _Layout) -> Image.Image:
    cell, gap = layout.cell, layout.gap
    sheet = Image.new("RGB", layout.size(), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, block in enumerate(layout.blocks()):
        start = gap + number * (layout.across + gap)
        for across, title in enumerate(titles[: layout.columns]):
            middle = (start + across * (cell + gap) + cell / 2, (gap + layout.heading) / 2)
            written, face = fitted(title, cell, largest=max(9, cell // 14))
            draw.text(middle, written, _HEADING, face, anchor="mm")
        top = gap + layout.heading
        for row in block:
            height = layout.heights[row]
            for across, entry in enumerate(rows[row][: layout.columns]):
                _draw_cell(sheet, draw, entry, (start + across * (cell + gap), top), height, layout)
            top += height + layout.line + gap // 2
    return sheet


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, entry: Cell, at: tuple[int, int], height: int, layout: _Layout
) -> None:
    cell, (left, top) = layout.cell, at
    width_drawn, height_drawn = _size(entry, cell)
    corner = (left + (cell - width_drawn) // 2, top + (height - height_drawn) // 2)
    if entry.image is not None:
        picture = entry.image.convert("RGB")
        sheet.paste(picture.resize((width_drawn, height_drawn), Image.Resampling.LANCZOS), corner)
    else:
        written, face = fitted(entry.instead, cell, largest=max(9, cell // 14))
        draw.text((left + cell / 2, top + height / 2), written, _FAINT, face, anchor="mm")
    if entry.mark:
        edge = max(2, cell // 64)
        right, bottom = corner[0] + width_drawn, corner[1] + height_drawn
        draw.rectangle((corner[0], corner[1], right - 1, bottom - 1), outline=_MARK, width=edge)
        written, face = fitted(entry.mark, width_drawn - 4 * edge, largest=max(9, cell // 16))
        tall = round(face.size * 1.5)
        draw.rectangle((corner[0], corner[1], right - 1, corner[1] + tall), fill=_MARK)
        draw.text((corner[0] + 2 * edge, corner[1] + tall / 2), written, _HEADING, face, anchor="lm")
    face = font(max(8, cell // 18))
    middle = (left + cell / 2, top + height + layout.line / 2)
    draw.text(middle, cut(entry.caption, cell, face), INK, face, anchor="mm")


def _size(entry: Cell, cell: int) -> tuple[int, int]:
    return (cell, cell // 2) if entry.image is None else picture_size(*entry.image.size, cell, enlarge=True)
