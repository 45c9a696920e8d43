"""From a photo to a network's input array, and where that input lies in the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.decode import Photo

_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "grey": 1}
"""How many channels an input of each order has; the fourth of `rgba` is 255 everywhere, as photos are opaque by then."""


@dataclass(frozen=True)
class Box:
    """Where the network's input lies in the upright photo, in photo pixels; a letterbox reaches past it."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a network's input.

    fit: `stretch` squeezes the whole photo into the input; `crop` takes the centred rectangle of
    the input's shape whose sides are `crop_fraction` of the largest that fits; `letterbox` pads the whole
    photo to the input's shape.
    mean, std: (x - mean) / std on values 0 to 255, in `channels` order; one value, or one a channel.
    """

    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    channels: Literal["rgb", "bgr", "rgba", "grey"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_fraction: float = 0.875


def fit(photo: Photo, size: tuple[int, int], how: Preprocessing) -> tuple[NDArray[np.float32], Box]:
    """Fit a photo to a network's input.

    Args:
        photo: the upright photo.
        size: rows and columns of the network's input.
        how: the network's own preprocessing.

    Returns:
        The input, (rows, columns, channels) float32 with `CHANNELS[how.channels]` channels, and where it lies in the
        photo. A letterbox's padding is the mean colour: exactly 0.

    Raises:
        ImageError: stage `fit`; an input without pixels, or settings that do not suit the channels.
    """
    if problem := unfit(size, how):
        raise ImageError(problem, stage="fit")
    image = Image.fromarray(photo.pixels)
    if how.channels in {"grey", "rgba"}:
        image = image.convert("L" if how.channels == "grey" else "RGBA")
    rows, columns = size
    resample = _RESAMPLE[how.resample]
    box = input_box(photo.width, photo.height, size, how)
    if how.fit == "letterbox":
        left, top, *inner = _letterboxed(photo.width, photo.height, size)
        filled = _normalise(image.resize(inner, resample), how)
        x = np.zeros((rows, columns, filled.shape[2]), np.float32)
        x[top : top + inner[1], left : left + inner[0]] = filled
        return x, box
    across, down = image.width / photo.width, image.height / photo.height
    sides = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    return _normalise(image.resize((columns, rows), resample, box=sides), how), box


def input_box(width: int, height: int, size: tuple[int, int], how: Preprocessing) -> Box:
    """Say where the network's input lies in a photo.

    Args:
        width, height: of the photo. size: rows and columns of the network's input.
    """
    rows, columns = size
    if how.fit == "letterbox":
        left, top, inner_width, inner_height = _letterboxed(width, height, size)
        return Box(
            -left * width / inner_width,
            -top * height / inner_height,
            (columns - left) * width / inner_width,
            (rows - top) * height / inner_height,
        )
    if how.fit == "crop":
        return Box(*_centred(width, height, columns / rows, how.crop_fraction))
    return Box(0.0, 0.0, float(width), float(height))


def _letterboxed(width: int, height: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left and top, width and height of a photo inside the input that it is padded to."""
    rows, columns = size
    scale = min(columns / width, rows / height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    return (columns - inner_width) // 2, (rows - inner_height) // 2, inner_width, inner_height


def unfit(size: tuple[int, int], how: Preprocessing) -> str:
    """Return why no photo can be fitted in this way, whatever the photo, or nothing.

    Args:
        size: rows and columns of the network's input.
    """
    channels = CHANNELS[how.channels]
    if min(size) < 1:
        return f"the network's input of {size[0]} x {size[1]} holds no pixel; set input_size"
    if any(len(values) not in {1, channels} for values in (how.mean, how.std)):
        counts = f"not {len(how.mean)} and {len(how.std)}"
        return f"mean and std must have 1 or {channels} values for {how.channels} input, {counts}"
    if not all(np.isfinite(how.mean)) or not all(np.isfinite(how.std)) or 0 in how.std:
        return "mean and std must be finite, and std not 0"
    if not 0 < how.crop_fraction <= 1:
        return f"crop_fraction must be above 0 and at most 1, not {how.crop_fraction}"
    return ""


def _centred(width: int, height: int, aspect: float, fraction: float) -> tuple[float, float, float, float]:
    half_across = fraction * min(width, height * aspect) / 2
    half_down = fraction * min(height, width / aspect) / 2
    return (
        max(0.0, width / 2 - half_across),
        max(0.0, height / 2 - half_down),
        min(float(width), width / 2 + half_across),
        min(float(height), height / 2 + half_down),
    )


def _normalise(image: Image.Image, how: Preprocessing) -> NDArray[np.float32]:
    values = np.asarray(image, np.float32)
    if values.ndim == 2:
        values = values[..., np.newaxis]
    if how.channels == "bgr":
        values = values[..., ::-1]
    scaled = (values - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(scaled)
