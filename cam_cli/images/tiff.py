"""TIFF files that Pillow does not read: many bands, floating-point colour, and the compressions of maps and microscopes."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import TiffImagePlugin

from cam_cli.errors import ImageError
from cam_cli.images.formats import installed
from cam_cli.images.image import RgbImage, Values, check_size, upright
from cam_cli.images.kinds import needs, unsupported
from cam_cli.images.views import picture, view
from cam_cli.text import one_line

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT = 256, 257, 258, 259, 262, 277, 284, 339
_SUBFILE, _SUBIFDS, _ORIENTATION, _DNG_VERSION = 254, 330, 274, 50706
_COLOUR_FILTER, _LINEAR_RAW, _WHITE_IS_ZERO = 32803, 34892, 0

_COMPRESSIONS: Final = {
    6: "old-style JPEG", 7: "JPEG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000",
    34887: "LERC", 34892: "lossy JPEG of DNG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL", 22610: "JPEG XR", 34934: "JPEG XR", 34933: "PNG",
}  # fmt: skip
"""The compressions that have a name for a user and that Pillow may be built without."""

_TYPES: Final = {
    1: ("B", 1), 2: ("", 1), 3: ("H", 2), 4: ("I", 4), 5: ("", 8), 6: ("", 1), 7: ("", 1), 8: ("", 2), 9: ("", 4), 10: ("", 8),
    11: ("", 4), 12: ("", 8), 13: ("I", 4), 16: ("Q", 8), 17: ("", 8), 18: ("Q", 8),
}  # fmt: skip
"""By the number of a tag's type: its code for `struct` if it is a whole number, and its bytes."""

_MOST_TAGS = 1000
_MOST_VALUES = 100

_FORMATS: Final = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}


@dataclass(frozen=True)
class TiffFacts:
    """What the first directory of a TIFF says.

    raw: it is a camera's raw file, of which Pillow would read a preview. common: Pillow reads such files, so it is damaged if
    that fails. misread: Pillow reads them wrongly.
    """

    text: str
    raw: bool
    common: bool
    misread: bool


def tiff_facts(data: bytes) -> TiffFacts | None:
    """Read the first directory of a TIFF; None if any part of it is damaged or not in the file."""
    tags = _first_directory(data)
    if tags is None or min(*(tags.get(side, (0,)) for side in (_WIDTH, _HEIGHT)))[0] < 1:
        return None
    bits, kinds = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
    compression, bands = tags.get(_COMPRESSION, (1,))[0], tags.get(_SAMPLES, (1,))[0]
    preview = tags.get(_SUBFILE, (0,))[0] & 1 and _SUBIFDS in tags
    raw = bool(preview) or _DNG_VERSION in tags or tags.get(_PHOTOMETRIC, (0,))[0] in (_COLOUR_FILTER, _LINEAR_RAW)
    name = _COMPRESSIONS.get(compression, "")
    packed = f", compressed by {name or f'method {compression}'}"
    kind = _FORMATS.get(kinds[0], "unknown")
    text = (
        f"a TIFF image of {bands} {'band' if bands == 1 else 'bands'} of {bits[0]} bits ({kind})"
        f"{packed if name or compression not in TiffImagePlugin.COMPRESSION_INFO else ''}"
    )
    # Pillow takes the planes of deep colour for pixels, and reads something else.
    in_planes = tags.get(_PLANAR, (1,))[0] == 2 and bands > 1 and (bits[0] != 8 or bands > 4)
    common = not in_planes and name in ("", "JPEG", "old-style JPEG") and _pillow_knows(data)
    return TiffFacts(text, raw, common, in_planes)


