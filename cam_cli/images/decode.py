"""From the bytes of an image file to the upright RGB photo a person sees, or one clear reason why not."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cam_cli.errors import ImageError
from cam_cli.images.modes import to_rgb
from cam_cli.images.pillow import strict_and_unlimited
from cam_cli.text import one_line

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 200_000_000
SMALL_SIDE = 16

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Photo:
    """A decoded image.

    pixels: (rows, columns, 3) uint8, RGB, upright, read-only; less than the photo has where it was read at reduced size.
    width, height: of the upright photo, as its file holds it.
    notes: one short sentence for every conversion that changed what the file holds.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...]


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> Photo:
    """Decode a JPEG, PNG, WebP, GIF, BMP or TIFF file to the RGB picture a viewer would show.

    The size is judged from the header, before any pixel is decoded. Messages do not name the file:
    the caller knows it.

    Args:
        data: the whole file.
        max_pixels: the most pixels (width x height) that are accepted.
        enough: a JPEG may be read at a half, a quarter or an eighth of its size, where both sides divide evenly and keep
            so many pixels; None: at its own.

    Raises:
        ImageError: stage `decode`; empty, not an image, cut short, damaged, or larger than `max_pixels`.
        MemoryError: as it came.
    """
    if not data:
        raise ImageError("the file is empty; fetch it again", stage="decode")
    try:
        with strict_and_unlimited, Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height, max_pixels)
            notes = _frame_notes(image)
            size = image.size
            if enough is not None and image.format == "JPEG":
                scale = _reduction(*size, enough)
                image.draft(None, (size[0] // scale, size[1] // scale))
            image.load()
            rgb, mode_notes = to_rgb(image)
            turn = _UPRIGHT.get(_orientation(image))
            upright = rgb if turn is None else rgb.transpose(turn)
            pixels = np.asarray(upright)
            width, height = reversed(size) if turn in _SIDEWAYS else size
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            "not a JPEG, PNG, WebP, GIF, BMP or TIFF image, or one cut short in its header "
            f"(the file begins with {data[:16]!r})",
            stage="decode",
        ) from error
    except Exception as error:
        raise ImageError(f"damaged or cut short: {one_line(error)}; fetch the file again", stage="decode") from error
    pixels.flags.writeable = False
    return Photo(
        pixels,
        width,
        height,
        (*notes, *mode_notes, *_size_notes(width, height)),
    )


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read and decode one image file.

    Raises:
        ImageError: as `read_bytes` and `decode` do. Messages do not name the file.
    """
    return decode(read_bytes(path), max_pixels=max_pixels)


def read_bytes(path: Path) -> bytes:
    """Read an image file whole.

    Raises:
        ImageError: stage `read` when the file cannot be read. Messages do not name the file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("not a regular file", stage="read")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", stage="read") from error
    except ValueError as error:
        raise ImageError(f"cannot be read: {error}", stage="read") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} = {width * height} pixels, more than max_pixels = {max_pixels}; "
            "shrink the image or raise max_pixels",
            stage="decode",
        )


def _reduction(width: int, height: int, enough: int) -> int:
    """Return the largest of the steps that JPEG can be reduced by; only where it divides evenly does no edge shift."""
    even = (scale for scale in (8, 4, 2) if width % scale == height % scale == 0)
    return next((scale for scale in even if min(width, height) // scale >= enough), 1)


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    # The further pictures in a phone's JPEG (MPO) are previews and depth maps of the same photo.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return (f"first of {frames} frames",) if frames > 1 else ()


def _size_notes(width: int, height: int) -> tuple[str, ...]:
    if min(width, height) >= SMALL_SIDE:
        return ()
    return (f"only {width} x {height} pixels: enlarged for the network, a map can say little about where",)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  EXIF is written by cameras and phones, and fails in every way there is
        return 1
