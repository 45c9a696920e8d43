"""From an image to a network's input array, and where that input lies in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.decode import RgbImage

CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "grey": 1}
"""How many channels an input of each order has; the fourth of `rgba` is 255 everywhere, as images are opaque by then."""


class InputBox(NamedTuple):
    """Where the network's input lies in the upright image, in image pixels. A letterbox reaches past the image."""

    left: float
    top: float
    right: float
    bottom: float

    def scaled(self, across: float, down: float) -> InputBox:
        """Return the box in an image that is so many times as wide and as high."""
        return InputBox(self.left * across, self.top * down, self.right * across, self.bottom * down)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input.

    fit: `stretch` squeezes the whole image into the input; `crop` takes the centred rectangle of the input's shape whose sides
    are `crop_fraction` of the largest that fits; `letterbox` pads the whole image to the input's shape.
    mean, std: (x - mean) / std on values 0 to 255, in `channels` order; one value, or one a channel.
    """

    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    channels: Literal["rgb", "bgr", "rgba", "grey"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_fraction: float = 0.875


def fit(image: RgbImage, size: tuple[int, int], how: Preprocessing) -> tuple[NDArray[np.float32], InputBox]:
    """Fit an image to a network's input.

    Args:
        image: the upright image.
        size: rows and columns of the network's input.
        how: the network's own preprocessing.

    Returns:
        The input, (rows, columns, channels) float32 with `CHANNELS[how.channels]` channels, and where it lies in the
        image. A letterbox's padding is the mean colour: exactly 0.

    Raises:
        ImageError: stage `fit`; an input without pixels, or settings that do not suit the channels.
    """
    if problem := unfit(size, how):
        raise ImageError(problem, stage="fit")
    pixels = Image.fromarray(image.pixels)
    if how.channels in {"grey", "rgba"}:
        pixels = pixels.convert("L" if how.channels == "grey" else "RGBA")
    rows, columns = size
    resample = Image.Resampling[how.resample.upper()]
    box = input_box(image.width, image.height, size, how)
    if how.fit == "letterbox":
        left, top, *inner = _letterboxed(image.width, image.height, size)
        filled = _normalise(pixels.resize(inner, resample), how)
        x = np.zeros((rows, columns, filled.shape[2]), np.float32)
        x[top : top + inner[1], left : left + inner[0]] = filled
        return x, box
    in_pixels = box.scaled(pixels.width / image.width, pixels.height / image.height)
    return _normalise(pixels.resize((columns, rows), resample, box=in_pixels), how), box


def input_box(width: int, height: int, size: tuple[int, int], how: Preprocessing) -> InputBox:
    """Return where the network's input of `size` (rows, columns) lies in an image of so many pixels."""
    rows, columns = size
    if how.fit == "letterbox":
        left, top, inner_width, inner_height = _letterboxed(width, height, size)
        return InputBox(
            -left * width / inner_width,
            -top * height / inner_height,
            (columns - left) * width / inner_width,
            (rows - top) * height / inner_height,
        )
    if how.fit == "crop":
        aspect = columns / rows
        half_across = how.crop_fraction * min(width, height * aspect) / 2
        half_down = how.crop_fraction * min(height, width / aspect) / 2
        return InputBox(
            max(0.0, width / 2 - half_across),
            max(0.0, height / 2 - half_down),
            min(float(width), width / 2 + half_across),
            min(float(height), height / 2 + half_down),
        )
    return InputBox(0.0, 0.0, float(width), float(height))


def _letterboxed(width: int, height: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left and top, width and height of an image inside the input that it is padded to."""
    rows, columns = size
    scale = min(columns / width, rows / height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    return (columns - inner_width) // 2, (rows - inner_height) // 2, inner_width, inner_height


def unfit(size: tuple[int, int], how: Preprocessing) -> str:
    """Return why no image at all can be fitted to `size` (rows, columns) in this way, or an empty text."""
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


def _normalise(image: Image.Image, how: Preprocessing) -> NDArray[np.float32]:
    values = np.atleast_3d(np.asarray(image, np.float32))
    if how.channels == "bgr":
        values = values[..., ::-1]
    scaled = (values - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(scaled)
