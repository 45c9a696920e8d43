"""Maps to pictures: registration to well under a pixel, and pictures that say what the numbers say."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import measure

from cam_cli.images.decode import decode
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.render.colour import COLORMAPS, table
from cam_cli.render.encode import ENCODERS, read_picture
from cam_cli.render.picture import drawn, heatmap, overlay, placard
from cam_cli.render.png import png
from cam_cli.render.sheet import Cell, contact_sheet
from cam_cli.render.size import picture_size
from cam_cli.render.text import cut, font
from cam_cli.render.upsample import upsample
from cam_cli.results.layout import PICTURE_FORMATS

pytestmark = pytest.mark.pure

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
SIDE = st.integers(1, 20)


@given(SIDE, SIDE, st.integers(20, 70), st.integers(20, 70), st.integers(0, 2**32 - 1))
def test_a_whole_picture_is_enlarged_as_pillow_does(h: int, w: int, height: int, width: int, seed: int) -> None:
    saliency = np.random.default_rng(seed).random((h, w), np.float32)
    expected = Image.fromarray(saliency).resize((width, height), Image.Resampling.BILINEAR)
    placed = upsample(saliency, (0, 0, width, height), (width, height))
    assert placed.dtype == np.float32
    np.testing.assert_allclose(placed, np.asarray(expected), atol=2e-6)


@given(SIDE, SIDE, st.floats(-30, 20), st.floats(-30, 20), st.floats(1, 80), st.floats(1, 80), SIDE, SIDE)
def test_linear_ramps_show_the_position_of_every_pixel(
    h: int, w: int, left: float, top: float, across: float, down: float, height: int, width: int
) -> None:
    cell_x = left + (np.arange(w) + 0.5) * across / w
    cell_y = top + (np.arange(h) + 0.5) * down / h
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    box = (left, top, left + across, top + down)
    placed = upsample(cell_x[None, :] + 1000 * cell_y[:, None], box, (width, height))
    inside = ((x >= left) & (x <= box[2]))[None] & ((y >= top) & (y <= box[3]))[:, None]
    np.testing.assert_array_equal(~np.isnan(placed), inside)
    seen_x, seen_y = np.clip(x, cell_x[0], cell_x[-1]), np.clip(y, cell_y[0], cell_y[-1])
    expected = seen_x[None, :] + 1000 * seen_y[:, None]
    np.testing.assert_allclose(placed[inside], expected[inside], atol=0.02, rtol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 5, 5, 5), (5, 0, 0, 5), (0, 0, float("nan"), 1)])
def test_an_empty_box_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot lay"):
        upsample(np.ones((2, 2), np.float32), box, (5, 5))


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from(["stretch", "crop", "letterbox"]),
    st.tuples(st.integers(60, 200), st.integers(60, 200)),
    st.tuples(st.integers(48, 96), st.integers(48, 96)),
    st.floats(0.25, 0.75),
    st.floats(0.25, 0.75),
)
def test_a_dot_in_the_image_reaches_the_network_and_comes_back(
    kind: str, image_size: tuple[int, int], size: tuple[int, int], u: float, v: float
) -> None:
    width, height = image_size
    x, y = width * u, height * v
    across, down = np.arange(width) + 0.5 - x, np.arange(height) + 0.5 - y
    spot = np.exp(-(across[None] ** 2 + down[:, None] ** 2) / (2 * 5.0**2))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 1] = np.rint(255 * spot)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    canvas, box = fit(decode(buffer.getvalue()), size, Preprocessing(fit=kind, crop_fraction=1.0))
    sides = (box.left, box.top, box.right, box.bottom)
    if not (box.left + 15 < x < box.right - 15 and box.top + 15 < y < box.bottom - 15):
        return
    scale = (size[1] / (box.right - box.left), size[0] / (box.bottom - box.top))
    on_canvas = centroid(canvas[..., 1])
    assert abs(on_canvas[0] - (x - box.left) * scale[0]) < 0.25
    assert abs(on_canvas[1] - (y - box.top) * scale[1]) < 0.25
    back = centroid(np.nan_to_num(upsample(canvas[..., 1], sides, (width, height))))
    assert abs(back[0] - x) < 0.5
    assert abs(back[1] - y) < 0.5


def centroid(weights: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(weights.shape) + 0.5
    return float((columns * weights).sum() / weights.sum()), float((rows * weights).sum() / weights.sum())


@given(st.floats(1e-30, 1e30), st.integers(0, 2**32 - 1))
def test_normalising_forgets_the_unit_and_the_negative(unit: float, seed: int) -> None:
    saliency = np.random.default_rng(seed).normal(size=(5, 6)) + 0.5
    saliency[0, 0] = 4
    values = drawn((saliency * unit).astype(np.float32))
    assert (values.min(), values.max()) == (0, 1) or saliency.min() > 0
    np.testing.assert_allclose(values, np.clip(saliency, 0, None) / saliency.max(), rtol=1e-5)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_maps_without_a_picture_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="placard"):
        drawn(np.full((3, 3), bad, np.float32))


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 4000))
def test_pictures_keep_their_shape_and_never_grow(width: int, height: int, longest: int) -> None:
    w, h = picture_size(width, height, longest)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert max(w, h) == min(longest, max(width, height))
    assert abs(w * height / width - h) <= 0.5 + 0.5 * height / width or min(w, h) == 1


def test_tables_are_the_published_colours() -> None:
    assert table("viridis")[[0, 255]].tolist() == [[68, 1, 84], [253, 231, 37]]
    assert table("inferno")[[0, 255]].tolist() == [[0, 0, 4], [252, 255, 164]]
    assert table("jet")[[0, 255]].tolist() == [[0, 0, 128], [128, 0, 0]]
    for name in COLORMAPS:
        assert table(name).shape == (256, 3)
        assert len(np.unique(table(name), axis=0)) > 200
    with pytest.raises(ValueError, match="viridis"):
        table("rainbow")


def test_heatmaps_take_each_colour_from_the_table() -> None:
    values = (np.arange(256, dtype=np.float32) / 255).reshape(16, 16)
    drawn = np.asarray(heatmap(values, "viridis").convert("RGB")).reshape(256, 3)
    np.testing.assert_array_equal(drawn, table("viridis"))


def test_heatmaps_show_an_outside_and_shift_no_colour_by_more_than_a_step() -> None:
    values = (np.arange(256, dtype=np.float32) / 255).reshape(16, 16)
    values[0, 0] = np.nan
    drawn = np.asarray(heatmap(values, "viridis").convert("RGB")).reshape(256, 3)
    assert drawn[0].tolist() == [40, 40, 40]
    for i in range(1, 256):
        assert drawn[i].tolist() in table("viridis")[max(0, i - 1) : i + 2].tolist()


def test_overlays_leave_the_image_alone_where_the_map_is_zero() -> None:
    values = np.zeros((30, 40), np.float32)
    values[:, 20:] = 1
    drawn = np.asarray(overlay(NOISE, values, "inferno", 0.6)).astype(int)
    np.testing.assert_array_equal(drawn[:, :20], NOISE[:, :20])
    colour = table("inferno")[255].astype(float)
    luma = np.array([0.299, 0.587, 0.114])
    nearing = 0.6**0.5
    base = (1 - nearing) * (NOISE[:, 20:] @ luma)[..., None] + nearing * (colour @ luma)
    assert np.abs(drawn[:, 20:] - (0.6 * colour + 0.4 * base)).max() <= 1.5


@given(st.floats(0.05, 1))
def test_more_heat_shows_more_colour(opacity: float) -> None:
    values = np.linspace(0, 1, 60, dtype=np.float32)[None]
    drawn = np.asarray(overlay(np.full((1, 60, 3), 128, np.uint8), values, "viridis", opacity)).astype(float)
    target = table("viridis")[np.rint(values[0] * 255).astype(int)].astype(float)
    share = np.ptp(drawn[0], axis=1) / np.ptp(target, axis=1)  # of the colour, which grey has none of
    assert share[0] == 0
    assert share[-1] == pytest.approx(opacity, abs=0.02)
    assert (np.diff(share) > -0.03).all()


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_heat_has_the_brightness_of_its_colour_on_every_ground(colormap: str) -> None:
    """Within a tenth of the way to the ground's; by the opacity alone it would be within four tenths."""
    values = np.linspace(0.5, 1, 40, dtype=np.float32)[None]
    expected = luma(table(colormap)[np.rint(values[0] * 255).astype(int)])
    for ground in (0, 60, 128, 200, 255):
        drawn = luma(np.asarray(overlay(np.full((1, 40, 3), ground, np.uint8), values, colormap, 0.6))[0])
        prominence = values[0] * (2 - values[0])
        rest = (1 - 0.6 * prominence) * (1 - 0.6**0.5 * prominence)
        np.testing.assert_allclose(drawn - expected, rest * (ground - expected), atol=2)
        assert np.abs(drawn - expected)[-1] < 0.1 * max(ground, 255 - ground)


