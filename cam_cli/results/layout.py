"""Every file name in an output folder: those of the run, and those of an image's files."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from cam_cli.methods import METHODS
from cam_cli.results.shard import SHARD, Shard
from cam_cli.text import ranges

if TYPE_CHECKING:
    from cam_cli.engine.maps import SaliencyMap

PICTURE_FORMATS = {"jpeg": "jpg", "png": "png"}
"""The endings of overlays and joint pictures, by the setting `picture_format`; `render.encode.ENCODERS` has the encoders."""

FIGURE_FORMATS = ("png", "svg", "pdf")
"""The formats of figures, which are also their endings."""

MANIFEST = "manifest.json"
LOCK = ".lock"
SHEET = "sheet.jpg"
EVALUATION = "evaluation.json"
REPORT = "report.html"
RUN = re.compile(rf"run{SHARD}\.json")
INDEX = re.compile(rf"index{SHARD}(\.part-[0-9]+)?\.jsonl")
"""An index file; in an object store, where nothing can be appended to an object, an index has several parts."""
WORK = re.compile(rf"\.work{SHARD}")
LOCK_OBJECT = re.compile(rf"{re.escape(LOCK)}-([0-9]+)-of-([0-9]+)-[0-9a-f]{{32}}")
_FILES_OF_THE_RUN = re.compile(
    "|".join((RUN.pattern, INDEX.pattern, WORK.pattern, LOCK_OBJECT.pattern, re.escape(LOCK), re.escape(SHEET)))
)
_RUN_OF_SHARD = re.compile(r"run(\.(?P<index>[1-9][0-9]{0,6})-of-(?P<count>[1-9][0-9]{0,6}))?\.json")
_LONGEST = 60
_PICTURE, _FIGURE = (f"({'|'.join(endings)})" for endings in (PICTURE_FORMATS.values(), FIGURE_FORMATS))
_OF_A_MAP = rf"(npy|heatmap\.png|overlay\.{_PICTURE}|figure\.{_FIGURE})"
ARTEFACT = re.compile(rf".+\.([0-9]+(\.[^.]+)*\.{_OF_A_MAP}|joint(\.[^.]+)*\.{_PICTURE})", re.DOTALL)
"""A file of a map."""


def run_file(shard: Shard) -> str:
    """Return the name of a shard's run record."""
    return f"run{shard.suffix}.json"


def shard_of_run_file(name: str) -> Shard | None:
    """Return the shard whose run record has this name."""
    match = _RUN_OF_SHARD.fullmatch(name)
    return Shard(int(match["index"] or 1), int(match["count"] or 1)) if match else None


def index_file(shard: Shard, part: int | None = None) -> str:
    """Return the name of a shard's index, or of one part of it."""
    return f"index{shard.suffix}{'' if part is None else f'.part-{part:06}'}.jsonl"


def index_part(shard: Shard, name: str) -> int | None:
    """Return which part of a shard's index has this name; None if none has."""
    match = re.fullmatch(rf"index{re.escape(shard.suffix)}\.part-([0-9]+)\.jsonl", name)
    return int(match[1]) if match else None


def work_folder(shard: Shard) -> str:
    """Return the name of a shard's staging folder."""
    return f".work{shard.suffix}"


def image_folder(first: str) -> str:
    """Return the first part of an image's path as a folder in OUT; a name that the run's own files may have gets a `~`."""
    return f"{first}~" if _FILES_OF_THE_RUN.fullmatch(first.rstrip("~")) else first


def stem(saliency: SaliencyMap, target: str = "") -> str:
    """Return the name of a map's files without their ending, such as `block5_conv3.235.filters-0,3,10-12`.

    `target` stands instead of the map's own where a file holds several. The default method has no part of its own. Parts
    that are long or hold odd characters are cut and told apart by a hash.
    """
    parts = [_safe(saliency.layer), target or str(saliency.target)]
    if METHODS[saliency.method].in_file_names:
        parts.append(saliency.method)
    if saliency.against and not target:
        parts.append(_safe(f"against-{'_'.join(map(str, saliency.against))}"))
    selection = saliency.selection
    if selection.filters is not None:
        parts.append(_safe(f"filters-{ranges(selection.filters)}"))
    if selection.top is not None:
        parts.append(f"top-{selection.top}")
    elif selection.subset is not None:
        neurons = "_".join(f"{row},{column}" for row, column in selection.subset)
        parts.append(_safe(f"{'region' if selection.region else 'neurons'}-{neurons}"))
    return ".".join(parts)


def file_name(stem: str, kind: str, picture_format: str, figure_format: str = FIGURE_FORMATS[0]) -> str:
    """Return the name of a file of a kind: `raw`, `heatmap`, `overlay` or `figure` of one map, or `joint` of several."""
    picture = PICTURE_FORMATS[picture_format]
    endings = {"raw": "npy", "heatmap": "heatmap.png", "overlay": f"overlay.{picture}", "joint": picture}
    return f"{stem}.{endings.get(kind) or f'{kind}.{figure_format}'}"


def _safe(text: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._,+/-]", "_", text)
    if clean != text or len(clean) > _LONGEST:
        clean = f"{clean[:40]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return clean.replace("/", "~")
