"""What the page tells of an image when somebody looks at it: small pictures, maps with their values, links and settings."""

import base64
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.images.fit import input_box
from cam_cli.methods import drawing_of
from cam_cli.render.picture import limits
from cam_cli.report.numbering import ClassNumbering, Numbering
from cam_cli.report.thumbnails import Detail, map_thumbnail, thumbnail
from cam_cli.results.layout import MANIFEST
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult
from cam_cli.storage.location import Location, Url

WORRIES: Final = ("failed", "nonfinite", "blank", "suspicious", "ok")
"""What may be wrong with an image or a map, the worst first."""

_NOT_FINITE = 2**16 - 1


class Details:
    """Makes the details of images, and numbers the kinds of maps, settings and classes that they refer to.

    folder: where the page will be; its links start there. amount: how much of each image is on the page.
    """

    def __init__(self, folder: Path, amount: Detail, classes: ClassNumbering) -> None:
        self._folder = folder
        self._amount = amount
        self.classes = classes
        self.kinds = Numbering()
        self.settings = Numbering()

    def decode_settings(self, max_pixels: int) -> DecodeSettings:
        """Return how images are decoded for their small pictures."""
        half = max(1, self._amount.side // 2)
        return DecodeSettings((half, half), None, self._amount.side, max_pixels)

    def of_image(self, image: ImageResult, decoded: Decoded) -> dict[str, Any]:
        """Return everything of an image but its maps."""
        manifest = image.manifest
        pixels = pixels_of(image, decoded)
        known = manifest.image.sha256
        state = "gone" if decoded.sha256 is None else "changed" if known not in (None, decoded.sha256) else "same"
        small = None if pixels is None else thumbnail(Image.fromarray(pixels), self._amount.side)
        return {
            "image": {"href": self._href(image.image_file), "state": state, "small": small},
            "size": image.size if manifest.status == "ok" else None,
            "notes": manifest.image.notes,
            "error": manifest.error and manifest.error.model_dump(mode="json"),
            "predictions": [entry.model_dump(mode="json") for entry in manifest.predictions],
            "settings": self.settings.number(manifest.settings),
            "model": manifest.model.name,
            "manifest": self._href(image.folder / MANIFEST),
            "box": _box(image),
            "joint": [{"href": self._href(image.folder / entry.file)} for entry in manifest.joint],
        }

    def of_maps(self, image: ImageResult, decoded: Decoded, first: Sequence[int]) -> list[dict[str, Any]]:
        """Return the maps of an image; those whose numbers come first have a small picture, the others may have none."""
        maps: list[dict[str, Any]] = []
        for record, kind in zip(image.manifest.maps, self.kinds_of(image), strict=True):
            names = record.files.model_dump(exclude_none=True)
            files = {file: self._href(image.folder / name) for file, name in names.items()}
            cells = _cells(image, record, self._amount.cells)
            shown = record.model_dump(mode="json", exclude={"files"})
            maps.append(shown | {"files": files, "cells": cells, "kind": kind, "small": None})
        pixels = pixels_of(image, decoded)
        for number in first:
            maps[number]["small"] = map_thumbnail(image, image.manifest.maps[number], pixels, self._amount.side)
        return maps

    def kinds_of(self, image: ImageResult) -> list[int]:
        """Return the number of what each map shows: method, layer, selection, and which of the targets it is."""
        met: Counter[int] = Counter()
        plain = Numbering()
        numbers = []
        for record in image.manifest.maps:
            selection = record.selection.model_dump(mode="json")
            if selection["top"] is not None:
                selection["subset"] = None
            kind = {"method": record.method, "layer": record.layer, "selection": selection}
            alike = plain.number(kind)
            met[alike] += 1
            numbers.append(self.kinds.number(kind | {"target": met[alike]}))
        return numbers

    def _href(self, path: Location) -> str:
        if isinstance(path, Url):
            return quote(str(path), safe="/:")
        return f"./{quote(os.fsencode(os.path.relpath(path, self._folder)))}"


def pixels_of(image: ImageResult, decoded: Decoded) -> NDArray[np.uint8] | None:
    """Return the decoded image, (height, width, 3); None if it is not the one that was explained, or cannot be read."""
    same = decoded.sha256 == image.manifest.image.sha256
    return decoded.image.picture if decoded.image and same else None


def _box(image: ImageResult) -> list[float] | None:
    """Return left, top, right, bottom of the network's input, as shares of the image's width and height."""
    width, height = image.size
    if not width or not height:
        return None
    try:
        box = input_box(width, height, image.manifest.model.input_size, image.preprocessing)
    except (KeyError, ValueError):  # settings that this version does not know
        return None
    return [side / length for side, length in zip(box, (width, height) * 2, strict=True)]


def _cells(image: ImageResult, record: MapRecord, most: int) -> dict[str, Any] | None:
    """Return a map's values in 16 bits each, row by row, the least significant byte first.

    0 is `low`, 65534 is `high`, 65535 is not finite. `floor`, `ceiling` and `power` say how pictures draw the
    values. None if there is no raw file, or more than `most` cells.
    """
    rows, columns = record.grid
    values = image.values(record) if 0 < rows * columns <= most else None
    if values is None:
        return None
    valid = np.isfinite(values)
    low, high = (float(values[valid].min()), float(values[valid].max())) if valid.any() else (0.0, 0.0)
    span = high - low or 1.0
    shares = (np.where(valid, values, low).astype(np.float64) - low) / span
    levels = np.where(valid, np.rint(shares * (_NOT_FINITE - 1)), _NOT_FINITE).astype("<u2")
    drawing = drawing_of(record.method, record.power)
    floor, ceiling = limits(values[valid], drawing) if valid.any() else (0.0, 0.0)
    data = base64.b64encode(levels.tobytes()).decode("ascii")
    return {"low": low, "high": high, "floor": floor, "ceiling": ceiling, "power": drawing.power, "data": data}
