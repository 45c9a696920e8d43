"""Formats that imagecodecs reads: JPEG XL, and JPEG of 12 bits or without loss."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from cam_cli.errors import ImageError
from cam_cli.images.formats import installed
from cam_cli.images.image import RgbImage, Values, check_size
from cam_cli.images.kinds import needs, unsupported
from cam_cli.images.views import picture

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_WIDTHS = (9, 13, 18, 30)
_FRAMES = range(0xC0, 0xD0)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_ALONE = (0x01, *range(0xD0, 0xD9))
_LS = 0xF7
_PROCESSES = {
    3: "lossless JPEG",
    9: "arithmetic-coded JPEG",
    10: "arithmetic-coded JPEG",
    11: "lossless JPEG",
    _LS: "JPEG-LS",
}


def read_jpeg_xl(data: bytes, max_pixels: int) -> RgbImage:
    """Read a JPEG XL image, upright, of an animation the first frame; its size is judged from its header.

    Raises:
        ImageError: stage `decode`; see `decode`.
    """
    check_size(*jpeg_xl_size(data), max_pixels)
    import imagecodecs

    values: Values = np.asarray(imagecodecs.jpegxl_decode(data, index=0, numthreads=1))
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] > 4:
        shape = " x ".join(map(str, values.shape))
        raise unsupported(f"a JPEG XL image of {shape} values", "convert it to PNG first")
    return _image(values)


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return width and height in the header of a JPEG XL file, as they are stored; raises ImageError if it is cut short."""
    stream = data if data.startswith(b"\xff\x0a") else next(_codestreams(data), b"")
    if len(stream) < 12 or not stream.startswith(b"\xff\x0a"):
        raise ImageError("a JPEG XL image, cut short in its header; fetch the file again", stage="decode")
    bits = _Bits(int.from_bytes(stream[2:14], "little"))
    is_small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.take(_WIDTHS[bits.take(2)]) + 1

    height, ratio = side(), bits.take(3)
    return (height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1] if ratio else side()), height


class _Bits:
    def __init__(self, value: int) -> None:
        self._rest = value

    def take(self, count: int) -> int:
        """Return the next bits, the least significant first."""
        value, self._rest = self._rest & ((1 << count) - 1), self._rest >> count
        return value


def _codestreams(data: bytes) -> Iterator[bytes]:
    """Yield where the image itself starts among the boxes of a container."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            yield data[start : start + 16]
        if length < 8:
            return
        at += length


def odd_jpeg(data: bytes, max_pixels: int) -> RgbImage | None:
    """Read a JPEG of a kind that Pillow does not read; None if it is an ordinary one, so that it must be damaged.

    Raises:
        ImageError: stage `decode`; it cannot be read here either.
    """
    frame = _jpeg_frame(data)
    if frame is None:
        return None
    process, bits, height, width = frame
    if bits == 8 and process not in _PROCESSES:
        return None
    name = _PROCESSES.get(process, "JPEG")
    what = f"a {name} image of {bits} bits" if bits != 8 else f"a {name} image"
    if process == _LS:
        raise unsupported(what, "convert it to PNG first")
    check_size(width, height, max_pixels)
    if not installed("JPEG XL"):
        raise needs(what, "images")
    import imagecodecs

    try:
        values: Values = imagecodecs.jpeg8_decode(data)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise unsupported(what, f"convert it to PNG first ({error})") from error
    values = values[..., None] if values.ndim == 2 else values
    if values.dtype == np.uint8:
        return _image(values)
    most = 2**bits - 1
    reduced = (np.minimum(values, most).astype(np.uint32) * 255 + most // 2) // most
    return _image(reduced.astype(np.uint8), f"{bits} bits reduced to 8")


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Return process, bits, height and width of the first frame of a JPEG."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker == _LS or (marker in _FRAMES and marker not in _NO_FRAMES):
            bits, height, width = struct.unpack_from(">BHH", data, at + 4)
            return (marker if marker == _LS else marker - 0xC0), bits, height, width
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _image(values: Values, *changed: str) -> RgbImage:
    pixels, notes = picture(values, with_alpha=values.shape[2] in (2, 4))
    height, width = pixels.shape[:2]
    return RgbImage(pixels, width, height, (*changed, *notes))
