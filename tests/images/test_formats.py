"""Every format that is read, judged by the library that wrote it; every other one is named, and never called damaged."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cam_cli.errors import ImageError
from cam_cli.images import formats
from cam_cli.images.codecs import jpeg_xl_size
from cam_cli.images.decode import decode
from cam_cli.images.formats import FORMATS, NOT_READ, endings_left_out, endings_read, left_out_text

pytestmark = pytest.mark.pure

RNG = np.random.default_rng(3)
PIXELS = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).resize((40, 24), Image.Resampling.BICUBIC)
)
GREY = PIXELS[..., 0]
BANDS = RNG.random((24, 40, 5)).astype(np.float32)
DATA = Path(__file__).parent.parent / "data"
CONTAINERS = pytest.mark.parametrize("usecontainer", [False, True])


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: np.ndarray, **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    if options.get("compression"):
        pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def refusal(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    assert caught.value.stage == "decode"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


# --- what Pillow reads


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG2000", {}), ("JPEG2000", {"no_jp2": True}), ("PPM", {}), ("AVIF", {"quality": 90})]
)
def test_pillows_further_formats_are_as_pillow_reads_them(kind: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(PIXELS), kind, **options)
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert "max_pixels" in refusal(data, max_pixels=40 * 24 - 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["AVIF", "JPEG"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    data = encoded(Image.fromarray(PIXELS), kind, exif=rotated(orientation), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(upright.convert("RGB")))


def test_endings_are_those_that_pillow_gives_the_formats() -> None:
    Image.init()
    names = {"WebP": "WEBP", "JPEG 2000": "JPEG2000"}
    missing = {
        ending: name
        for name, endings in FORMATS.items()
        for ending in endings
        if Image.EXTENSION.get(f".{ending}") not in {names.get(name, name), "MPO"}
    }
    assert missing == {}
    assert not NOT_READ & endings_read()


# --- what extras read


@pytest.fixture(params=["plain", "turned"])
def heic(request: pytest.FixtureRequest) -> tuple[bytes, str]:
    """A HEIC file of `PIXELS`, without loss, as it is or to be turned by 90 degrees when it is shown."""
    return (DATA / f"{request.param}.heic").read_bytes(), request.param


def test_heic_has_its_pixels_upright(heic: tuple[bytes, str]) -> None:
    if not formats.installed("HEIC"):
        pytest.skip("the extra `images` is not installed")
    data, name = heic
    wanted = np.rot90(PIXELS, -1) if name == "turned" else PIXELS
    found = decode(data)
    np.testing.assert_allclose(found.pixels.astype(int), wanted, atol=2)
    assert (found.width, found.height) == wanted.shape[1::-1]
    assert "max_pixels" in refusal(data, max_pixels=40 * 24 - 1)


@CONTAINERS
@pytest.mark.parametrize(("values", "note"), [(PIXELS, ""), (GREY, ""), (PIXELS.astype(np.uint16) * 257, "16-bit")])
def test_jpeg_xl_has_its_pixels(values: np.ndarray, note: str, usecontainer: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpegxl_encode(values, lossless=True, usecontainer=usecontainer)
    found = decode(data)
    shown = PIXELS if values.ndim == 3 else np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(found.pixels, shown)
    assert note in " ".join(found.notes)


@CONTAINERS
@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (40, 24), (256, 256), (300, 200), (1920, 1080), (517, 1000), (8200, 3)]
)
def test_the_size_of_a_jpeg_xl_is_known_from_its_header(size: tuple[int, int], usecontainer: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    width, height = size
    data = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), effort=1, usecontainer=usecontainer)
    assert jpeg_xl_size(data) == size
    assert "max_pixels" in refusal(data, max_pixels=width * height - 1) if width * height > 1 else True


@pytest.mark.parametrize("cut", [2, 3, 8, 12, 20, 40])
def test_a_cut_jpeg_xl_is_refused(cut: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for container in (False, True):
        assert "cut short" in refusal(imagecodecs.jpegxl_encode(PIXELS, usecontainer=container)[:cut]) or cut < 12


def test_jpegs_that_pillow_does_not_read_are_read() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    assert "a JPEG-LS image, which is not read; convert it" in refusal(imagecodecs.jpegls_encode(PIXELS))
    np.testing.assert_array_equal(decode(imagecodecs.jpeg8_encode(PIXELS, lossless=True)).pixels, PIXELS)
    deep = imagecodecs.jpeg8_encode(PIXELS.astype(np.uint16) * 4095 // 255, bitspersample=12, level=100)
    found = decode(deep)
    np.testing.assert_allclose(found.pixels.astype(float), imagecodecs.jpeg8_decode(deep) / 4095 * 255, atol=0.5)
    assert found.notes == ("12 bits reduced to 8",)


# --- TIFF that Pillow does not read

COMPRESSED = ["lerc", "jpeg2000", "jpegxl", "zstd", "lzma", "deflate", "lzw"]


@pytest.mark.parametrize("compression", COMPRESSED)
def test_a_compressed_tiff_has_its_pixels(compression: str) -> None:
    np.testing.assert_array_equal(decode(tiff(PIXELS, photometric="rgb", compression=compression)).pixels, PIXELS)


def test_a_file_whose_content_says_nothing_is_named_by_its_ending() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TGA")
    with pytest.raises(ImageError, match="a TGA image by its ending, which is not read; convert it to PNG"):
        decode(buffer.getvalue(), ending="tga")
    with pytest.raises(ImageError, match="not a JPEG"):
        decode(buffer.getvalue(), ending="png")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("kind", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float16"])
def test_a_grey_tiff_of_any_type_is_bright_where_its_values_say(kind: str, white: bool, order: Any) -> None:
    dtype = np.dtype(kind)
    low, high = (-5.0, 9.0) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max * 0.999)
    values = np.tile(np.linspace(low, high, 60).astype(dtype), (44, 1))
    found = decode(tiff(values, byteorder=order, photometric="miniswhite" if white else "minisblack")).pixels[0, :, 0]
    expected = np.linspace(255, 0, 60) if white else np.linspace(0, 255, 60)
    assert np.abs(found - expected).max() <= 2


def test_a_tiff_of_webp_has_its_pixels(capfd: pytest.CaptureFixture[str]) -> None:
    data = tiff(PIXELS, photometric="rgb", compression="webp", compressionargs={"lossless": True})
    np.testing.assert_array_equal(decode(data).pixels, PIXELS)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_colour_is_reduced_to_8_bits(planar: str) -> None:
    values = PIXELS if planar == "contig" else np.moveaxis(PIXELS, -1, 0)
    for deep, note in (
        (values.astype(np.uint16) * 257, ""),
        (values.astype(np.float32), "scaled to 8 bits from its own"),
    ):
        found = decode(tiff(deep, photometric="rgb", planarconfig=planar))
        if note:
            low, high = int(PIXELS.min()), int(PIXELS.max())
            np.testing.assert_allclose(found.pixels, (PIXELS - low) * (255 / (high - low)), atol=0.5)
        else:
            np.testing.assert_array_equal(found.pixels, PIXELS)
        assert note in " ".join(found.notes)
        assert found.values is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["contig", "separate", "pages", "big"])
def test_the_values_of_bands_are_those_in_the_file(dtype: type, layout: str) -> None:
    values = (BANDS * 250).astype(dtype)
    if layout == "pages":
        data = tiff(np.moveaxis(values, -1, 0), photometric="minisblack")
    elif layout == "separate":
        data = tiff(np.moveaxis(values, -1, 0), photometric="minisblack", planarconfig="separate")
    else:
        data = tiff(values, photometric="minisblack", planarconfig="contig", bigtiff=layout == "big")
    found = decode(data, bands=5)
    assert found.values is not None
    assert found.values.dtype == dtype
    np.testing.assert_array_equal(found.values, values)
    assert found.pixels.shape == (24, 40, 3)
    assert any("pictures show the first three bands" in note for note in found.notes)


def test_two_bands_of_many_pixels_count_as_values() -> None:
    data = tiff(np.zeros((24, 40, 9), np.uint8), photometric="minisblack", planarconfig="contig")
    assert "9 bands" in refusal(data, max_pixels=24 * 40)


def test_a_cut_tiff_of_bands_is_refused_wherever_it_is_cut() -> None:
    data = tiff(BANDS, photometric="minisblack", planarconfig="contig")
    for cut in {*range(8, len(data), len(data) // 40), len(data) - 1}:
        refusal(data[:cut], bands=5)


def test_complex_values_are_refused_by_what_they_are() -> None:
    message = refusal(tiff(BANDS[..., 0].astype(np.complex64)))
    assert "complex" in message
    assert "damaged" not in message


# --- arrays


def array(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    if list(arrays) == ["npy"]:
        np.save(buffer, arrays["npy"])
    else:
        np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["f4", ">f8", "f2", "u1", "i8", "?"])
def test_an_array_comes_as_it_is(dtype: str) -> None:
    values = (BANDS * 3).astype(dtype)
    for data in (array(npy=values), array(npy=np.asfortranarray(values)), array(only=values)):
        found = decode(data)
        assert found.prepared
        np.testing.assert_array_equal(found.values, values)
        assert (found.width, found.height) == (40, 24)


class Touch:
    """An object whose unpickling leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_arrays_of_other_kinds_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "unpickled"
    objects = np.array([Touch(mark), 1], object)
    assert "object" in refusal(array(npy=objects))
    assert "object" in refusal(array(only=objects))
    assert not mark.exists()
    assert "complex64" in refusal(array(npy=BANDS.astype(np.complex64)))
    assert "2 arrays (a, b)" in refusal(array(a=BANDS, b=BANDS))
    assert "shape 4" in refusal(array(npy=np.zeros(4)))
    assert "shape 1 x 24 x 40 x 5" in refusal(array(npy=BANDS[None]))
    assert "cut short" in refusal(array(npy=BANDS)[:-1])


