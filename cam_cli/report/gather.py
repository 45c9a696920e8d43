"""The page's data of each image: a short row to sort and filter by, and a detail that is read when somebody looks."""

import base64
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from PIL import Image

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.evaluate.records import Evaluation, finite
from cam_cli.images.fit import input_box
from cam_cli.methods import drawing_of
from cam_cli.metrics.signals import NOISE_METRICS
from cam_cli.metrics.table import METRICS, SUSPICIOUS
from cam_cli.render.picture import limits
from cam_cli.report.thumbnails import Detail, map_thumbnail, thumbnail
from cam_cli.results.layout import MANIFEST
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader
from cam_cli.storage.location import Location, Url

WORRIES: Final = ("failed", "nonfinite", "blank", "suspicious", "ok")
"""What may be wrong with an image or a map, the worst first."""

_NOT_FINITE = 2**16 - 1


@dataclass(frozen=True)
class Entry:
    """An image on the page.

    row: [path, index in WORRIES, (class label, probability) or None, maps], a map being [kind, index in WORRIES, target's
    label, metrics in the order of the columns]. detail: everything else, see `Gathering`.
    """

    row: list[Any]
    detail: dict[str, Any]


class Gathering:
    """Goes through a run once, an image at a time; `closing` returns afterwards what the numbers in the rows refer to.

    folder: where the page will be; its links start there. detail: how much of each image is on the page.
    """

    def __init__(self, run: RunReader, evaluation: Evaluation, folder: Path, detail: Detail) -> None:
        self._run = run
        self._evaluation = evaluation
        self._folder = folder
        self._detail = detail
        self._columns = {metric.name: number for number, metric in enumerate(NOISE_METRICS)}
        self._kinds: dict[str, int] = {}
        self._settings: dict[str, int] = {}
        self.shown = 0

    def entries(self, decoders: DecoderPool, max_pixels: int, on_image: Callable[[], None]) -> Iterator[Entry]:
        """Yield the images in the order of their paths, decoded up to `max_pixels`; call `on_image` after each."""
        half = max(1, self._detail.side // 2)
        how = DecodeSettings((half, half), None, self._detail.side, max_pixels)
        for image, decoded in decoders.decode((image.decode_job for image in self._run.images()), how):
            self.shown += 1
            yield self._entry(image, decoded)
            on_image()

    def closing(self) -> dict[str, Any]:
        """Return the columns of metrics, the kinds of maps and the settings that rows and details refer to by number."""
        found = self._evaluation.model_dump(
            mode="json", include={"totals", "sanity"}, exclude={"sanity": {"survivals": {"__all__": {"images"}}}}
        )
        return found | {
            "columns": list(self._columns),
            "titles": {name: METRICS[name].title for name in METRICS if METRICS[name].title},
            "kinds": [json.loads(kind) for kind in self._kinds],
            "settings": [json.loads(settings) for settings in self._settings],
            "worries": WORRIES,
            "suspicious": SUSPICIOUS,
            "evaluation": self._evaluation.what,
            "images": self.shown,
        }

    def _entry(self, image: ImageResult, decoded: Decoded) -> Entry:
        manifest = image.manifest
        pixels = decoded.image.picture if decoded.image and decoded.sha256 == manifest.image.sha256 else None
        rows: list[list[Any]] = []
        maps: list[dict[str, Any]] = []
        met: Counter[str] = Counter()
        for record in manifest.maps:
            kind = self._kind(record, met)
            own = {metric.name: finite(getattr(record, metric.name)) for metric in NOISE_METRICS}
            metrics = own | self._evaluation.of(image.path, record)
            suspicious = any((metrics.get(name) or 0) > most for name, most in SUSPICIOUS.items())
            worry = "suspicious" if suspicious and record.state == "ok" else record.state
            rows.append([kind, WORRIES.index(worry), record.target.label, self._values(metrics)])
            names = record.files.model_dump(exclude_none=True)
            files = {file: self._href(image.folder / name) for file, name in names.items()}
            cells = _cells(image, record, self._detail.cells)
            shown = record.model_dump(mode="json", exclude={"files"})
            maps.append(shown | {"files": files, "cells": cells, "kind": kind, "small": None})
        for number in sorted(range(len(rows)), key=lambda number: rows[number][1])[: self._detail.maps]:
            maps[number]["small"] = map_thumbnail(image, manifest.maps[number], pixels, self._detail.side)
        known = manifest.image.sha256
        state = "gone" if decoded.sha256 is None else "changed" if known not in (None, decoded.sha256) else "same"
        small = None if pixels is None else thumbnail(Image.fromarray(pixels), self._detail.side)
        ok = manifest.status == "ok"
        worst = min((row[1] for row in rows), default=len(WORRIES) - 1) if ok else 0
        best = next(([best.label, finite(best.probability)] for best in manifest.predictions), None)
        detail = {
            "image": {"href": self._href(image.image_file), "state": state, "small": small},
            "size": image.size if ok else None,
            "notes": manifest.image.notes,
            "error": manifest.error and manifest.error.model_dump(mode="json"),
            "predictions": [entry.model_dump(mode="json") for entry in manifest.predictions],
            "settings": _number(self._settings, manifest.settings),
            "model": manifest.model.name,
            "manifest": self._href(image.folder / MANIFEST),
            "box": _box(image),
            "joint": [{"href": self._href(image.folder / entry.file)} for entry in manifest.joint],
            "maps": maps,
        }
        return Entry([image.path, worst, best, rows], detail)

    def _values(self, metrics: dict[str, float | None]) -> list[float | None]:
        for name in metrics:
            self._columns.setdefault(name, len(self._columns))
        values = (metrics.get(name) for name in self._columns)
        return [None if value is None else float(f"{value:.6g}") for value in values]

    def _kind(self, record: MapRecord, met: Counter[str]) -> int:
        """Return the number of what a map shows, whatever its image: method, layer, selection, and which of the targets."""
        selection = record.selection.model_dump(mode="json")
        if selection["top"] is not None:
            selection["subset"] = None
        kind = {"method": record.method, "layer": record.layer, "selection": selection}
        key = json.dumps(kind, sort_keys=True)
        met[key] += 1
        return _number(self._kinds, kind | {"target": met[key]})

    def _href(self, path: Location) -> str:
        if isinstance(path, Url):
            return quote(str(path), safe="/:")
        return f"./{quote(os.fsencode(os.path.relpath(path, self._folder)))}"


def _number(numbers: dict[str, int], value: dict[str, Any]) -> int:
    return numbers.setdefault(json.dumps(value, sort_keys=True), len(numbers))


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
