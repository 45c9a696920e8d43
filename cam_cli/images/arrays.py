"""Arrays of NumPy: the network's input as it is, (rows, columns, channels)."""

from __future__ import annotations

import io
import zipfile
from typing import IO

import numpy as np

from cam_cli.errors import ImageError
from cam_cli.images.image import RgbImage, Values, check_size
from cam_cli.images.views import view
from cam_cli.text import one_line

_LONGEST_HEADER = 10_000


def read_array(data: bytes, max_pixels: int) -> RgbImage:
    """Read a `.npy` file, or a `.npz` file of one array; nothing is unpickled, and its size is judged from its header.

    Raises:
        ImageError: stage `decode`; see `decode`.
    """
    if not data.startswith(b"PK"):
        values = _read(io.BytesIO(data), len(data), max_pixels)
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                names = ", ".join(member.filename.removesuffix(".npy") for member in members[:5])
                raise ImageError(
                    f"a .npz file of {len(members)} arrays ({names}{', ...' if len(members) > 5 else ''}); "
                    "save the one to explain in a file of its own",
                    stage="decode",
                )
            with archive.open(members[0]) as stream:
                values = _read(stream, members[0].file_size, max_pixels)
    pixels, shown = view(values)
    height, width = values.shape[:2]
    return RgbImage(pixels, width, height, (shown,) if shown else (), values, prepared=True)


def _read(stream: IO[bytes], size: int, max_pixels: int) -> Values:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except ValueError as error:
        raise ImageError(
            f"a NumPy array whose header is damaged: {one_line(error)}; save it again", "decode"
        ) from error
    if dtype.hasobject or dtype.kind not in "buif":
        raise ImageError(
            f"a NumPy array of {dtype}; save numbers, as np.save(file, a.astype('float32')) does", "decode"
        )
    if len(shape) not in (2, 3) or 0 in shape:
        listed = " x ".join(map(str, shape)) or "()"
        raise ImageError(
            f"a NumPy array of shape {listed}; save one image as rows x columns x channels", stage="decode"
        )
    rows, columns, bands = (*shape, 1)[:3]
    check_size(columns, rows, max_pixels, bands)
    count = rows * columns * bands
    body = stream.read(count * dtype.itemsize + 1)
    if len(body) != count * dtype.itemsize or size < len(body):
        raise ImageError(
            "a NumPy array, cut short or longer than its header says; save or fetch it again", stage="decode"
        )
    values: Values = np.frombuffer(body, dtype).reshape(shape, order="F" if by_columns else "C")
    return values[..., None] if values.ndim == 2 else values