def test_an_array_that_claims_a_terabyte_is_refused_before_it_is_made() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 500000, 1), }"
    npy = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy)
    for data in (npy, buffer.getvalue()):
        assert "more than max_pixels" in refusal(data)


# --- what is not read

OTHERS = {
    "SVG": b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": encoded(Image.fromarray(PIXELS), "PDF"),
    "PostScript": encoded(Image.fromarray(PIXELS), "EPS"),
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "camera's raw": b"II*\0\x10\0\0\0CR\2\0" + bytes(90),
    "a video": b"\0\0\0\x20ftypisom" + bytes(50),
    "video": b"\x1a\x45\xdf\xa3" + bytes(50),
    "HTML": b"<!DOCTYPE html>\n<p>404",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "icon": encoded(Image.fromarray(PIXELS), "ICO"),
    "DirectDraw": encoded(Image.fromarray(PIXELS), "DDS"),
    "SGI": encoded(Image.fromarray(PIXELS), "SGI"),
    "PCX": encoded(Image.fromarray(PIXELS), "PCX"),
    "OpenEXR": b"v/1\x01\x02\0\0\0" + bytes(40),
    "ZIP": array(only=BANDS)[:30] + b"a.jpg",
    "gzip": b"\x1f\x8b\x08\0" + bytes(30),
    "FITS": b"SIMPLE  =                    T",
    "NIfTI": bytes(344) + b"n+1\0" + bytes(40),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_read_is_named_with_what_to_do(name: str) -> None:
    message = refusal(OTHERS[name])
    assert name in message
    assert "; " in message
    assert "damaged" not in message


def test_raw_files_in_a_tiff_are_not_read_as_their_previews() -> None:
    dng = tiff(PIXELS, photometric="rgb", extratags=[(50706, "B", 4, bytes([1, 4, 0, 0]), False)])
    nef = io.BytesIO()
    with pytest.importorskip("tifffile").TiffWriter(nef) as file:
        file.write(PIXELS, photometric="rgb", subfiletype=1, subifds=1)
        file.write(GREY)
    for data in (dng, nef.getvalue()):
        assert "raw" in refusal(data)


@pytest.mark.parametrize(
    ("data", "called", "extra"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC", "images"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40), "HEIC", "images"),
        (b"\xff\x0a" + bytes(40), "JPEG XL", "images"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM", "medical"),
    ],
)
def test_without_its_extra_a_format_says_what_to_install(
    data: bytes, called: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    message = refusal(data)
    assert called in message
    assert f"pip install 'smoothcam[{extra}]'" in message


@pytest.mark.parametrize("bands", [None, 5])
def test_without_its_extra_a_tiff_says_what_it_is(bands: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    five = tiff(BANDS, photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    with pytest.raises(ImageError, match=r"5 bands of 32 bits \(float\).*pip install 'smoothcam\[images\]'"):
        decode(five, bands=bands)


# --- what is left out of folders


def test_endings_follow_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(formats, "find_spec", lambda _, there=there: there or None)
        endings_read.cache_clear()
        endings_left_out.cache_clear()
        assert {"heic", "jxl", "dcm"} <= (endings_read() if there else endings_left_out().keys())
        assert {"dng", "npy"} <= endings_left_out().keys()
        assert not endings_read() & endings_left_out().keys()
    assert left_out_text({"heic": 3, "dng": 2}) == (
        "5 files look like images and were left out: 3 .heic, 2 .dng (for .heic: pip install 'smoothcam[images]')"
    )
    assert left_out_text({"dng": 1}) == "1 file looks like an image and was left out: 1 .dng"
    endings_read.cache_clear()
    endings_left_out.cache_clear()
