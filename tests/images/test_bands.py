"""The values of many bands and arrays, fitted to a network's input."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_cli.decoding.image import DecodeSettings, decode_image
from cam_cli.errors import ImageError
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.images.image import RgbImage

pytestmark = pytest.mark.pure

RNG = np.random.default_rng(4)
BANDS = (RNG.random((48, 64, 5)) * 3000).astype(np.float32)
SHOWN = np.zeros((48, 64, 3), np.uint8)


def image(values: np.ndarray | None, *, prepared: bool = False) -> RgbImage:
    rows, columns = (SHOWN if values is None else values).shape[:2]
    return RgbImage(np.zeros((rows, columns, 3), np.uint8), columns, rows, (), values, prepared)


def bands(**settings: Any) -> Preprocessing:
    return Preprocessing(channels="bands", **settings)


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = size
    planes = [
        Image.fromarray(values[..., k]).resize((columns, rows), Image.Resampling.BICUBIC)
        for k in range(values.shape[2])
    ]
    return np.dstack([np.asarray(plane) for plane in planes])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_values_are_resized_band_by_band_and_normalised_in_their_own_unit(dtype: type) -> None:
    values = (BANDS / 12).astype(dtype)
    mean, std = (10.0, 20.0, 30.0, 40.0, 50.0), (2.0,)
    x, box = fit(image(values), (24, 16), bands(mean=mean, std=std), 5)
    np.testing.assert_allclose(x, (resized(values.astype(np.float32), (24, 16)) - mean) / 2, rtol=1e-5, atol=1e-4)
    assert x.dtype == np.float32
    assert box == (0, 0, 64, 48)


def test_bands_are_cropped_and_padded_as_pictures_are() -> None:
    constant = np.broadcast_to(np.arange(1, 6, dtype=np.float32), (48, 64, 5))
    for how in ("crop", "letterbox"):
        x, box = fit(image(constant), (32, 32), bands(fit=how, mean=(1.0,)), 5)
        _, of_picture = fit(image(None), (32, 32), Preprocessing(fit=how))
        assert box == of_picture
        np.testing.assert_allclose(x[16, 16], np.arange(5), atol=1e-5)
    assert not x[0].any(), "the padding is 0"


@pytest.mark.parametrize("channels", ["rgb", "bgr", "grey", "rgba"])
def test_bands_are_no_picture(channels: Any) -> None:
    with pytest.raises(ImageError, match="5 bands of float32, and the network takes pictures") as caught:
        fit(image(BANDS), (24, 16), Preprocessing(channels=channels))
    assert caught.value.stage == "fit"


def test_another_number_of_bands_is_refused() -> None:
    for found in (image(BANDS), image(None)):
        with pytest.raises(ImageError, match=r"band.*and the network takes 4"):
            fit(found, (24, 16), bands(), 4)
    x, _ = fit(image(None), (24, 16), bands(), 3)
    assert x.shape == (24, 16, 3), "a picture has three bands"


@pytest.mark.parametrize(("how", "count"), [(bands(mean=(5.0,), std=(9.0,)), 5), (Preprocessing(std=(255.0,)), 3)])
def test_a_prepared_array_is_the_input(how: Preprocessing, count: int) -> None:
    values = BANDS[..., :count].astype(np.float64)
    x, box = fit(image(values, prepared=True), (48, 64), how, 5)
    np.testing.assert_array_equal(x, values.astype(np.float32))
    assert box == (0, 0, 64, 48)


@pytest.mark.parametrize("shape", [(48, 64, 4), (64, 48, 5), (5, 48, 64)])
def test_an_array_of_another_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=" x ".join(map(str, shape)) + ".*takes 48 x 64 x 5"):
        fit(image(np.zeros(shape), prepared=True), (48, 64), bands(), 5)


def opened(tmp_path: Path, values: np.ndarray, how: Preprocessing | None, size: tuple[int, int] = (48, 64)) -> Any:
    file = tmp_path / "a.npy"
    np.save(file, values)
    return decode_image(file, None, DecodeSettings(size, how, 40, 10_000, values.shape[2]))


def test_an_array_in_quite_another_range_than_images_is_noted(tmp_path: Path) -> None:
    unit = RNG.random((48, 64, 3)).astype(np.float32)
    for values, std, noted in (
        (unit, 255.0, False),
        (unit * 255, 255.0, True),
        (unit * 255, 1.0, False),
        (unit, 1.0, True),
    ):
        result = opened(tmp_path, values, Preprocessing(std=(std,)))
        np.testing.assert_array_equal(result.image.x, values)
        assert any("fed as they are" in note for note in result.image.notes) == noted


def test_an_array_with_nan_is_a_failure_of_its_own(tmp_path: Path) -> None:
    result = opened(tmp_path, np.full((48, 64, 5), np.nan, np.float32), bands())
    assert "not finite" in result.error.message


def test_the_picture_of_bands_is_there_without_a_network(tmp_path: Path) -> None:
    result = opened(tmp_path, BANDS, None)
    assert result.error is None
    assert result.image.picture.shape == (30, 40, 3)
    assert result.image.x.size == 0
    low, high = np.percentile(BANDS[..., :3], (1, 99))
    shown = np.clip((BANDS[..., :3] - low) * (255 / (high - low)), 0, 255)
    assert abs(result.image.picture.mean() - shown.mean()) < 2


def test_bands_of_a_tiff_reach_the_network_through_a_decoder(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, BANDS, photometric="minisblack", planarconfig="contig")
    (tmp_path / "a.tif").write_bytes(buffer.getvalue())
    result = decode_image(tmp_path / "a.tif", None, DecodeSettings((48, 64), bands(), None, 10_000, 5))
    np.testing.assert_allclose(result.image.x, BANDS, rtol=1e-6)
    assert not result.image.is_picture
