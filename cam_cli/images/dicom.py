"""DICOM: the first frame of an X-ray, a slice or an ultrasound image, windowed as the file itself says."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import ImageError
from cam_cli.images.image import RgbImage, Values, check_size
from cam_cli.images.kinds import unsupported
from cam_cli.images.views import to_8_bits
from cam_cli.text import one_line

_INVERTED = "MONOCHROME1"
_GREY = (_INVERTED, "MONOCHROME2")


def read_dicom(data: bytes, max_pixels: int) -> RgbImage:
    """Read the first frame as 8-bit RGB: modality LUT, then the VOI LUT or the first window, then MONOCHROME1 inverted.

    Without a VOI LUT or a window, grey is scaled from its own range.

    Raises:
        ImageError: stage `decode`; see `decode`.
    """
    from pydicom import config, dcmread
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    config.settings.reading_validation_mode = config.IGNORE
    dataset: Any = dcmread(io.BytesIO(data), force=True)
    rows, columns = (int(dataset.get(name) or 0) for name in ("Rows", "Columns"))
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if (
        not kind
        or min(rows, columns) < 1
        or not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(dir(dataset))
    ):
        modality = f" ({dataset.Modality})" if dataset.get("Modality") else ""
        raise ImageError(f"a DICOM file without an image{modality}; leave it out", stage="decode")
    check_size(columns, rows, max_pixels, int(dataset.get("SamplesPerPixel") or 1))
    notes = []
    with suppress(TypeError, ValueError):
        if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
            notes.append(f"first of {frames} frames")
    values = _frame(dataset)
    if kind in _GREY:
        values = apply_modality_lut(values, dataset)
        pixels, how = _windowed(values, dataset)
        notes.append(how)
        if kind == _INVERTED:
            pixels = 255 - pixels
            notes.append("inverted, as MONOCHROME1 is dark where its values are high")
    else:
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
        pixels, how = to_8_bits(values, "colour")
        notes += [how] if how else []
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    rgb = np.ascontiguousarray(np.broadcast_to(pixels, (rows, columns, 3)))
    return RgbImage(rgb, columns, rows, tuple(notes))


def _frame(dataset: Any) -> Values:
    """Return the values of the first frame; say what to do if they are compressed in a way that nothing here reads."""
    from pydicom.pixels.utils import pixel_array

    meta = getattr(dataset, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    if syntax is None:  # as old files are: little endian, and uncompressed
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

        implicit = getattr(dataset, "original_encoding", (True,))[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        frame: Values = pixel_array(dataset, index=0)
    except (NotImplementedError, RuntimeError) as error:
        name = getattr(syntax, "name", syntax)
        if syntax is None or not syntax.is_compressed:
            raise ImageError(
                f"a DICOM file, damaged or cut short: {one_line(error)}; fetch it again", "decode"
            ) from error
        is_missing = "missing" in str(error)
        what = f"a DICOM file compressed as {name}{'' if is_missing else ', in a way that is not common or damaged'}"
        advice = "pip install python-gdcm, or decompress it first" if is_missing else "decompress it first"
        raise unsupported(what, f"{advice}: gdcmconv --raw IN OUT") from error
    return frame


def _windowed(values: Values, dataset: Any) -> tuple[NDArray[np.uint8], str]:
    """Return grey values as 8 bits, by the VOI LUT, the first window, or their own range (PS3.3, C.11.2), and say which."""
    from pydicom.pixels.processing import apply_voi

    if (luts := dataset.get("VOILUTSequence")) and luts[0].get("LUTData") is not None:
        bits = int(luts[0].LUTDescriptor[2])
        stored = values if values.dtype.kind in "iu" else np.rint(values).astype(np.int64)
        shares = apply_voi(stored, dataset).astype(np.float64) / (2**bits - 1)
        return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8), "grey through the VOI LUT of the file"
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre is not None and width is not None and (width >= 1 if function == "LINEAR" else width > 0):
        # The bounds are included: a window of one value is a threshold.
        x = values.astype(np.float64)
        if function == "SIGMOID":
            shares = 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
        else:
            middle, span = (centre - 0.5, width - 1) if function == "LINEAR" else (centre, width)
            shares = (x - middle) / span + 0.5 if span else (x > middle).astype(np.float64)
        return np.rint(255 * np.clip(shares, 0, 1)).astype(
            np.uint8
        ), f"grey through the window {centre:g}, width {width:g}"
    is_8_bit = values.dtype == np.uint8 and dataset.get("BitsStored") == 8
    pixels, how = to_8_bits(values if is_8_bit else values.astype(np.float32))
    return pixels, how or "no window in the file: its 8-bit values are taken as they are"


def _first(value: Any) -> float | None:
    """Return the first number of an element that has one or several; None if it has none."""
    if value is None or value == "":
        return None
    with suppress(TypeError, ValueError, IndexError):
        return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
    return None