def luma(colours: np.ndarray) -> np.ndarray:
    return colours.astype(float) @ np.array([0.299, 0.587, 0.114])


def test_contours_run_where_the_map_crosses_a_half_and_four_fifths() -> None:
    """Against scikit-image's marching squares, which finds the same lines by another way."""
    down, across = np.mgrid[0:160, 0:200].astype(np.float32)
    values = np.exp(-(((across - 90) / 50) ** 2 + ((down - 85) / 35) ** 2)).astype(np.float32)
    plain, lined = (
        np.asarray(overlay(np.full((160, 200, 3), 90, np.uint8), values, "inferno", 0.6, contours=on)).astype(int)
        for on in (False, True)
    )
    changed = np.abs(lined - plain).max(axis=-1) > 20
    distance = np.full(changed.shape, np.inf)
    for level in (0.5, 0.8):
        (line,) = measure.find_contours(values, level)
        away = np.hypot(down[..., None] - line[:, 0], across[..., None] - line[:, 1]).min(axis=-1)
        assert changed[away < 0.5].all()
        distance = np.minimum(distance, away)
    assert not changed[distance > 3].any()
    white = (lined > 200).all(axis=-1)
    assert white[changed].any()


def test_contours_spare_what_the_network_never_saw_and_pictures_of_one_row() -> None:
    values = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(30, axis=0)
    values[:, 15:] = np.nan
    drawn, plain = (np.asarray(overlay(NOISE, values, "inferno", 0.6, contours=on)) for on in (True, False))
    np.testing.assert_array_equal(drawn[:, 15:], plain[:, 15:])
    for shape in ((1, 1), (1, 9), (9, 1)):
        assert (
            overlay(NOISE[: shape[0], : shape[1]], np.ones(shape, np.float32), "jet", 1, contours=True).size
            == shape[::-1]
        )


