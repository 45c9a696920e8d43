"""Several classes on one image: each pixel in the colour of the class that claims it, with a legend."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cam_cli.render.colour import LUMA, class_colours
from cam_cli.render.text import INK, PAPER, cut, font

MOST_CLASSES = len(class_colours())


def joint(
    image: NDArray[np.uint8], maps: Sequence[NDArray[np.float32]], labels: Sequence[str], opacity: float
) -> Image.Image:
    """Colour each pixel of a greyed image by the class whose map is largest there, and add a legend below.

    Args:
        image: (height, width, 3) uint8 RGB.
        maps: one for each class, 1 to `MOST_CLASSES`: (height, width) in 0..1, NaN outside the network's input.
        labels: the lines of the legend, one for each map.
        opacity: weight of the colour, 0..1, where a map is 1.
    """
    if not 0 < len(maps) <= MOST_CLASSES:
        raise ValueError(f"between 1 and {MOST_CLASSES} classes fit in one picture, not {len(maps)}")
    colours = class_colours()[: len(maps)]
    heats = np.nan_to_num(np.stack(maps))
    owner, strength = heats.argmax(axis=0), np.clip(heats.max(axis=0), 0, 1)[..., None]
    grey = np.asarray((image @ LUMA)[..., None], np.float32)
    mixed = grey + opacity * strength * (2 - strength) * (colours[owner] - grey)
    mixed[np.isnan(maps[0])] *= 0.4
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    size = max(10, min(picture.width // 28, 22))
    face, line = font(size), round(size * 1.6)
    sheet = Image.new("RGB", (picture.width, picture.height + line * len(labels) + size // 2), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    left = size // 2
    for i, (label, colour) in enumerate(zip(labels, colours.tolist(), strict=True)):
        top = picture.height + size // 4 + i * line
        draw.rectangle((left, top + size // 4, left + size, top + size // 4 + size), fill=tuple(colour))
        written = cut(label, picture.width - left - 2 * size, face)
        draw.text((left + 1.6 * size, top + line / 2), written, INK, face, anchor="lm")
    return sheet
