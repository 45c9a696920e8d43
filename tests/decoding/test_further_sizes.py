"""Inputs of further sizes, made of one decoding: each as if it were the only one, and where it lies in the first."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from cam_cli.decoding.image import DecodeSettings, decode_image
from cam_cli.images.fit import Preprocessing, input_box
from cam_cli.window import WHOLE

pytestmark = pytest.mark.pure

FIRST, FURTHER = (32, 32), ((48, 48), (40, 64))


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_each_size_is_what_it_would_be_alone_and_says_where_it_lies(
    tmp_path: Path, fit: Literal["stretch", "crop", "letterbox"]
) -> None:
    file = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    how = Preprocessing(fit=fit)
    found = decode_image(file, None, DecodeSettings(FIRST, how, None, 10**6, further=FURTHER)).image
    assert found is not None
    assert found.nbytes == sum(array.nbytes for array in (found.x, found.picture, *(x for x, _ in found.further)))
    base = input_box(90, 50, FIRST, how)
    for size, (x, window) in zip(FURTHER, found.further, strict=True):
        alone = decode_image(file, None, DecodeSettings(size, how, None, 10**6)).image
        assert alone is not None
        np.testing.assert_array_equal(x, alone.x)
        assert window.within(base) == pytest.approx(input_box(90, 50, size, how))
        assert (window == WHOLE) is (fit == "stretch" or (fit == "crop" and size == (48, 48)))


def test_a_large_jpeg_is_decoded_for_the_largest_size(tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(file)
    small = decode_image(file, None, DecodeSettings((32, 32), Preprocessing(), None, 10**6)).image
    both = decode_image(file, None, DecodeSettings((32, 32), Preprocessing(), None, 10**6, further=((200, 96),))).image
    assert small is not None
    assert both is not None
    assert small.picture.shape[0] < 400 <= both.picture.shape[0]


def test_an_array_has_no_further_sizes(tmp_path: Path) -> None:
    file = tmp_path / "array.npy"
    np.save(file, np.zeros((32, 32, 3), np.float32))
    settings = DecodeSettings(FIRST, Preprocessing(), None, 10**6)
    assert decode_image(file, None, settings).image is not None
    refused = decode_image(file, None, DecodeSettings(FIRST, Preprocessing(), None, 10**6, further=FURTHER))
    assert refused.error is not None
    assert refused.error.stage == "fit"
    assert "leave --sizes out" in refused.error.message
