"""Values of any type and number of bands, shown as 8-bit RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.image import Values

_SHOWN = (1, 99)
_MOST_LOOKED_AT = 1_000_000


def to_8_bits(values: Values, what: str = "grey") -> tuple[NDArray[np.uint8], str]:
    """Reduce values to 8 bits, and say how: 16 bits by 257, any others from their own range.

    Raises ImageError, stage `decode`, for values of which none is finite.
    """
    if values.dtype == np.uint8:
        return values, ""
    if values.dtype != np.bool_ and values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8), f"16-bit {what} reduced to 8 bits"
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("no pixel has a finite value", stage="decode")
    low, high = float(values[finite].min()), float(values[finite].max())
    span = (high - low) or 1.0
    scaled = np.rint((np.where(finite, values, low).astype(np.float64) - low) * (255 / span))
    return scaled.astype(np.uint8), f"{what} scaled to 8 bits from its own range, {low:g} to {high:g}"


def view(values: Values) -> tuple[NDArray[np.uint8], str]:
    """Return (rows, columns, 3) of the first three bands, or of the first alone if there are fewer, and say what is shown.

    Values that are not 8-bit are stretched from their 1st to their 99th percentile.
    """
    bands = values.shape[2]
    shown = values[..., :3] if bands >= 3 else values[..., :1]
    what = "the values" if bands in (1, 3) else "the first three bands" if bands > 3 else "the first band"
    if shown.dtype == np.uint8:
        pixels, how = shown, ""
    else:
        sample = shown.ravel()[:: max(1, shown.size // _MOST_LOOKED_AT)].astype(np.float64)
        sample = sample[np.isfinite(sample)]
        low, high = np.percentile(sample, _SHOWN) if sample.size else (0.0, 1.0)
        filled = np.nan_to_num(shown.astype(np.float32), nan=low, posinf=high, neginf=low)
        pixels = np.clip((filled - low) * (255 / ((high - low) or 1.0)) + 0.5, 0, 255).astype(np.uint8)
        how = f", stretched to 8 bits from {low:g} to {high:g}"
    rgb = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    return rgb, f"pictures show {what}{how}" if how or bands not in (1, 3) else ""


def picture(values: Values, *, with_alpha: bool, inverted: bool = False) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return (rows, columns, 3) of values that are a picture, and notes on what was changed.

    Args:
        values: (rows, columns, bands) of grey or RGB.
        with_alpha: the last band is the alpha; transparent parts are laid over white if it has 8 bits.
        inverted: 0 is white.
    """
    colours = values[..., :-1] if with_alpha else values
    shown, how = to_8_bits(colours, "grey" if colours.shape[2] == 1 else "colour")
    notes = [how] if how else []
    shown = np.broadcast_to(255 - shown if inverted else shown, (*shown.shape[:2], 3))
    if with_alpha and values.dtype != np.uint8:
        notes.append("its alpha is left out")
    elif with_alpha and values[..., -1].min() < 255:
        image = Image.fromarray(np.concatenate([shown, values[..., -1:]], axis=2))
        shown = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
        notes.append("transparent parts laid over white")
    return np.ascontiguousarray(shown), tuple(notes)