def test_what_the_network_never_saw_is_dark_and_grey() -> None:
    values = np.full((30, 40), 0, np.float32)
    values[:, 30:] = np.nan
    drawn = np.asarray(overlay(NOISE, values, "inferno", 0.6)).astype(int)
    outside = drawn[:, 30:]
    assert (np.ptp(outside, axis=-1) == 0).all()
    assert outside.max() <= 0.4 * 255 + 1
    np.testing.assert_array_equal(drawn[:, :30], NOISE[:, :30])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 9), (60, 60), (640, 480), (2000, 90)])
def test_placards_of_any_size_are_grey_and_fit(size: tuple[int, int]) -> None:
    noise = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    plain = np.full_like(noise, 96)
    for image in (noise, plain):
        drawn = placard(image, "blank map: nothing speaks for the class")
        assert drawn.size == size
        assert (np.ptp(np.asarray(drawn).astype(int), axis=-1) == 0).all()
    if min(size) >= 60:
        ink = np.argwhere(np.asarray(placard(plain, "blank map: nothing speaks for the class"))[..., 0] > 120)
        assert len(ink) > 20
        assert ink[:, 1].min() > 0
        assert ink[:, 1].max() < size[0] - 1


@given(st.sampled_from(["L", "RGB", "P"]), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_pngs_lose_nothing(mode: str, width: int, height: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    image = Image.fromarray(draw.integers(0, 256, (height, width, *[3] * (mode == "RGB")), np.uint8))
    if mode == "P":
        image.putpalette(draw.integers(0, 256, 768, np.uint8).tobytes())
    encoded = png(image)
    read = Image.open(io.BytesIO(encoded))
    assert read.mode == mode
    np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(image.convert("RGB")))
    by_opencv = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(by_opencv, np.asarray(image.convert("RGB")))


def test_each_picture_format_that_a_run_names_is_written_and_read_back() -> None:
    assert set(ENCODERS) == set(PICTURE_FORMATS)
    for name, encode in ENCODERS.items():
        encoded = encode(Image.fromarray(NOISE))
        assert read_picture(encoded).size == (40, 30)
        assert Image.open(io.BytesIO(encoded)).format == name.upper()


def test_jpegs_look_like_what_they_were_made_of() -> None:
    smooth = Image.fromarray(NOISE).resize((400, 300), Image.Resampling.BICUBIC)
    encoded = ENCODERS["jpeg"](smooth)
    difference = np.asarray(read_picture(encoded)).astype(float) - np.asarray(smooth)
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 36
    assert len(encoded) < len(ENCODERS["png"](smooth)) / 4


@pytest.mark.parametrize("data", [b"", b"GIF89a", png(Image.new("L", (9, 9)))[:50]])
def test_a_damaged_picture_of_a_run_is_an_os_error(data: bytes) -> None:
    with pytest.raises(OSError, match=r"."):
        read_picture(data)


@given(st.text(max_size=120), st.integers(0, 400), st.integers(8, 40))
def test_captions_never_overflow(text: str, width: int, size: int) -> None:
    face = font(size)
    line = cut(text, width, face)
    assert face.getlength(line) <= width
    assert line.isprintable()
    if line and line != " ".join(text.split()) and text.isprintable() and text.isascii():
        assert line.endswith("...")


def test_sheets_show_every_picture_under_any_caption() -> None:
    shades = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    shapes = [(300, 10), (10, 300), (1, 1), (90, 70)]
    captions = ["日本語 🦘", "\udcff\n\0 bad", "x" * 5000, ""]
    cells = [
        Cell(Image.new("RGB", shape, shade), caption)
        for shade, shape, caption in zip(shades, shapes, captions, strict=True)
    ]
    rows = [cells[:3], [cells[3]], [Cell(None, "none", "= predicted")]]
    sheet = np.asarray(contact_sheet(rows, ["a", "b" * 900, "c", "d"], 96).image)
    for shade, shape in zip(shades, shapes, strict=True):
        found = np.argwhere((sheet == shade).all(-1))
        extent = np.ptp(found, axis=0) + 1
        assert extent.max() == 96
        assert extent.tolist() == [max(1, round(side * 96 / max(shape))) for side in reversed(shape)]
    background = sheet[0, 0]
    assert (sheet[:, -1] == background).all()
    assert (sheet[-1] == background).all()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(150, 500), st.sampled_from([16, 40, 128]))
