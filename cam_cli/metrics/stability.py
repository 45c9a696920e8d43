"""How much of a map is left if only the noise or an invisible change of the image differs."""

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import UsageError
from cam_cli.images.fit import InputBox
from cam_cli.metrics.comparison import spearman
from cam_cli.metrics.metric import Metric
from cam_cli.window import WHOLE, Sides, Window

METRICS: Final = (
    Metric("stability_seed", "rank correlation with the map of other noise, -1..1", "higher"),
    Metric("stability_n", "rank correlation with the map of twice as many samples, -1..1", "higher"),
    Metric(
        "stability_jpeg", "rank correlation with the map of the image as a JPEG file of quality 75, -1..1", "higher"
    ),
    Metric("stability_shift", "rank correlation with the map of the image moved by a pixel, -1..1", "higher"),
)

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Fit = Callable[[Pixels], tuple[Array, InputBox]]
Explain = Callable[[Array, int, int], Sequence[Sequence[Array]]]


def stability(
    pixels: Pixels, fit: Fit, explain: Explain, seed: int, n: int, windows: Sequence[Window] | None = None
) -> list[dict[str, float | None]]:
    """Compare an image's maps with its maps after changes that should not matter.

    Args:
        pixels: the upright image, (rows, columns, 3) uint8.
        fit: returns the network's input (H, W, C) for an image, and where it lies on the image, as `images.fit.fit` does.
        explain: takes inputs (N, H, W, C), a seed and a number of noisy samples. It returns for each input its maps, (h, w)
            each, always in one order and for the same targets. The noise must follow from the seed alone, so that a changed
            image gets the same noise.
        seed: of the maps in question.
        n: their number of noisy samples. With 0 there is no noise: stability_seed and stability_n are 1.
        windows: the part of the input that each map covers; None: all of it.

    Returns:
        For each map all of `METRICS`; None if one of the two maps has one value only. The map of the moved image, which is one
        pixel further right and down with its edge repeated, is moved back before.

    Raises:
        UsageError: `explain` returns another number of maps for one input than for another.
    """
    x, box = fit(pixels)
    changed = [fit(jpeg(pixels))[0], fit(shifted(pixels))[0]]
    first, re_encoded, moved = explain(np.stack([x, *changed]), seed, n)
    other = explain(x[None], seed + 1, n)[0] if n else first
    twice = explain(x[None], seed, 2 * n)[0] if n else first
    if not len(first) == len(re_encoded) == len(moved) == len(other) == len(twice):
        raise UsageError("the maps of a changed image are not those of the image; ask for the same layers and targets")
    windows = windows or [WHOLE] * len(moved)
    back = [
        window.as_grid(_moved_back(window.upright(values), window.within(box)))
        for values, window in zip(moved, windows, strict=True)
    ]
    changes = {"seed": other, "n": twice, "jpeg": re_encoded, "shift": back}
    return [
        {f"stability_{name}": spearman(values, maps[i]) for name, maps in changes.items()}
        for i, values in enumerate(first)
    ]


def jpeg(pixels: Pixels, quality: int = 75) -> Pixels:
    """Return an image (rows, columns, 3) as it comes back from a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def shifted(pixels: Pixels) -> Pixels:
    """Return an image (rows, columns, 3) one pixel further right and down; its first row and column are repeated."""
    return np.pad(pixels, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1]


def _moved_back(values: Array, box: Sides) -> NDArray[Any]:
    """Return a map moved left and up by one pixel of the image, which is a fraction of a cell, between cells linearly.

    NaN where it would be read more than half a cell past the last centre, which is off the map.
    """
    moved = np.asarray(values, np.float64)
    left, top, right, bottom = box
    for side in (bottom - top, right - left):
        last = len(moved) - 1
        wanted = np.arange(len(moved)) + len(moved) / side
        at = np.minimum(wanted, last)
        below = np.floor(at).astype(np.intp)
        share = (at - below)[:, None]
        read = moved[below] * (1 - share) + moved[np.minimum(below + 1, last)] * share
        moved = np.where((wanted <= last + 0.5)[:, None], read, np.nan).T
    return moved
