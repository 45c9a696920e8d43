"""The colour maps on offer, as tables of 256 colours."""

from functools import cache

import cmap
import numpy as np
from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""The shares of red, green and blue in the brightness of a colour (ITU-R BT.601), as Pillow's greyscale has them."""

COLORMAPS = ("inferno", "viridis", "magma", "turbo", "jet")


@cache
def table(name: str) -> NDArray[np.uint8]:
    """Return a colour map of `COLORMAPS` as (256, 3) uint8 RGB, read-only, from the lowest value to the highest."""
    if name not in COLORMAPS:
        raise ValueError(f"colour map must be one of {', '.join(COLORMAPS)}, not {name!r}")
    colours: NDArray[np.uint8] = np.rint(np.asarray(cmap.Colormap(name).lut(256))[:, :3] * 255).astype(np.uint8)
    colours.flags.writeable = False
    return colours


@cache
def class_colours() -> NDArray[np.uint8]:
    """Return the colours that tell classes apart, (7, 3) uint8 RGB: Okabe and Ito's, which the colour-blind see too."""
    colours = np.array([colour.rgba8[:3] for colour in cmap.Colormap("okabeito:okabeito").iter_colors()], np.uint8)[1:]
    colours.flags.writeable = False
    return colours