@settings(max_examples=examples(15), deadline=None)
def test_a_sheet_is_never_larger_than_a_viewer_opens(rows: int, columns: int, largest: int, cell: int) -> None:
    row = [Cell(Image.new("RGB", (9, 7), (200, 0, 0)), "x")] * columns
    made = contact_sheet([row] * rows, ["t"] * columns, cell, largest)
    assert max(made.image.size) <= largest
    assert 1 <= made.rows <= rows
    assert 1 <= made.columns <= columns
    if rows * columns == 1:
        assert (made.rows, made.columns) == (1, 1)


def test_a_long_sheet_has_columns_in_the_order_of_its_rows() -> None:
    shades = [(10 + 4 * number, 250 - 4 * number, 90) for number in range(40)]
    made = contact_sheet([[Cell(Image.new("RGB", (30, 20), shade), "")] for shade in shades], None, 64)
    assert made.rows == 40
    assert 1 < made.image.width / made.image.height < 2.2
    pixels = np.asarray(made.image)
    corners = [tuple(np.argwhere((pixels == shade).all(-1)).min(axis=0)[::-1].tolist()) for shade in shades]
    assert corners == sorted(corners), "down the first column, then down the next"
    assert len({left for left, _ in corners}) > 2


def test_a_mark_frames_its_picture_and_no_other() -> None:
    picture = Image.new("RGB", (60, 60), (0, 90, 0))
    made = contact_sheet([[Cell(picture, "", mark="wrong: truth is cow"), Cell(picture, "")]], None, 128)
    red = np.argwhere((np.asarray(made.image) == (214, 48, 49)).all(-1))
    assert np.ptp(red, axis=0).tolist() == [127, 127]
    assert red[:, 1].max() < made.image.width / 2


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="picture"):
        contact_sheet([[]])
