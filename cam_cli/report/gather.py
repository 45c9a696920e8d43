"""What the page says of each image: a short row to sort and filter by, and a detail that is read when somebody looks."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.images.fit import Preprocessing, input_box
from cam_cli.methods import drawing_of
from cam_cli.render.picture import limits
from cam_cli.report.evaluation import Evaluation, finite
from cam_cli.report.thumbnails import Detail, encoded, overlay_thumbnail
from cam_cli.results.layout import MANIFEST
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader
from cam_cli.storage.location import Location, Url

WORRIES: Final = ("failed", "nonfinite", "blank", "suspicious", "ok")
"""What may be wrong with an image or a map, the worst first."""

SUSPICIOUS: Final = {"standard_error": 0.1, "border_energy": 0.4}
"""A map with more than this of one of these is shown among the suspicious ones."""

_OF_A_MANIFEST = ("noise_effect", "standard_error")
_NOT_FINITE = 2**16 - 1


@dataclass(frozen=True)
class Entry:
    """An image on the page.

    row: [path, place in WORRIES, (class label, probability) or None, maps], a map being [kind, place in WORRIES, target's
    label, metrics in the order of the columns]. detail: all else, see `Gathering`.
    """

    row: list[Any]
    detail: dict[str, Any]


class Gathering:
    """Goes through a run once, an image at a time; `closing` says afterwards what the numbers in the rows stand for.

    Args:
        beside: the folder that the page will lie in, which its links start from. detail: how much of each image is there.
    """

    def __init__(self, run: RunReader, evaluation: Evaluation, beside: Path, detail: Detail) -> None:
        self._run = run
        self._evaluation = evaluation
        self._beside = beside
        self._much = detail
        self._columns = {name: number for number, name in enumerate(_OF_A_MANIFEST)}
        self._kinds: dict[str, int] = {}
        self._settings: dict[str, int] = {}
        self.shown = 0

    def entries(self, decoders: DecoderPool, max_pixels: int) -> Iterator[Entry]:
        """Yield every image in the order of its path.

        Args:
            decoders: open the photos, of no more than `max_pixels` each.
        """
        half = max(1, self._much.side // 2)
        how = DecodeSettings((half, half), Preprocessing(), self._much.side, max_pixels)
        for image, opened in decoders.decode((image.decode_job for image in self._run.images()), how):
            self.shown += 1
            yield self._entry(image, opened)

    def closing(self) -> dict[str, Any]:
        """Return the columns of metrics, the kinds of maps and the settings that rows and details refer to by number."""
        return {
            "columns": list(self._columns),
            "kinds": [json.loads(kind) for kind in self._kinds],
            "settings": [json.loads(settings) for settings in self._settings],
            "worries": WORRIES,
            "suspicious": SUSPICIOUS,
            "totals": [total.model_dump(mode="json") for total in self._evaluation.totals],
            "evaluation": self._evaluation.what,
            "sanity": self._evaluation.sanity and self._evaluation.sanity.model_dump(mode="json"),
            "images": self.shown,
        }

    def _entry(self, image: ImageResult, opened: Decoded) -> Entry:
        manifest = image.manifest
        photo = opened.image.picture if opened.image and opened.sha256 == manifest.image.sha256 else None
        rows: list[list[Any]] = []
        maps: list[dict[str, Any]] = []
        met: Counter[str] = Counter()
        for record in manifest.maps:
            kind = self._kind(record, met)
            metrics = self._metrics(image.path, record)
            rows.append([kind, _worry(record, metrics), record.target.label, self._values(metrics)])
            maps.append(self._map(image, record) | {"kind": kind, "small": None})
        for number in sorted(range(len(rows)), key=lambda number: rows[number][1])[: self._much.maps]:
            maps[number]["small"] = overlay_thumbnail(image, manifest.maps[number], photo, self._much.side)
        ok = manifest.status == "ok"
        worst = min((row[1] for row in rows), default=len(WORRIES) - 1) if ok else 0
        best = manifest.predictions[0] if manifest.predictions else None
        row = [image.path, worst, [best.label, finite(best.probability)] if best else None, rows]
        detail = {
            "photo": self._photo(image, opened, photo),
            "size": image.size if ok else None,
            "notes": manifest.image.notes,
            "error": manifest.error and manifest.error.model_dump(mode="json"),
            "predictions": [entry.model_dump(mode="json") for entry in manifest.predictions],
            "settings": self._number(self._settings, manifest.settings),
            "model": manifest.model.name,
            "manifest": self._href(image.folder / MANIFEST),
            "box": _box(image),
            "joint": [{"href": self._href(image.folder / entry.file)} for entry in manifest.joint],
            "maps": maps,
        }
        return Entry(row, detail)

    def _photo(self, image: ImageResult, opened: Decoded, photo: NDArray[np.uint8] | None) -> dict[str, Any]:
        known = image.manifest.image.sha256
        state = "gone" if opened.sha256 is None else "changed" if known not in (None, opened.sha256) else "same"
        small = None if photo is None else encoded(Image.fromarray(photo), self._much.side)
        return {"href": self._href(image.image_file), "state": state, "small": small}

    def _map(self, image: ImageResult, record: MapRecord) -> dict[str, Any]:
        shown = record.model_dump(mode="json", exclude={"files"})
        files = {
            kind: self._href(image.folder / name)
            for kind, name in record.files.model_dump().items()
            if name is not None
        }
        return {**shown, "files": files, "cells": _cells(image, record, self._much.cells)}

    def _metrics(self, path: str, record: MapRecord) -> dict[str, float | None]:
        own = {name: finite(getattr(record, name)) for name in _OF_A_MANIFEST}
        return own | self._evaluation.of(path, record)

    def _values(self, metrics: dict[str, float | None]) -> list[float | None]:
        for name in metrics:
            self._columns.setdefault(name, len(self._columns))
        rounded = (metrics.get(name) for name in self._columns)
        return [None if value is None else float(f"{value:.6g}") for value in rounded]

    def _kind(self, record: MapRecord, met: Counter[str]) -> int:
        """Return the number of what a map shows, whatever its image: method, layer, selection, and which of the targets."""
        selection = record.selection.model_dump(mode="json")
        if selection["top"] is not None:
            selection["subset"] = None
        kind = {"method": record.method, "layer": record.layer, "selection": selection}
        key = json.dumps(kind, sort_keys=True)
        met[key] += 1
        return self._number(self._kinds, kind | {"target": met[key]})

    def _number(self, numbers: dict[str, int], value: dict[str, Any]) -> int:
        return numbers.setdefault(json.dumps(value, sort_keys=True), len(numbers))

    def _href(self, path: Location) -> str:
        if isinstance(path, Url):
            return quote(str(path), safe="/:")
        return f"./{quote(os.fsencode(os.path.relpath(path, self._beside)))}"


def _worry(record: MapRecord, metrics: dict[str, float | None]) -> int:
    if record.state != "ok":
        return WORRIES.index(record.state)
    found = any((metrics.get(name) or 0) > most for name, most in SUSPICIOUS.items())
    return WORRIES.index("suspicious" if found else "ok")


def _box(image: ImageResult) -> list[float] | None:
    """Return left, top, right, bottom of the network's input, as shares of the photo's width and height."""
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

    0 is `low`, 65534 is `high`, 65535 is not finite. `floor`, `ceiling` and `power` say how the run's pictures draw the values.
    None where there is no raw file, or more than `most` cells.
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
    drawing = drawing_of(record.method)
    floor, ceiling = limits(values[valid], drawing) if valid.any() else (0.0, 0.0)
    return {
        "low": low,
        "high": high,
        "floor": floor,
        "ceiling": ceiling,
        "power": drawing.power,
        "data": base64.b64encode(levels.tobytes()).decode("ascii"),
    }
