"""From the bytes of an image file to the upright RGB image a person sees, or one clear reason why not."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib import import_module
from typing import Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from cam_cli.errors import ImageError
from cam_cli.images.formats import installed
from cam_cli.images.image import MAX_PIXELS, RgbImage, check_size, upright
from cam_cli.images.kinds import Kind, kind_of, needs, unsupported
from cam_cli.images.modes import to_rgb
from cam_cli.images.pillow import strict_and_unlimited
from cam_cli.text import one_line

SMALL_SIDE = 16

_PLUGINS: Final = {
    "JPEG": ("Jpeg", "JPEG"), "PNG": ("Png", "PNG"), "WebP": ("WebP", "WEBP"), "GIF": ("Gif", "GIF"), "BMP": ("Bmp", "BMP"),
    "TIFF": ("Tiff", "TIFF"), "AVIF": ("Avif", "AVIF"), "JPEG 2000": ("Jpeg2K", "JPEG2000"), "PPM": ("Ppm", "PPM"),
}  # fmt: skip
"""The module of Pillow that reads a format, and Pillow's name of it. It is loaded when a file needs it."""

_BUILT_WITH: Final = {"AVIF": "avif", "JPEG 2000": "jpg_2000", "WebP": "webp"}
_TURNED_ALREADY = ("HEIC",)


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    enough: int | None = None,
    bands: int | None = None,
    ending: str = "",
) -> RgbImage:
    """Decode the bytes of a file to the RGB image a viewer would show, or to the values in it.

    The format is told from the content. The size is judged from the header, before any pixel is decoded. Messages do not name
    the file: the caller knows it. Packages that a format needs are imported when the first file of that format comes.

    Args:
        data: the whole file.
        max_pixels: the most pixels (width x height) that are accepted.
        enough: a JPEG may be read at a half, a quarter or an eighth of its size, where both sides divide evenly and keep
            so many pixels; None: at its own.
        bands: of a network that is fed the values in a TIFF, how many it takes; None for one that is fed pictures.
        ending: of the file's name, for the message about one whose content says nothing; see `kind_of`.

    Raises:
        ImageError: stage `decode`; empty, not an image, of a format that is not read, cut short, damaged, or larger than
            `max_pixels`.
        MemoryError: as it came.
    """
    if not data:
        raise ImageError("the file is empty; fetch it again", stage="decode")
    kind = kind_of(data, ending)
    if kind.extra and not installed(kind.name):
        raise needs(kind.called, kind.extra)
    try:
        with strict_and_unlimited:
            image = _read(kind, data, max_pixels, enough, bands)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        named = f"{kind.called}, damaged or cut short in its header (the file begins with {data[:16]!r})"
        raise ImageError(f"{named}; fetch the file again", stage="decode") from error
    except Exception as error:
        raise ImageError(f"damaged or cut short: {one_line(error)}; fetch the file again", stage="decode") from error
    image.pixels.flags.writeable = False
    if min(image.width, image.height) < SMALL_SIDE and not image.prepared:
        size = f"{image.width} x {image.height}"
        note = f"only {size} pixels: enlarged for the network, a map can say little about where"
        image = replace(image, notes=(*image.notes, note))
    return image


def _read(kind: Kind, data: bytes, max_pixels: int, enough: int | None, bands: int | None) -> RgbImage:
    if kind.name == "NumPy":
        from cam_cli.images.arrays import read_array

        return read_array(data, max_pixels)
    if kind.name == "DICOM":
        from cam_cli.images.dicom import read_dicom

        return read_dicom(data, max_pixels)
    if kind.name == "JPEG XL":
        from cam_cli.images.codecs import read_jpeg_xl

        return read_jpeg_xl(data, max_pixels)
    if kind.name == "TIFF":
        return _read_tiff(kind, data, max_pixels, bands)
    try:
        return _read_by_pillow(kind, data, max_pixels, enough)
    except (ImageError, MemoryError):
        raise
    except Exception:
        if kind.name == "JPEG":
            from cam_cli.images.codecs import odd_jpeg

            if image := odd_jpeg(data, max_pixels):
                return image
        if (feature := _BUILT_WITH.get(kind.name)) and not features.check(feature):
            raise unsupported(
                kind.called, "this Pillow was built without it: pip install --force-reinstall pillow"
            ) from None
        raise


def _read_tiff(kind: Kind, data: bytes, max_pixels: int, bands: int | None) -> RgbImage:
    from cam_cli.images.tiff import read_tiff, tiff_facts

    facts = tiff_facts(data)
    if facts is not None and facts.raw:
        raise unsupported("a camera's raw file", "develop it to JPEG or TIFF, with darktable-cli or dcraw -T")
    if facts is not None and (bands is not None or facts.misread):
        return read_tiff(data, facts, max_pixels, bands)
    try:
        return _read_by_pillow(kind, data, max_pixels, None)
    except (ImageError, MemoryError):
        raise
    except Exception:
        if facts is None or facts.common:
            raise
        return read_tiff(data, facts, max_pixels, None)


def _read_by_pillow(kind: Kind, data: bytes, max_pixels: int, enough: int | None) -> RgbImage:
    if kind.name == "HEIC":
        import_module(installed("HEIC") or "").register_heif_opener()
        name = "HEIF"
    else:
        module, name = _PLUGINS[kind.name]
        import_module(f"PIL.{module}ImagePlugin")
    with Image.open(io.BytesIO(data), formats=[name]) as image:
        width, height = image.size
        check_size(width, height, max_pixels)
        # The further images in a phone's JPEG (MPO) or HEIC are previews and depth maps.
        frames = 1 if image.format in {"MPO", "HEIF"} else getattr(image, "n_frames", 1)
        if enough is not None and image.format == "JPEG":
            # No edge shifts only where the factor divides evenly.
            even = (n for n in (8, 4, 2) if width % n == height % n == 0 and min(width, height) // n >= enough)
            scale = next(even, 1)
            image.draft(None, (width // scale, height // scale))
        image.load()
        rgb, notes = to_rgb(image)
        orientation = 1 if kind.name in _TURNED_ALREADY else _orientation(image)
        pixels = np.ascontiguousarray(upright(np.asarray(rgb), orientation))
    if orientation in {5, 6, 7, 8}:
        width, height = height, width
    return RgbImage(pixels, width, height, (f"first of {frames} frames", *notes) if frames > 1 else notes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  EXIF is written by cameras and phones, and fails in every way there is
        return 1
