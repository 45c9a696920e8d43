"""One picture of a whole run: each image beside its overlays."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from PIL import Image

from cam_cli.decoding.image import DecodedImage, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.render.encode import read_picture
from cam_cli.render.sheet import Cell, contact_sheet
from cam_cli.results.manifest import MapRow, Row
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Location
from cam_cli.text import from_printable

_CELL = 256
_AHEAD = 4
Key = tuple[str, str, str, int]


def write_sheet(
    store: ResultStore,
    root: Location,
    rows: Sequence[Row],
    images: int,
    decoders: DecoderPool,
    max_pixels: int,
) -> str:
    """Write OUT/sheet.jpg, a line for each image and a column for each kind of map, and return a line for the user.

    Args:
        rows: of the first images of this run.
        images: how many images the run had.
        decoders: decode the images, of at most `max_pixels` each.
    """
    keyed = [dict(zip(_keys(row["maps"]), row["maps"], strict=True)) for row in rows]
    columns = list(dict.fromkeys(key for maps in keyed for key in maps))
    if not columns:
        return "no contact sheet: there is no map to show"
    several_layers = len({layer for _, layer, _, _ in columns}) > 1
    titles = ["image", *(_title(key, with_layer=several_layers) for key in columns)]
    paths = [root / from_printable(row["path"]) for row in rows]
    settings = DecodeSettings((_CELL, _CELL), None, _CELL, max_pixels)
    known = (row["sha256"] if row["status"] == "failed" else None for row in rows)
    jobs = zip(rows, paths, known, strict=True)
    decoded = [result.image for _, result in decoders.decode(jobs, settings, ahead=_AHEAD)]
    cells = [_cells(row, maps, columns, store, image) for row, maps, image in zip(rows, keyed, decoded, strict=True)]
    buffer = io.BytesIO()
    contact_sheet(cells, titles, _CELL).save(buffer, "JPEG", quality=88)
    path = store.write_sheet(buffer.getvalue())
    left_out = f" (the first {len(rows)} of {images} images)" if images > len(rows) else ""
    return f"contact sheet: {path}{left_out}"


def _keys(maps: Sequence[MapRow]) -> list[Key]:
    """Return for each map what its column is: its method, layer and selection, and which of the image's targets it shows."""
    keys: list[Key] = []
    met: Counter[tuple[str, str, str]] = Counter()
    for entry in maps:
        selection = entry["selection"]
        shown = selection | {"subset": None} if selection["top"] else selection
        kind = (entry["method"], entry["layer"], json.dumps(shown, sort_keys=True))
        met[kind] += 1
        keys.append((*kind, met[kind]))
    return keys


def _cells(
    row: Row,
    maps: dict[Key, MapRow],
    columns: Sequence[Key],
    store: ResultStore,
    decoded: DecodedImage | None,
) -> list[Cell]:
    image = Cell(Image.fromarray(decoded.picture) if decoded else None, row["path"])
    if row["error"] is not None:
        return [image, Cell(None, f"failed: {row['error']['message']}")]
    probability = {entry["index"]: entry["probability"] for entry in row["predictions"]}
    key = store.key(from_printable(row["path"]))
    cells = {column: _map_cell(entry, store, key, probability) for column, entry in maps.items()}
    return [image, *(cells.get(column, Cell(None, "")) for column in columns)]


def _map_cell(entry: MapRow, store: ResultStore, key: str, probability: dict[int, float]) -> Cell:
    index = entry["target"]["index"]
    sure = f" {probability[index]:.2f}" if index in probability else ""
    state = "" if entry["state"] == "ok" else f", {entry['state']}"
    picture = None
    if name := entry["files"]["overlay"] or entry["files"]["heatmap"]:
        with suppress(OSError):
            picture = read_picture(store.read(key, name))
    return Cell(picture, f"{entry['target']['label']}{sure}{state}")


def _title(key: Key, *, with_layer: bool) -> str:
    method, layer, selected, target = key
    selection = json.loads(selected)
    filters = selection["filters"]
    parts = [method, *([layer] if with_layer else [])]
    parts += [f"filters {','.join(map(str, filters))}"] if filters is not None else []
    parts += [f"{'region' if selection['region'] else 'neurons'} {selection['subset']}"] if selection["subset"] else []
    parts += [f"top {selection['top']}"] if selection["top"] else []
    parts += [f"target {target}"] if target > 1 else []
    return " ".join(parts)
