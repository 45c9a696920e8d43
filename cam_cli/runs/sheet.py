"""One picture of a whole run: each photo beside its overlays."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.decode import decode, read_bytes
from cam_cli.render.picture import picture_size
from cam_cli.render.sheet import Cell, contact_sheet
from cam_cli.runs.files import from_printable, write_whole
from cam_cli.runs.folder import INDEX, SHEET, RunFolder

MOST_IMAGES = 60
_CELL = 256


def write_sheet(folder: RunFolder, root: Path) -> str:
    """Write OUT/sheet.jpg from the run's records, at most 60 images in the order of their paths.

    Returns:
        A line for the person who ran it.
    """
    rows = _latest_rows(folder.path / INDEX)
    shown = [row for _, row in sorted(rows.items())][:MOST_IMAGES]
    if not any(row["maps"] for row in shown):
        return "no contact sheet: there is no overlay to show"
    cells = [_cells(row, folder, root) for row in shown]
    widest = max(shown, key=lambda row: len(row["maps"]))
    several_layers = len({entry["layer"] for entry in widest["maps"]}) > 1
    titles = ["photo", *(_title(entry, with_layer=several_layers) for entry in widest["maps"])]
    buffer = io.BytesIO()
    contact_sheet(cells, titles, _CELL).save(buffer, "JPEG", quality=88)
    write_whole(folder.path / SHEET, buffer.getvalue())
    left_out = f" (the first {MOST_IMAGES} of {len(rows)} images)" if len(rows) > MOST_IMAGES else ""
    return f"contact sheet: {folder.path / SHEET}{left_out}"


def _latest_rows(index: Path) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for line in index.read_text("ascii").splitlines() if index.is_file() else ():
        row = json.loads(line)
        rows[row["path"]] = row
    return rows


def _cells(row: dict[str, Any], folder: RunFolder, root: Path) -> list[Cell]:
    relative = from_printable(row["path"])
    photo = Cell(_photo(root / relative), row["path"])
    if row["status"] == "failed":
        return [photo, Cell(None, f"failed: {row['error']['message']}")]
    probability = {entry["index"]: entry["probability"] for entry in row["predictions"]}
    return [photo, *(_map_cell(entry, folder.of(relative), probability) for entry in row["maps"])]


def _map_cell(entry: dict[str, Any], folder: Path, probability: dict[int, float]) -> Cell:
    index = entry["target"]["index"]
    sure = f" {probability[index]:.2f}" if index in probability else ""
    state = "" if entry["state"] == "ok" else f", {entry['state']}"
    name = entry["files"]["overlay"] or entry["files"]["heatmap"]
    return Cell(_opened(folder / name) if name else None, f"{entry['target']['label']}{sure}{state}")


def _title(entry: dict[str, Any], *, with_layer: bool) -> str:
    selection = entry["selection"]
    filters = selection["filters"]
    parts = [entry["method"], *([entry["layer"]] if with_layer else [])]
    parts += [f"filters {','.join(map(str, filters))}"] if filters is not None else []
    parts += [f"{'region' if selection['region'] else 'neurons'} {selection['subset']}"] if selection["subset"] else []
    return " ".join(parts)


def _photo(path: Path) -> Image.Image | None:
    try:
        photo = decode(read_bytes(path))
    except ImageError:
        return None
    return Image.fromarray(photo.pixels).resize(picture_size(photo.width, photo.height, _CELL), reducing_gap=2.0)


def _opened(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except OSError:
        return None
