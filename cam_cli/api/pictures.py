"""The images that a Python program has: paths, Pillow's images and arrays, each made ready for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cam_cli.decoding.image import DecodedImage, DecodeSettings, decode_image, prepare
from cam_cli.errors import ImageError, UsageError
from cam_cli.images.image import RgbImage
from cam_cli.images.modes import to_rgb
from cam_cli.images.views import picture, view
from cam_cli.text import near, printable, shown

ImageLike = str | Path | Image.Image | NDArray[Any]
"""A path, an image of Pillow, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); see `decoded`."""

_COLOURS = (1, 3, 4)


def separate(images: Any) -> tuple[list[Any], bool]:
    """Return images as a list, and whether it is one image that was given; an array of four axes is many.

    Raises UsageError if there is none.
    """
    if isinstance(images, str | Path | Image.Image):
        return [images], True
    listed: list[Any]
    if isinstance(images, list | tuple):
        listed = list(images)
    elif hasattr(images, "__array__"):
        array = np.asarray(images)
        if array.ndim in (2, 3):
            return [array], True
        listed = list(array) if array.ndim == 4 else []
    else:
        listed = list(images) if isinstance(images, Iterator) else []
    if not listed:
        what = f"an array of shape {np.shape(images)}" if hasattr(images, "__array__") else repr(images)
        raise UsageError(
            f"image is {what}; it must be a path, a PIL image, an array of rows, columns and channels, or a list"
        )
    return listed, False


def name_of(image: Any, number: int) -> str:
    """Return what an image is called in messages: its path, or its number among those that were given."""
    if isinstance(image, str | Path):
        return printable(image)
    return str(getattr(image, "filename", "") or f"image {number}")


def decoded(image: Any, name: str, settings: DecodeSettings) -> DecodedImage:
    """Make an image ready for the network.

    A path is read as the command reads it. Arrays of whole numbers are pictures of 0 to 255 (uint8) or of the type's range,
    which are prepared as the model's card says. Arrays of floating-point numbers are the network's input as it is.

    Raises:
        UsageError: no such file, or no image at all. ImageError: it cannot be read, or does not suit the network.
    """
    if isinstance(image, str | Path):
        return _from_file(Path(image), settings)
    found = _from_pillow(image) if isinstance(image, Image.Image) else _from_array(image, name, settings)
    values = found.pixels if found.values is None else found.values
    digest = hashlib.sha256(
        f"{values.dtype}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    ).hexdigest()
    try:
        return prepare(digest, found, settings)
    except ImageError as error:
        raise ImageError(f"{name}: {error}", error.stage) from error


def _from_file(path: Path, settings: DecodeSettings) -> DecodedImage:
    if path.is_dir():
        raise UsageError(
            f"image is {shown(path)}, a folder; name its images, such as sorted(pathlib.Path(...).glob('*.jpg')), or run "
            "`smoothcam explain`"
        )
    if not path.exists():
        beside = [printable(other.name) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"image is {shown(path)}; there is no such file{near(path.name, beside)}")
    found = decode_image(path, None, settings)
    if found.image is None:
        why, stage = (found.error.message, found.error.stage) if found.error else ("it cannot be read", "read")
        raise ImageError(f"{shown(path)}: {why}", stage)
    return found.image


def _from_pillow(image: Image.Image) -> RgbImage:
    upright = ImageOps.exif_transpose(image)
    rgb, notes = to_rgb(upright)
    pixels = np.ascontiguousarray(np.asarray(rgb))
    return RgbImage(pixels, rgb.width, rgb.height, notes)


def _from_array(image: Any, name: str, settings: DecodeSettings) -> RgbImage:
    if not hasattr(image, "__array__"):
        raise UsageError(
            f"{name} is {image!r}; it must be a path, a PIL image or an array of rows, columns and channels"
        )
    array = np.asarray(image)
    values = array[..., None] if array.ndim == 2 else array
    if values.ndim != 3 or not values.size or values.dtype.kind not in "buif":
        raise UsageError(
            f"{name} is an array of {array.dtype}, shape {array.shape}; it must be numbers (rows, columns, channels)"
        )
    height, width, bands = values.shape
    takes_bands = settings.preprocessing is not None and settings.preprocessing.channels == "bands"
    if values.dtype.kind == "f" or takes_bands:
        pixels, note = view(values)
        return RgbImage(pixels, width, height, (note,) if note else (), values, prepared=values.dtype.kind == "f")
    if bands not in _COLOURS:
        raise UsageError(f"{name} is an array of shape {array.shape}; a picture has 1, 3 or 4 channels, the last axis")
    shown_pixels, notes = picture(values, with_alpha=bands == 4)
    return RgbImage(shown_pixels, width, height, notes)
