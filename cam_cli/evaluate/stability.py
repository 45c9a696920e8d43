"""How much of a map is left when only chance or an invisible change of the photo differs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import UsageError
from cam_cli.evaluate.correlation import spearman
from cam_cli.images.fit import InputBox

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Fit = Callable[[Pixels], tuple[Array, InputBox]]
Explain = Callable[[Array, int, int], Sequence[Sequence[Array]]]

JPEG_QUALITY = 75


def stability(pixels: Pixels, fit: Fit, explain: Explain, seed: int, n: int) -> list[dict[str, float | None]]:
    """Compare one photo's maps with what they are after changes that should not matter.

    Args:
        pixels: the upright photo, (rows, columns, 3) uint8.
        fit: makes the network's input (H, W, C) of a photo and says where it lies on it, in the photo's pixels, as
            `images.fit.fit` does.
        explain: takes inputs (N, H, W, C), a seed and a number n of noisy samples; returns for each input its maps, (h, w)
            each, always in the same order and for the same targets. The noise must follow from the seed alone, so that a
            changed photo meets the noise of the first.
        seed, n: those of the maps in question.

    Returns:
        For each map its rank correlations, -1..1, with the map
        stability_seed: of other noise (1 where n = 0, as there is none),
        stability_n: of 2 n samples (1 where n = 0),
        stability_jpeg: of the photo saved as a JPEG file of quality 75 and read again,
        stability_shift: of the photo moved right and down by one of its pixels, its edge repeated, and the map moved back.
        None where either map has one value only.

    Raises:
        UsageError: `explain` returns another number of maps for one input than for another.
    """
    x, box = fit(pixels)
    changed = [fit(jpeg(pixels))[0], fit(shifted(pixels))[0]]
    first, re_encoded, moved = explain(np.stack([x, *changed]), seed, n)
    other = explain(x[None], seed + 1, n)[0] if n else first
    twice = explain(x[None], seed, 2 * n)[0] if n else first
    if not len(first) == len(re_encoded) == len(moved) == len(other) == len(twice):
        raise UsageError("the maps of a changed photo are not those of the photo; ask for the same layers and targets")
    back = [_moved_back(values, box) for values in moved]
    return [
        {
            "stability_seed": spearman(first[i], other[i]),
            "stability_n": spearman(first[i], twice[i]),
            "stability_jpeg": spearman(first[i], re_encoded[i]),
            "stability_shift": spearman(first[i], back[i]),
        }
        for i in range(len(first))
    ]


def jpeg(pixels: Pixels, quality: int = JPEG_QUALITY) -> Pixels:
    """Return a photo (rows, columns, 3) as it comes back from a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def shifted(pixels: Pixels) -> Pixels:
    """Return a photo (rows, columns, 3) one pixel further right and down; its first row and column stand twice."""
    return np.pad(pixels, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1]


def _moved_back(values: Array, box: InputBox) -> NDArray[Any]:
    """Return a map moved left and up by one pixel of the photo, which is a fraction of a cell, between cells linearly.

    NaN where it would have to be read more than half a cell past its last centre, which is off the map.
    """
    rows, columns = values.shape
    up, left = rows / (box.bottom - box.top), columns / (box.right - box.left)
    by_row = _read_at(np.asarray(values, np.float64), up)
    return _read_at(by_row.T, left).T


def _read_at(values: NDArray[np.float64], offset: float) -> NDArray[np.float64]:
    last = len(values) - 1
    wanted = np.arange(len(values)) + offset
    at = np.minimum(wanted, last)
    below = np.floor(at).astype(np.intp)
    share = (at - below)[:, None]
    read = values[below] * (1 - share) + values[np.minimum(below + 1, last)] * share
    return np.where((wanted <= last + 0.5)[:, None], read, np.nan)
