"""From an image to a network's input array, and where that input lies in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.image import RgbImage

CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "grey": 1}
"""How many channels an input of each order has; the fourth of `rgba` is 255 everywhere, as images are opaque by then.

`bands` is not among them: it has as many as the network takes.
"""

_FAR = 4
"""The values of an array are remarkable if their range is so many times that of images, or so many times smaller."""


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
    channels: of a picture; `bands` are the values in a file, of as many bands as the network takes.
    mean, std: (x - mean) / std on values 0 to 255, or on those in the file, in `channels` order; one value, or one a channel.
    """

    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    channels: Literal["rgb", "bgr", "rgba", "grey", "bands"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_fraction: float = 0.875


def fit(
    image: RgbImage, size: tuple[int, int], how: Preprocessing, bands: int = 3
) -> tuple[NDArray[np.float32], InputBox]:
    """Fit an image to a network's input.

    Args:
        image: the upright image.
        size: rows and columns of the network's input.
        how: the network's own preprocessing.
        bands: how many channels the network takes, where `how.channels` is `bands`.

    Returns:
        The input, (rows, columns, channels) float32 with `CHANNELS[how.channels]` channels, or `bands`, and where it lies in
        the image. A letterbox's padding is the mean colour: exactly 0. An array that is prepared comes back as it is.

    Raises:
        ImageError: stage `fit`; an input without pixels, settings that do not suit the channels, values of another number of
            bands, or an array of another shape.
    """
    if problem := unfit(size, how, bands):
        raise ImageError(problem, stage="fit")
    channels = CHANNELS.get(how.channels, bands)
    if image.prepared:
        return _prepared(image, (*size, channels))
    planes = _planes(image, how, channels)
    rows, columns = size
    resample = Image.Resampling[how.resample.upper()]
    box = input_box(image.width, image.height, size, how)
    if how.fit == "letterbox":
        left, top, *inner = _letterboxed(image.width, image.height, size)
        filled = _normalise([plane.resize(inner, resample) for plane in planes], how)
        x = np.zeros((rows, columns, filled.shape[2]), np.float32)
        x[top : top + inner[1], left : left + inner[0]] = filled
        return x, box
    in_pixels = box.scaled(planes[0].width / image.width, planes[0].height / image.height)
    return _normalise([plane.resize((columns, rows), resample, box=in_pixels) for plane in planes], how), box


def _planes(image: RgbImage, how: Preprocessing, channels: int) -> list[Image.Image]:
    """Return what is to be resized: the image in its colours, or each band of its values."""
    if how.channels == "bands":
        values = image.pixels if image.values is None else image.values
        if values.shape[2] != channels:
            raise ImageError(
                f"{_bands(values.shape[2])}, and the network takes {channels}; give it TIFF images or arrays with {channels}",
                stage="fit",
            )
        return [Image.fromarray(np.ascontiguousarray(values[..., band], np.float32)) for band in range(channels)]
    if image.values is not None:
        raise ImageError(
            f"{_bands(image.values.shape[2])} of {image.values.dtype}, and the network takes pictures ({how.channels}); write "
            "the bands to show as an 8-bit RGB image, such as gdal_translate -b 3 -b 2 -b 1 -ot Byte -scale IN OUT.png",
            stage="fit",
        )
    pixels = Image.fromarray(image.pixels)
    return [pixels.convert({"grey": "L", "rgba": "RGBA"}.get(how.channels, "RGB"))]


def _prepared(image: RgbImage, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], InputBox]:
    values = image.values
    assert values is not None
    if values.shape != shape:
        found, wanted = (" x ".join(map(str, each)) for each in (values.shape, shape))
        raise ImageError(
            f"an array of {found}, and the network takes {wanted}; arrays are fed as they are, so save it in that shape"
            + (", channels last" if sorted(values.shape) == sorted(shape) else ""),
            stage="fit",
        )
    x = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(x).all():
        raise ImageError("the array has values that are not finite; replace them, and save it again", stage="fit")
    return x, InputBox(0.0, 0.0, float(image.width), float(image.height))


def unlike_images(x: NDArray[np.float32], how: Preprocessing) -> str:
    """Return a note if the values of a prepared array have quite another range than those of images; else an empty text."""
    if how.channels == "bands":
        return ""
    ends = [(end - np.asarray(how.mean)) / np.asarray(how.std) for end in (0.0, 255.0)]
    low, high = float(np.min(ends)), float(np.max(ends))
    least, most = float(x.min()), float(x.max())
    if max(abs(least), abs(most)) > _FAR * max(abs(low), abs(high)) or most - least < (high - low) / (16 * _FAR):
        return (
            f"the array's values, {least:g} to {most:g}, are fed as they are; from images the network gets {low:.3g} to "
            f"{high:.3g}, after mean and std"
        )
    return ""


def _bands(count: int) -> str:
    return f"{count} band{'' if count == 1 else 's'}"


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


def unfit(size: tuple[int, int], how: Preprocessing, bands: int = 3) -> str:
    """Return why no image at all can be fitted to `size` (rows, columns) in this way, or an empty text; `bands` as in `fit`."""
    channels = CHANNELS.get(how.channels, bands)
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


def _normalise(planes: list[Image.Image], how: Preprocessing) -> NDArray[np.float32]:
    values = np.concatenate([np.atleast_3d(np.asarray(plane, np.float32)) for plane in planes], axis=2)
    if how.channels == "bgr":
        values = values[..., ::-1]
    scaled = (values - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(scaled)
