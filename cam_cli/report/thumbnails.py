"""Small pictures of images and overlays, as text that an HTML file can hold."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.methods import drawing_of
from cam_cli.render.encode import read_picture
from cam_cli.render.picture import drawn, overlay
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult


@dataclass(frozen=True)
class Detail:
    """How much of an image the page holds: a thumbnail's side in pixels, maps with a thumbnail, cells of a map with values."""

    side: int
    maps: int
    cells: int


def detail_for(images: int) -> Detail:
    """Return how much of each of so many images a page can hold and still be opened."""
    if images <= 300:
        return Detail(384, 4, 64 * 64)
    return Detail(240, 3, 32 * 32) if images <= 2_000 else Detail(160, 1, 20 * 20)


def thumbnail(picture: Image.Image, side: int) -> str:
    """Return a picture, shrunk to `side` if it is larger, as base64 of a WebP file."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60, method=2)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def file_thumbnail(read: Callable[[str], bytes], name: str, side: int) -> str | None:
    """Return the thumbnail of a picture that a run wrote; None if it cannot be read. read: gives the bytes of a file."""
    try:
        return thumbnail(read_picture(read(name)), side)
    except OSError:
        return None


def map_thumbnail(image: ImageResult, record: MapRecord, pixels: NDArray[np.uint8] | None, side: int) -> str | None:
    """Return the thumbnail of a map over its image; None if there is nothing to draw.

    It is made from the overlay or the heatmap that the run wrote. If there are only raw maps, it is drawn over
    `pixels`, (height, width, 3) uint8 RGB, the image at about `side`.
    """
    if record.state != "ok":
        return None
    if name := record.files.overlay or record.files.heatmap:
        return file_thumbnail(image.read, name, side)
    values = image.values(record)
    if pixels is None or values is None:
        return None
    settings = image.manifest.settings
    try:
        size = (pixels.shape[1], pixels.shape[0])
        upsampled = image.upsampled(drawn(values, drawing_of(record.method, record.power)), record, size)
        return thumbnail(overlay(pixels, upsampled, settings["colormap"], settings["opacity"]), side)
    except (ArithmeticError, LookupError, TypeError, ValueError):  # settings and maps from anywhere
        return None
