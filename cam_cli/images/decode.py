"""From the bytes of an image file to the upright RGB image a person sees, or one clear reason why not."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cam_cli.errors import ImageError
from cam_cli.images.formats import FORMATS
from cam_cli.images.modes import to_rgb
from cam_cli.images.pillow import strict_and_unlimited
from cam_cli.text import one_line

MAX_PIXELS = 200_000_000
SMALL_SIDE = 16

_PILLOW_NAMES = [name.upper() for name in FORMATS]
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation. From 5 on, width and height are swapped."""


@dataclass(frozen=True)
class RgbImage:
    """A decoded image.

    pixels: (rows, columns, 3) uint8, RGB, upright, read-only; fewer than the file holds where it was read at reduced size.
    width, height: of the upright image at full size.
    notes: one short sentence for every conversion that changed what the file holds.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...]


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> RgbImage:
    """Decode the bytes of a file in one of `FORMATS` to the RGB image a viewer would show.

    The size is judged from the header, before any pixel is decoded. Messages do not name the file: the caller knows it.

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
        with strict_and_unlimited, Image.open(io.BytesIO(data), formats=_PILLOW_NAMES) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    f"{width} x {height} = {width * height} pixels, more than max_pixels = {max_pixels}; "
                    "shrink the image or raise max_pixels",
                    stage="decode",
                )
            # The further images in a phone's JPEG (MPO) are previews and depth maps.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if enough is not None and image.format == "JPEG":
                # No edge shifts only where the factor divides evenly.
                even = (n for n in (8, 4, 2) if width % n == height % n == 0 and min(width, height) // n >= enough)
                scale = next(even, 1)
                image.draft(None, (width // scale, height // scale))
            image.load()
            rgb, notes = to_rgb(image)
            orientation = _orientation(image)
            pixels = np.asarray(rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        *names, last = FORMATS
        raise ImageError(
            f"not a {', '.join(names)} or {last} image, or one cut short in its header (the file begins with {data[:16]!r})",
            stage="decode",
        ) from error
    except Exception as error:
        raise ImageError(f"damaged or cut short: {one_line(error)}; fetch the file again", stage="decode") from error
    pixels.flags.writeable = False
    if orientation in _TURNS and orientation >= 5:
        width, height = height, width
    if frames > 1:
        notes = (f"first of {frames} frames", *notes)
    if min(width, height) < SMALL_SIDE:
        notes = (*notes, f"only {width} x {height} pixels: enlarged for the network, a map can say little about where")
    return RgbImage(pixels, width, height, notes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  EXIF is written by cameras and phones, and fails in every way there is
        return 1
