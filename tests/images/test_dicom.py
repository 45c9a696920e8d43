"""DICOM, judged by pydicom's own windowing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from cam_cli.errors import ImageError
from cam_cli.images.decode import decode

pytestmark = pytest.mark.pure

pydicom = pytest.importorskip("pydicom")

RNG = np.random.default_rng(2)
GREY = RNG.integers(0, 4096, (24, 40)).astype(np.uint16)


def dicom(
    values: np.ndarray, kind: str = "MONOCHROME2", stored: int = 12, *, preamble: bytes = bytes(128), **tags: Any
) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=preamble)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    colours = 3 if kind in ("RGB", "YBR_FULL") else 1
    frames = values.shape[0] if values.ndim == 3 + (colours == 3) else 1
    file.Rows, file.Columns = values.shape[-2 - (colours == 3) :][:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = colours, kind
    if colours == 3:
        file.PlanarConfiguration = 0
    if frames > 1:
        file.NumberOfFrames = frames
    bits = values.dtype.itemsize * 8
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, stored, stored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def by_pydicom(data: bytes) -> np.ndarray:
    """0 to 255, by pydicom's functions and the output range that its documents give."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    file = pydicom.dcmread(io.BytesIO(data))
    stored = file.pixel_array
    values = apply_voi_lut(apply_modality_lut(stored, file), file)
    signed = file.PixelRepresentation
    ends = np.array(
        [-(2 ** (file.BitsStored - 1)), 2 ** (file.BitsStored - 1) - 1] if signed else [0, 2**file.BitsStored - 1]
    )
    low, high = ends * float(file.get("RescaleSlope", 1)) + float(file.get("RescaleIntercept", 0))
    shares = np.clip((values.astype(float) - low) / (high - low), 0, 1)
    return 255 * (1 - shares if file.PhotometricInterpretation == "MONOCHROME1" else shares)


WINDOWS = [
    {"WindowCenter": 2000, "WindowWidth": 1500},
    {"WindowCenter": [2000, 100], "WindowWidth": [1500, 50]},
    {"WindowCenter": 900, "WindowWidth": 1},
    {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 0.5, "RescaleIntercept": -1024},
    {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_grey_goes_through_the_first_window(window: dict[str, Any], kind: str, dtype: type) -> None:
    values = GREY if dtype is np.uint16 else (GREY.astype(np.int16) - 2048)
    data = dicom(values.astype(dtype), kind, **window)
    found = decode(data)
    np.testing.assert_allclose(found.pixels[..., 0], by_pydicom(data), atol=0.51)
    assert (found.pixels == found.pixels[..., :1]).all()
    assert any("window" in note for note in found.notes)
    assert any("MONOCHROME1" in note for note in found.notes) == (kind == "MONOCHROME1")


def test_a_voi_lut_counts_more_than_a_window() -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.linspace(1, 0, 4096) ** 2 * 65535).astype(np.uint16).tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    data = dicom(GREY, VOILUTSequence=[table], WindowCenter=5, WindowWidth=9)
    np.testing.assert_allclose(decode(data).pixels[..., 0], (1 - GREY / 4095) ** 2 * 255, atol=0.51)


def test_without_a_window_grey_has_its_own_range() -> None:
    low, high = int(GREY.min()), int(GREY.max())
    found = decode(dicom(GREY))
    np.testing.assert_allclose(found.pixels[..., 0], (GREY - low) / (high - low) * 255, atol=0.51)
    eight = (GREY // 16).astype(np.uint8)
    np.testing.assert_array_equal(decode(dicom(eight, stored=8)).pixels[..., 0], eight)


def test_colour_is_rgb_and_of_frames_the_first_counts() -> None:
    colour = RNG.integers(0, 256, (2, 24, 40, 3), np.uint8)
    found = decode(dicom(colour, "RGB", 8))
    np.testing.assert_array_equal(found.pixels, colour[0])
    assert "first of 2 frames" in found.notes


def test_a_preamble_that_is_the_header_of_a_tiff_misleads_nobody() -> None:
    data = dicom(GREY, preamble=b"II*\0\x08\0\0\0" + bytes(120), WindowCenter=2000, WindowWidth=1500)
    np.testing.assert_allclose(decode(data).pixels[..., 0], by_pydicom(data), atol=0.51)


def test_files_without_an_image_and_huge_ones_are_refused_from_the_header() -> None:
    data = dicom(GREY)
    with pytest.raises(ImageError, match="max_pixels"):
        decode(data, max_pixels=24 * 40 - 1)
    with pytest.raises(ImageError, match="65000 x 65000"):
        decode(dicom(GREY, Rows=65000, Columns=65000))
    bare = pydicom.dcmread(io.BytesIO(data))
    del bare.PixelData
    bare.Modality = "SR"
    buffer = io.BytesIO()
    bare.save_as(buffer)
    with pytest.raises(ImageError, match=r"without an image \(SR\)"):
        decode(buffer.getvalue())


def test_what_cannot_be_decompressed_says_how_it_is_compressed() -> None:
    from pydicom.uid import MPEG2MPML

    file = pydicom.dcmread(io.BytesIO(dicom(GREY)))
    file.PixelData = pydicom.encaps.encapsulate([b"\xff\x0a" + bytes(100)])
    file.file_meta.TransferSyntaxUID = MPEG2MPML
    file["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    file.save_as(buffer)
    with pytest.raises(ImageError, match=r"MPEG2.*decompress it first"):
        decode(buffer.getvalue())


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(cut: float) -> None:
    data = dicom(GREY, WindowCenter=2000, WindowWidth=1500)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(len(data) * cut)])
    assert "\n" not in str(caught.value)
