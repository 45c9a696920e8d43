"""One map, one picture: the heatmap, the photo under heat, and what stands in for a map that is empty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cam_cli.methods import Drawing
from cam_cli.render.colour import table
from cam_cli.render.text import SMALLEST, fitted

OUTSIDE = 40
PLAIN = 96

_PLAIN = Drawing()
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def drawn(saliency: NDArray[np.floating], drawing: Drawing = _PLAIN) -> NDArray[np.float32]:
    """Return a map as pictures show it: float32 in 0..1, by default its positive part divided by its maximum.

    Raises:
        ValueError: a map that is not finite, or nowhere positive.
    """
    if not np.isfinite(saliency).all() or saliency.max(initial=0) <= 0:
        raise ValueError("a blank or non-finite map has no picture; draw a placard instead")
    kind = saliency.dtype.type
    floor, ceiling = (kind(limit) for limit in limits(saliency, drawing))
    shares = np.maximum(saliency - floor, 0) / np.float64(ceiling - floor)
    scaled: NDArray[np.float32] = np.minimum(shares, 1).astype(np.float32)
    return scaled if drawing.power == 1 else scaled ** np.float32(drawing.power)


def limits(saliency: NDArray[np.floating], drawing: Drawing) -> tuple[float, float]:
    """Return the values of a finite map that are drawn as 0 and as 1."""
    lowest, top = float(saliency.min()), float(np.percentile(saliency, drawing.percentile))
    floor = lowest if drawing.from_minimum and lowest < top else 0.0
    return floor, top if top > floor else float(np.finfo(np.float32).tiny)


def heatmap(values: NDArray[np.float32], colormap: str) -> Image.Image:
    """Colour a placed map, in a palette of 256 colours; neutral grey where the network did not look.

    Args:
        values: (height, width) in 0..1, NaN outside the network's input.
        colormap: one of `COLORMAPS`; where there is an outside, it takes one colour's place.
    """
    outside = np.isnan(values)
    highest = 254 if outside.any() else 255
    levels = _levels(values, highest)
    levels[outside] = 255
    colours = np.full((256, 3), OUTSIDE, np.uint8)
    colours[: highest + 1] = table(colormap)[np.rint(np.linspace(0, 255, highest + 1)).astype(np.intp)]
    image = Image.fromarray(levels)
    image.putpalette(colours.tobytes())
    return image


def overlay(photo: NDArray[np.uint8], values: NDArray[np.float32], colormap: str, opacity: float) -> Image.Image:
    """Lay a placed map over its photo, which stays untouched where the map is 0.

    Under the heat the photo loses its own colours, or a red bird would hide a red map.

    Args:
        photo: (height, width, 3) uint8 RGB.
        values: (height, width) in 0..1; NaN outside the network's input, where the photo is greyed.
        colormap: one of `COLORMAPS`.
        opacity: weight of the colour, 0..1, where the map is 1.
    """
    picture = Image.fromarray(photo)
    grey = picture.convert("L")
    levels = _levels(values, 255)
    heat = Image.fromarray(levels)
    prominence = _prominence(np.linspace(0, 1, 256))
    muted = Image.composite(grey.convert("RGB"), picture, heat.point(_mask(prominence * (2 - prominence))))
    coloured = Image.fromarray(levels)
    coloured.putpalette(table(colormap).tobytes())
    mixed = Image.composite(coloured.convert("RGB"), muted, heat.point(_mask(opacity * prominence)))
    outside = np.isnan(values)
    if outside.any():
        mixed.paste(grey.point(_mask(np.linspace(0, 0.4, 256))).convert("RGB"), mask=Image.fromarray(outside))
    return mixed


def placard(background: NDArray[np.uint8] | tuple[int, int], text: str) -> Image.Image:
    """Return the picture for a map that cannot be drawn: the greyed photo under a band with the reason.

    Args:
        background: (height, width, 3) uint8 RGB photo, or width and height of a plain grey picture.
        text: the reason; shrunk or cut to fit, and left out where no letter could be read.
    """
    if isinstance(background, tuple):
        image = Image.new("RGB", background, (PLAIN, PLAIN, PLAIN))
    else:
        grey = Image.fromarray(background).convert("L").point(lambda level: 40 + level // 2)
        image = grey.convert("RGB")
    width, height = image.size
    written, font = fitted(text, width * 0.92, largest=min(max(SMALLEST, width // 18), height // 3))
    if not written:
        return image
    middle = height / 2
    reach = font.size * 0.95
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, middle - reach, width, middle + reach), fill=(28, 28, 28))
    draw.text((width / 2, middle), written, font=font, fill=(240, 240, 240), anchor="mm")
    return image


def greyed(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the brightness of an RGB photo, (height, width, 1) float32 in 0..255."""
    return np.asarray((photo @ _LUMA)[..., None], np.float32)


def _levels(values: NDArray[np.float32], highest: int) -> NDArray[np.uint8]:
    """Return 0..1 as whole numbers from 0 to `highest`, and NaN as 0."""
    scaled = values * np.float32(highest) + np.float32(0.5)
    np.clip(scaled, 0, highest, out=scaled)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(scaled), np.float32(0), scaled).astype(np.uint8)


def _mask(weights: NDArray[np.floating]) -> list[int]:
    """Return 256 weights, 0..1, as a table for a mask."""
    return [round(float(weight) * 255) for weight in weights]


def _prominence(heat: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how much of the opacity each value gets, 0..1: none at 0, rising early to show weak heat."""
    return heat * (2 - heat)
