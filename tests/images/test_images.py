"""Bytes to arrays: what a person sees is what the network gets, and a bad file gives one clear line."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from cam_cli.decoding.image import DecodeSettings, decode_image
from cam_cli.errors import ImageError
from cam_cli.images.decode import decode
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.images.image import RgbImage
from cam_cli.images.pillow import strict_and_unlimited

pytestmark = pytest.mark.pure

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded_of(pixels: np.ndarray) -> RgbImage:
    return decode(encoded(Image.fromarray(pixels), "PNG"))


def refusal(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    assert caught.value.stage == "decode"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, idat)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


SAVED = {
    "jpeg": encoded(Image.fromarray(PIXELS), "JPEG"),
    "progressive": encoded(Image.fromarray(PIXELS), "JPEG", progressive=True),
    "png": encoded(Image.fromarray(PIXELS), "PNG"),
    "palette-png": encoded(Image.fromarray(PIXELS).quantize(32), "PNG"),
    "webp": encoded(Image.fromarray(PIXELS), "WEBP"),
    "gif": encoded(Image.fromarray(PIXELS), "GIF"),
    "bmp": encoded(Image.fromarray(PIXELS), "BMP"),
    "tiff": encoded(Image.fromarray(PIXELS), "TIFF"),
    "tiff-deflate": encoded(Image.fromarray(PIXELS), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-lzw": encoded(Image.fromarray(PIXELS), "TIFF", compression="tiff_lzw"),
}


def attempt(data: bytes, **options: int) -> RgbImage | None:
    """Return the decoded, or None where it was refused in the one allowed way."""
    try:
        return decode(data, **options)
    except ImageError as error:
        if error.stage != "decode" or "\n" in str(error):
            raise
        return None


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF", "ignore:Tag offset")
def test_a_file_cut_anywhere_is_refused_unless_every_pixel_is_there(name: str) -> None:
    data = SAVED[name]
    whole = decode(data).pixels
    cuts = {*range(1, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))}
    accepted = [decoded for cut in cuts if (decoded := attempt(data[:cut]))]
    for decoded in accepted:
        np.testing.assert_array_equal(decoded.pixels, whole)
    checksums_and_end_marker = 20
    assert len(accepted) <= checksums_and_end_marker


def test_a_lenient_host_process_does_not_make_cut_files_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "cut short" in refusal(SAVED["jpeg"][: len(SAVED["jpeg"]) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("data", [b"no image", b"\0" * 64, bytes(range(256)), b"\xff\xd8"])
def test_what_is_no_image_is_named_by_its_first_bytes(data: bytes) -> None:
    message = refusal(data)
    assert "JPEG, PNG, WebP, GIF, BMP, TIFF" in message
    assert repr(data[:16]) in message


def test_an_empty_file_says_so() -> None:
    assert "empty" in refusal(b"")


@settings(max_examples=examples(80), deadline=None)
@given(st.sampled_from(sorted(SAVED)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_give_an_image_or_an_image_error(name: str, hits: list[tuple[float, int]]) -> None:
    data = bytearray(SAVED[name])
    for where, value in hits:
        data[min(int(where * len(data)), len(data) - 1)] = value
    decoded = attempt(bytes(data), max_pixels=1_000_000)
    assert decoded is None or decoded.pixels.shape == (decoded.height, decoded.width, 3)


def test_a_huge_image_is_refused_from_its_header() -> None:
    message = refusal(png_header(20_000, 20_000))
    assert "20000 x 20000" in message
    assert "max_pixels = 200000000" in message


def test_our_limit_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in SAVED.values():
            assert decode(data, max_pixels=40 * 24).width == 40
            assert "max_pixels = 959" in refusal(data, max_pixels=40 * 24 - 1)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_switches_stay_set_until_the_last_holder_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with strict_and_unlimited:
        with strict_and_unlimited:
            pass
        assert Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_share_pillows_switches_and_restore_them() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    files = [data if i % 3 else data[:200] for i in range(20) for data in SAVED.values()]

    def stats(data: bytes) -> bytes | str:
        try:
            return decode(data).pixels.tobytes()
        except ImageError as error:
            return str(error)

    alone = [stats(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stats, files)) == alone
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_running_out_of_memory_is_not_the_images_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", exhausted)
    with pytest.raises(MemoryError):
        decode(SAVED["bmp"])


UNDO = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_images_stand_upright(orientation: int, kind: str, options: dict[str, str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(UNDO[orientation](PIXELS))
    decoded = decode(encoded(Image.fromarray(stored), kind, exif=exif, **options))
    np.testing.assert_array_equal(decoded.pixels, PIXELS)
    assert (decoded.width, decoded.height) == (40, 24)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File Read")
def test_bad_exif_is_ignored(exif: bytes) -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(PIXELS), "PNG", exif=exif)).pixels, PIXELS)
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)).pixels, decode(SAVED["jpeg"]).pixels
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    deep = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    decoded = decode(encoded(Image.fromarray(deep), kind))
    assert np.abs(decoded.pixels[..., 0] - deep / 257.0).max() <= 0.501
    assert decoded.notes == ("16-bit grey reduced to 8 bits",)


@pytest.mark.parametrize("values", [np.linspace(-3e5, 9e5, 400), np.linspace(0.25, 0.5, 400)])
def test_other_deep_greys_use_their_own_range(values: np.ndarray) -> None:
    grid = values.reshape(20, 20).astype(np.int32 if values.max() > 1 else np.float32)
    decoded = decode(encoded(Image.fromarray(grid), "TIFF"))
    expected = np.linspace(0, 255, 400).reshape(20, 20)
    assert np.abs(decoded.pixels[..., 1] - expected).max() <= 0.51
    assert "own range" in decoded.notes[0]


def test_floats_that_are_not_finite_are_drawn_dark_or_refused() -> None:
    grid = np.linspace(1, 2, 400, dtype=np.float32).reshape(20, 20)
    grid[0, 0], grid[0, 1] = np.nan, np.inf
    assert not decode(encoded(Image.fromarray(grid), "TIFF")).pixels[0, :2].any()
    assert "finite" in refusal(encoded(Image.fromarray(np.full_like(grid, np.nan)), "TIFF"))


def transparent(mode: str) -> bytes:
    red = np.zeros((20, 20, 4), np.uint8)
    red[..., 0] = 255
    red[:, :10, 3] = 255
    image = Image.fromarray(red)
    if mode == "P":
        return encoded(image.quantize(4), "PNG")
    if mode == "RGB":
        red[:, 10:, :3] = (0, 255, 0)
        return encoded(Image.fromarray(red[..., :3].copy()), "PNG", transparency=(0, 255, 0))
    return encoded(image.convert(mode), "PNG" if mode != "GIF" else mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_parts_show_white_paper(mode: str) -> None:
    decoded = decode(transparent(mode))
    opaque = np.array([76] * 3 if mode == "LA" else [255, 0, 0])
    assert np.abs(decoded.pixels[:, :10].astype(int) - opaque).max() <= 1
    assert (decoded.pixels[:, 10:] == 255).all()
    assert decoded.notes == ("transparent parts laid over white",)


def test_an_opaque_alpha_channel_is_not_worth_a_note() -> None:
    decoded = decode(encoded(Image.fromarray(PIXELS).convert("RGBA"), "PNG"))
    assert decoded.notes == ()
    np.testing.assert_array_equal(decoded.pixels, PIXELS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_a_film_the_first_frame_is_taken(kind: str) -> None:
    shades = [Image.new("RGB", (20, 20), (level, level, level)) for level in (10, 120, 240)]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encoded(shades[0], kind, save_all=True, append_images=shades[1:], **options))
    assert (decoded.pixels == 10).all()
    assert decoded.notes == ("first of 3 frames",)


@pytest.mark.parametrize("ink", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)])
@pytest.mark.parametrize("profile", [None, b"junk", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_cmyk_inks_keep_their_colour(ink: tuple[int, int, int, int], profile: bytes | None) -> None:
    data = encoded(Image.new("CMYK", (32, 32), ink), "JPEG", icc_profile=profile)
    decoded = decode(data)
    seen = np.array([255 - min(255, part + ink[3]) for part in ink[:3]])
    assert np.abs(decoded.pixels[16, 16].astype(int) - seen).max() <= 6
    assert "without a usable profile" in decoded.notes[0]


def profile_in_which_cyan_ink_is_red() -> bytes:
    """Return an ICC v2 CMYK profile: white paper, and red where others have cyan."""
    table = np.full((2, 2, 2, 2, 3), (0, 128, 128), np.uint8)
    table[0, 0, 0, 0] = (255, 128, 128)
    table[1, 0, 0, 0] = (136, 128 + 80, 128 + 67)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + table.tobytes() + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    head = struct.pack(">I4sI4s4s4s12s4s", 144 + len(lut), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp")
    illuminant = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return (head.ljust(68, b"\0") + illuminant).ljust(128, b"\0") + tags + lut


def test_the_embedded_cmyk_profile_decides_what_ink_looks_like() -> None:
    image = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    decoded = decode(encoded(image, "JPEG", icc_profile=profile_in_which_cyan_ink_is_red()))
    assert np.abs(decoded.pixels[16, 16].astype(int) - (255, 0, 0)).max() <= 16
    assert decoded.notes == ("CMYK converted to RGB through its embedded profile",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "LAB"])
def test_every_mode_ends_as_rgb_near_the_original(mode: str) -> None:
    grey = Image.fromarray(np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(32, 0)).convert("RGB")
    lab = ImageCms.profileToProfile(
        grey, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    image = lab if mode == "LAB" else grey.convert(mode)
    decoded = decode(encoded(image, "TIFF"))
    assert np.abs(decoded.pixels.astype(int) - np.asarray(grey)).max() <= 3


def test_tiny_images_carry_a_warning() -> None:
    data = encoded(Image.new("RGB", (300, 15)), "PNG")
    decoded = decode(data)
    assert "300 x 15" in decoded.notes[0]
    assert not decoded.pixels.flags.writeable


def test_unreadable_paths_fail_at_the_reading_stage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    how = DecodeSettings((8, 8), Preprocessing(), None, 10**6)
    for path, words in (
        (tmp_path / "none.jpg", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe.jpg", "not a regular file"),
        (Path("a\0b.jpg"), "null"),
    ):
        error = decode_image(path, None, how).error
        assert error is not None
        assert error.stage == "read"
        assert words in error.message
    (tmp_path / "a.jpg").write_bytes(SAVED["png"])
    image = decode_image(tmp_path / "a.jpg", None, how).image
    assert image is not None
    np.testing.assert_array_equal(image.picture, PIXELS)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
def test_stretch_is_pillows_own_resize(resample: str) -> None:
    x, box = fit(decoded_of(PIXELS), (30, 50), Preprocessing(resample=resample))
    expected = Image.fromarray(PIXELS).resize((50, 30), Image.Resampling[resample.upper()])
    np.testing.assert_array_equal(x, np.asarray(expected, np.float32))
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 40, 24)


def test_channels_and_normalisation_are_in_the_networks_order() -> None:
    decoded = decoded_of(np.full((20, 20, 3), (10, 20, 30), np.uint8))
    x, _ = fit(decoded, (8, 8), Preprocessing(channels="bgr", mean=(30, 10, 10), std=(1, 2, 4)))
    np.testing.assert_allclose(x[0, 0], [0, 5, 0])
    grey, _ = fit(decoded, (8, 8), Preprocessing(channels="grey", mean=(8,), std=(2,)))
    assert grey.shape == (8, 8, 1)
    assert abs(grey[0, 0, 0] - (0.299 * 10 + 0.587 * 20 + 0.114 * 30 - 8) / 2) <= 0.3


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.integers(1, 64), st.floats(0.01, 1))
def test_boxes_hold_their_promises(width: int, height: int, rows: int, columns: int, fraction: float) -> None:
    decoded = decoded_of(np.full((height, width, 3), 200, np.uint8))
    for kind in ("stretch", "crop", "letterbox"):
        how = Preprocessing(fit=kind, mean=(50.0,), std=(2.0,), crop_fraction=fraction)
        x, box = fit(decoded, (rows, columns), how)
        assert x.shape == (rows, columns, 3)
        assert x.dtype == np.float32
        across, down = box.right - box.left, box.bottom - box.top
        if kind == "crop":
            assert 0 <= box.left < box.right <= width
            assert 0 <= box.top < box.bottom <= height
            assert across / down == pytest.approx(columns / rows)
            assert max(across / width, down / height) == pytest.approx(fraction)
            assert box.left + box.right == pytest.approx(width)
        if kind == "letterbox":
            assert set(np.unique(x)) <= {0.0, 75.0}
            assert box.left <= 0 < width <= box.right
            seen = (x[..., 0] > 0).sum() / x[..., 0].size
            assert seen == pytest.approx(width * height / (across * down))


@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((0, 8), Preprocessing()),
        ((8, 8), Preprocessing(mean=(1, 2))),
        ((8, 8), Preprocessing(channels="grey", std=(1, 2, 3))),
        ((8, 8), Preprocessing(std=(0.0,))),
        ((8, 8), Preprocessing(mean=(float("nan"),))),
        ((8, 8), Preprocessing(fit="crop", crop_fraction=0.0)),
    ],
)
def test_impossible_fits_are_refused(size: tuple[int, int], how: Preprocessing) -> None:
    with pytest.raises(ImageError) as caught:
        fit(decoded_of(PIXELS), size, how)
    assert caught.value.stage == "fit"


def smooth_image(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("enough", "scale"), [(None, 1), (801, 1), (800, 1), (400, 2), (399, 2), (200, 4), (100, 8), (10, 8)]
)
def test_a_large_jpeg_is_read_at_the_least_size_that_is_enough(enough: int | None, scale: int) -> None:
    decoded = decode(encoded(smooth_image(1200, 800), "JPEG"), enough=enough)
    assert (decoded.width, decoded.height) == (1200, 800)
    assert decoded.pixels.shape == (800 // scale, 1200 // scale, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["stretch", "crop", "letterbox"])
def test_reduced_size_changes_neither_the_input_nor_its_place(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth_image(1208, 808), "JPEG", exif=exif, quality=95)
    whole, reduced = decode(data), decode(data, enough=100)
    assert (whole.width, whole.height) == (reduced.width, reduced.height) == whole.pixels.shape[1::-1]
    assert reduced.pixels.size < whole.pixels.size / 30
    how = Preprocessing(fit=kind)  # type: ignore[arg-type]
    (x, box), (small_x, small_box) = (fit(decoded, (40, 50), how) for decoded in (whole, reduced))
    assert np.abs(small_x - x).mean() < 1.5
    assert small_box == box


@pytest.mark.parametrize(("kind", "width"), [("PNG", 400), ("JPEG", 401)])
def test_other_formats_and_uneven_sizes_are_read_whole(kind: str, width: int) -> None:
    assert decode(encoded(smooth_image(width, 300), kind), enough=10).pixels.shape == (300, width, 3)
