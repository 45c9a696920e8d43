"""From a found file to what the engine and the pictures need of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.decode import Photo
from cam_cli.images.find import Found
from cam_cli.images.fit import Box, Preprocessing, fit
from cam_cli.render.picture import picture_size


@dataclass(frozen=True)
class Prepared:
    """One image, ready to be explained.

    x: (H, W, C) float32, the network's input. picture: (h, w, 3) uint8, the photo at the size of the pictures. box: where
    the input lies in the picture (left, top, right, bottom, in picture pixels).
    """

    found: Found
    sha256: str
    width: int
    height: int
    notes: tuple[str, ...]
    x: NDArray[np.float32]
    picture: NDArray[np.uint8]
    box: tuple[float, float, float, float]


def prepare(
    found: Found, sha256: str, photo: Photo, size: tuple[int, int], preprocessing: Preprocessing, longest: int
) -> Prepared:
    """Fit a photo to the network and shrink it to the size of the pictures, so that the large original can go.

    Raises:
        ImageError: the photo cannot be fitted.
    """
    x, box = fit(photo, size, preprocessing)
    if not np.isfinite(x).all():
        raise ImageError("the network's input is not finite with these values of mean and std", stage="fit")
    width, height = picture_size(photo.width, photo.height, longest)
    picture = photo.pixels
    if (width, height) != (photo.width, photo.height):
        shrunk = Image.fromarray(photo.pixels).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        picture = np.asarray(shrunk)
    in_picture = _scaled(box, width / photo.width, height / photo.height)
    return Prepared(found, sha256, photo.width, photo.height, photo.notes, x, picture, in_picture)


def _scaled(box: Box, across: float, down: float) -> tuple[float, float, float, float]:
    return box.left * across, box.top * down, box.right * across, box.bottom * down