def _first_directory(data: bytes) -> dict[int, tuple[int, ...]] | None:
    """Return the whole numbers in the first directory by tag, `()` for other values; None if it, or a value, is cut off."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start_code, count_code, width = ("Q", "Q", 8) if is_big else ("I", "H", 4)
    tags: dict[int, tuple[int, ...]] = {}
    try:
        (start,) = struct.unpack_from(order + start_code, data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count_code, data, start)
        at = start + struct.calcsize("=" + count_code)
        for _ in range(min(entries, _MOST_TAGS)):
            tag, kind, count = struct.unpack_from(f"{order}HH{start_code}", data, at)
            value_at, code = at + 4 + width, _TYPES.get(kind, ("", 1))
            if count * code[1] > width:
                (value_at,) = struct.unpack_from(order + start_code, data, value_at)
            if value_at + count * code[1] > len(data):
                return None
            few = min(count, _MOST_VALUES)
            tags[tag] = struct.unpack_from(f"{order}{few}{code[0]}", data, value_at) if code[0] and few else ()
            at += 4 + 2 * width
        struct.unpack_from(order + start_code, data, at)
    except struct.error:
        return None
    return {tag: values for tag, values in tags.items() if values}


def _pillow_knows(data: bytes) -> bool:
    """Return True if Pillow has a mode and a decoder for a file; whether its pixels are there is another question."""
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except (SyntaxError, KeyError):
        return False
    except Exception:  # noqa: BLE001 - whatever else is wrong is damage
        return True
    return True


def read_tiff(data: bytes, facts: TiffFacts, max_pixels: int, bands: int | None) -> RgbImage:
    """Read the first image of a TIFF by tifffile.

    Args:
        data: the whole file.
        bands: how many a network takes that is fed the values of a file; None: a network that takes pictures. Pages of one band
            each, as many as the network takes, are taken for its bands.

    Raises:
        ImageError: stage `decode`; see `decode`.
    """
    if not installed("TIFF"):
        raise needs(f"{facts.text}, which Pillow does not read" if bands is None else facts.text, "images")
    import tifffile

    try:
        # The descriptions in a file may name other files, and are not followed.
        with tifffile.TiffFile(io.BytesIO(data), _multifile=False, is_ome=False) as file:
            return _read(file, facts, len(data), max_pixels, bands)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if "imagecodecs" in str(error) and not _has_codecs():
            raise needs(facts.text, "images") from error
        if isinstance(error, NotImplementedError) or "requires the 'imagecodecs' package" in str(error):
            raise unsupported(facts.text, f"convert it first ({one_line(error)})") from error
        raise ImageError(
            f"{facts.text}, damaged or cut short: {one_line(error)}; fetch the file again", "decode"
        ) from error


def _has_codecs() -> bool:
    return bool(installed("JPEG XL"))


def _read(file: Any, facts: TiffFacts, size: int, max_pixels: int, bands: int | None) -> RgbImage:
    page: Any = file.pages[0]
    width, height, samples = int(page.imagewidth), int(page.imagelength), int(page.samplesperpixel)
    check_size(width, height, max_pixels, max(samples, bands or 1))
    if page.imagedepth > 1 or page.dtype is None or page.dtype.kind not in "buif":
        raise unsupported(facts.text, "save its slices, or its real part, as TIFF images of their own first")
    pages, notes = [page], []
    if bands is not None and samples == 1 < bands == len(file.pages):
        pages = list(file.pages)
        if any(other.shape != page.shape or other.dtype != page.dtype for other in pages):
            raise unsupported(f"a TIFF image of {bands} pages of several sizes", "save its bands at one size first")
        notes.append(f"its {bands} pages are taken for the {bands} bands")
    elif len(file.pages) > 1:
        notes.append(f"first of {len(file.pages)} frames")
    values = np.concatenate([_values(each, size) for each in pages], axis=2)
    tag = page.tags.get(_ORIENTATION)
    values = upright(values, int(tag.value) if tag else 1)
    height, width = values.shape[:2]
    if bands is None and (found := _picture(values, page)) is not None:
        pixels, how = found
        return RgbImage(pixels, width, height, (*notes, *how))
    pixels, how_shown = view(values)
    return RgbImage(pixels, width, height, (*notes, *([how_shown] if how_shown else [])), values)


def _values(page: Any, size: int) -> Values:
    """Return (rows, columns, bands) of a page whose segments all lie in the file, of `size` bytes."""
    ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
    if any(end > size for end in ends):
        raise ValueError("its pixels reach past the end of the file")
    values: Values = page.asarray(maxworkers=1)
    values = values[0] if values.ndim == 4 else values
    if values.ndim == 2:
        return values[..., None]
    is_planar = page.planarconfig == 2 and values.shape[0] == page.samplesperpixel
    return np.moveaxis(values, 0, -1) if is_planar else values


def _picture(values: Values, page: Any) -> tuple[Values, tuple[str, ...]] | None:
    """Return the picture that values of grey, RGB or these with an alpha are; None for other numbers of bands."""
    extra = tuple(int(each) for each in page.extrasamples)
    if values.shape[2] - len(extra) not in (1, 3) or len(extra) > 1 or any(each not in (1, 2) for each in extra):
        return None
    return picture(values, with_alpha=bool(extra), inverted=page.photometric == _WHITE_IS_ZERO)
