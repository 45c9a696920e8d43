"""One map, one picture: the heatmap, the overlay, and the placard for a map that cannot be drawn."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cam_cli.methods import Drawing
from cam_cli.render.colour import LUMA, table
from cam_cli.render.contours import with_contours
from cam_cli.render.text import SMALLEST, fitted

_OUTSIDE = 40
_PLAIN = Drawing()


def drawn(saliency: NDArray[np.floating], drawing: Drawing = _PLAIN) -> NDArray[np.float32]:
    """Return a map as pictures show it, float32 in 0..1; raises ValueError if it is not finite or nowhere positive."""
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
    """Colour an upsampled map, in a palette of 256 colours; neutral grey where the network did not look.

    Args:
        values: (height, width) in 0..1, NaN outside the network's input.
        colormap: one of `COLORMAPS`; where there is an outside, it has one colour less.
    """
    outside = np.isnan(values)
    highest = 254 if outside.any() else 255
    levels = _levels(values, highest)
    levels[outside] = 255
    colours = np.full((256, 3), _OUTSIDE, np.uint8)
    colours[: highest + 1] = table(colormap)[np.rint(np.linspace(0, 255, highest + 1)).astype(np.intp)]
    image = Image.fromarray(levels)
    image.putpalette(colours.tobytes())
    return image


def overlay(
    image: NDArray[np.uint8], values: NDArray[np.float32], colormap: str, opacity: float, *, contours: bool = False
) -> Image.Image:
    """Lay an upsampled map over its image, which stays untouched where the map is 0.

    Under the heat the image loses its own colours, or a red bird would hide a red map, and comes near to the brightness of the
    heat's colour, or the hottest colour would be olive over a dark image and vanish on a white one.

    Args:
        image: (height, width, 3) uint8 RGB.
        values: (height, width) in 0..1; NaN outside the network's input, where the image is greyed.
        colormap: one of `COLORMAPS`.
        opacity: weight of the colour, 0..1, where the map is 1.
        contours: also draw `render.contours`.
    """
    picture = Image.fromarray(image)
    grey = picture.convert("L")
    levels = _levels(values, 255)
    heat = Image.fromarray(levels)
    muted = Image.composite(grey.convert("RGB"), picture, heat.point(_mask(_muting())))
    weights, colours = _heat_colours(colormap, opacity)
    coloured = Image.fromarray(levels)
    coloured.putpalette(colours.tobytes())
    mixed = Image.composite(coloured.convert("RGB"), muted, heat.point(_mask(weights)))
    if contours:
        mixed = with_contours(mixed, values)
    outside = np.isnan(values)
    if outside.any():
        mixed.paste(grey.point(_mask(np.linspace(0, 0.4, 256))).convert("RGB"), mask=Image.fromarray(outside))
    return mixed


def placard(image: NDArray[np.uint8], text: str) -> Image.Image:
    """Return the picture for a map that cannot be drawn: the greyed image, uint8 RGB, under a band with the reason."""
    picture = Image.fromarray(image).convert("L").point(lambda level: 40 + level // 2).convert("RGB")
    width, height = picture.size
    written, font = fitted(text, width * 0.92, largest=min(max(SMALLEST, width // 18), height // 3))
    if not written:
        return picture
    middle = height / 2
    reach = font.size * 0.95
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, middle - reach, width, middle + reach), fill=(28, 28, 28))
    draw.text((width / 2, middle), written, font=font, fill=(240, 240, 240), anchor="mm")
    return picture


def _prominence() -> NDArray[np.float64]:
    """Return how strongly each of the 256 levels of heat shows, 0..1: it rises early, to show weak heat."""
    shares = np.linspace(0, 1, 256)
    return shares * (2 - shares)


def _muting() -> NDArray[np.float64]:
    """Return for each level of heat how much of the image's own colours is lost under it, 0..1."""
    return _prominence() * (2 - _prominence())


def _heat_colours(colormap: str, opacity: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return for each level of heat its weight over the muted image, (256,) in 0..1, and what is laid on, (256, 3) RGB.

    With p the prominence, k = sqrt(opacity) p and s = opacity p, a muted pixel m first goes to (1 - k) m + k L(C), near to the
    brightness L of its heat's colour C, and then to (1 - s) of that plus s C. The two steps are one mixture.
    """
    nearing, shares = ((weight * _prominence())[:, None] for weight in (math.sqrt(opacity), opacity))
    colours = table(colormap).astype(np.float64)
    brightness = (colours @ LUMA)[:, None]
    weights = 1 - (1 - nearing) * (1 - shares)
    laid = ((1 - shares) * nearing * brightness + shares * colours) / np.maximum(weights, 1e-9)
    return weights[:, 0], np.rint(laid).astype(np.uint8)


def _levels(values: NDArray[np.float32], highest: int) -> NDArray[np.uint8]:
    """Return 0..1 as whole numbers from 0 to `highest`, and NaN as 0."""
    scaled = values * np.float32(highest) + np.float32(0.5)
    np.clip(scaled, 0, highest, out=scaled)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(scaled), np.float32(0), scaled).astype(np.uint8)


def _mask(weights: NDArray[np.floating]) -> list[int]:
    return [round(float(weight) * 255) for weight in weights]
