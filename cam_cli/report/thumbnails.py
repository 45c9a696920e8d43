"""Small pictures of photos and overlays, as text that an HTML file can hold."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.methods import drawing_of
from cam_cli.render.encode import read_picture
from cam_cli.render.picture import drawn, overlay
from cam_cli.results.files import read_regular
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult

_QUALITY = 60
_EFFORT = 2


@dataclass(frozen=True)
class Detail:
    """How much of each image the page holds.

    side: the longest of a thumbnail, in pixels. maps: so many, the most doubtful ones, have one. cells: the most that a map may
    have whose values are there; the rest is read from the files beside the page.
    """

    side: int
    maps: int
    cells: int


_DETAILS = ((300, Detail(384, 4, 64 * 64)), (2_000, Detail(240, 3, 32 * 32)))
_LEAST = Detail(160, 1, 20 * 20)


def detail_for(images: int) -> Detail:
    """Return how much of each of so many images a page can hold and still be opened."""
    return next((detail for most, detail in _DETAILS if images <= most), _LEAST)


def encoded(picture: Image.Image, side: int) -> str:
    """Return a picture, shrunk to `side` where it is larger, as base64 of a WebP file."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=_EFFORT)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def overlay_thumbnail(image: ImageResult, record: MapRecord, photo: NDArray[np.uint8] | None, side: int) -> str | None:
    """Return the thumbnail of a map over its photo, base64 of a WebP file; None where there is nothing to draw.

    Taken from the overlay or the heatmap that the run wrote; of a run that wrote raw maps only, drawn from those.

    Args:
        photo: (height, width, 3) uint8 RGB, the photo at about `side`; needed for raw maps alone.
    """
    if record.state != "ok":
        return None
    try:
        name = record.files.overlay or record.files.heatmap
        if name is not None:
            return encoded(read_picture(read_regular(image.folder / name)), side)
        values = image.values(record)
        if photo is None or values is None:
            return None
        placed = image.upsampled(drawn(values, drawing_of(record.method)), (photo.shape[1], photo.shape[0]))
        settings = image.manifest.settings
        return encoded(overlay(photo, placed, settings["colormap"], settings["opacity"]), side)
    except Exception:  # noqa: BLE001 - files of a run may be damaged in every way there is; its record is shown without them
        return None
