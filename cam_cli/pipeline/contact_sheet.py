"""One picture of a whole run: each image beside its overlays."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from PIL import Image

from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.pipeline.stats import MOST_ROWS, Stats
from cam_cli.render.encode import jpeg, read_picture
from cam_cli.render.sheet import Cell, Sheet, contact_sheet
from cam_cli.results.manifest import MapRow, Row
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Location
from cam_cli.text import from_printable

_CELL = 256
_AHEAD = 4
Key = tuple[str, str, str, int]


def write_sheet(store: ResultStore, root: Location, stats: Stats, config: RunConfig, decoders: DecoderPool) -> str:
    """Write OUT/sheet.jpg, and return a line for the user.

    It has a line for each image, those that the model got wrong first, and a column for each kind of map.

    Args:
        stats: knows the rows of the first images of this run.
        config: of this run. decoders: decode the images.
    """
    wrong = stats.wrong_rows
    known = {row["path"] for row in wrong}
    rows = (wrong + [row for row in stats.first_rows if row["path"] not in known])[:MOST_ROWS]
    keyed = [dict(zip(_keys(row["maps"]), row["maps"], strict=True)) for row in rows]
    columns = list(dict.fromkeys(key for maps in keyed for key in maps))
    if not columns:
        return "no contact sheet: there is no map to show"
    layers = Counter(method for method, _ in {key[:2] for key in columns})
    titles = ["image", *(_title(key, config, with_layer=layers[key[0]] > 1) for key in columns)]
    paths = [root / from_printable(row["path"]) for row in rows]
    settings = DecodeSettings((_CELL, _CELL), None, _CELL, config.max_pixels)
    failed = (row["sha256"] if row["status"] == "failed" else None for row in rows)
    jobs = zip(rows, paths, failed, strict=True)
    decoded = [result.image for _, result in decoders.decode(jobs, settings, ahead=_AHEAD)]
    repeated = "= predicted" if len(config.targets) > 1 and config.targets_from is None else ""
    cells = [
        _cells(row, maps, columns, store, image, repeated)
        for row, maps, image in zip(rows, keyed, decoded, strict=True)
    ]
    sheet = contact_sheet(cells, titles, _CELL)
    path = store.write_sheet(jpeg(sheet.image))
    return f"contact sheet: {path}{_left_out(sheet, len(titles), min(len(wrong), sheet.rows), stats.images)}"


def _left_out(sheet: Sheet, columns: int, wrong: int, images: int) -> str:
    """Return what a sheet does not show, and what it shows first."""
    said = [f"the first {sheet.rows} of {images} images"] if images > sheet.rows else []
    if wrong:
        said = [f"{sheet.rows} of {images} images, {wrong} of them wrong, which come first"]
    if columns > sheet.columns:
        said.append(f"the first {sheet.columns - 1} of {columns - 1} maps of each")
    return f" ({'; '.join(said)})" if said else ""


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
    repeated: str,
) -> list[Cell]:
    """Return the cells of an image; `repeated` stands instead of a map of a class that the image's first map shows already."""
    truth = row.get("truth")
    mark = f"wrong: truth is {truth['label']}" if truth and row.get("correct") is False else ""
    image = Cell(Image.fromarray(decoded.picture) if decoded else None, row["path"], "not readable", mark)
    if row["error"] is not None:
        return [image, Cell(None, "", f"failed: {row['error']['message']}")]
    probability = {entry["index"]: entry["probability"] for entry in row["predictions"]}
    key = store.key(from_printable(row["path"]))
    cells = {column: _map_cell(entry, store, key, probability) for column, entry in maps.items()}
    first = {column[:3] for column in maps}
    return [
        image,
        *(cells.get(column) or Cell(None, "", repeated if column[:3] in first else "") for column in columns),
    ]


def _map_cell(entry: MapRow, store: ResultStore, key: str, probability: dict[int, float]) -> Cell:
    index = entry["target"]["index"]
    sure = f" {probability[index]:.2f}" if index in probability else ""
    state = "" if entry["state"] == "ok" else f", {entry['state']}"
    picture = None
    if name := entry["files"]["overlay"] or entry["files"]["heatmap"]:
        with suppress(OSError):
            picture = read_picture(store.read(key, name))
    return Cell(picture, f"{entry['target']['label']}{sure}{state}", "no picture")


def _title(key: Key, config: RunConfig, *, with_layer: bool) -> str:
    method, layer, selected, target = key
    selection = json.loads(selected)
    filters = selection["filters"]
    parts = [method, *([layer] if with_layer else [])]
    parts += [f"filters {','.join(map(str, filters))}"] if filters is not None else []
    parts += [f"{'region' if selection['region'] else 'neurons'} {selection['subset']}"] if selection["subset"] else []
    parts += [f"top {selection['top']}"] if selection["top"] else []
    two = len(config.targets) == 2 and config.targets_from is None
    parts += [config.targets[target - 1] if two and target <= 2 else f"target {target}"] if two or target > 1 else []
    return " ".join(parts)
