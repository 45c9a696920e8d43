"""The file names of a map's artefacts: `<layer>.<target>[.<selection>]`, safe on every file system."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cam_cli.engine.maps import SaliencyMap
    from cam_cli.engine.selection import Selection

EVALUATION = "evaluation.json"
REPORT = "report.html"

_LONGEST = 60
_ARTEFACT = re.compile(r".+\.([0-9]+(\.[^.]+)*\.(npy|heatmap\.png|overlay\.png)|joint(\.[^.]+)*\.png)", re.DOTALL)


def stem(saliency: SaliencyMap, target: str = "") -> str:
    """Return the name of a map's files without their ending, such as `block5_conv3.235.filters-0,3,10-12`.

    `target` stands in place of the map's own where a file holds several. The default method has no part of its own. Parts
    that are long or hold odd characters are cut and told apart by a hash.
    """
    parts = [_safe(saliency.layer), target or str(saliency.target)]
    if saliency.method != "smoothgradcam++":
        parts.append(saliency.method)
    parts += [_safe(part) for part in selection_parts(saliency.selection)]
    return ".".join(parts)


def is_artefact(name: str) -> bool:
    """Say whether a file is called like one of a map's artefacts."""
    return _ARTEFACT.fullmatch(name) is not None


def selection_parts(selection: Selection) -> list[str]:
    """Return the parts of a name that tell a selection from the whole map: none, one or two."""
    parts = []
    if selection.filters is not None:
        parts.append(f"filters-{ranges(selection.filters)}")
    if selection.top is not None:
        parts.append(f"top-{selection.top}")
    elif selection.subset is not None:
        kind = "region" if selection.region else "neurons"
        parts.append(f"{kind}-{'_'.join(f'{row},{column}' for row, column in selection.subset)}")
    return parts


def ranges(numbers: tuple[int, ...]) -> str:
    """Return whole numbers the way the command line takes them: `0,3,10-12`."""
    texts: list[str] = []
    ordered = sorted(set(numbers))
    start = 0
    for i, number in enumerate(ordered):
        if i + 1 == len(ordered) or ordered[i + 1] != number + 1:
            texts.append(str(number) if i == start else f"{ordered[start]}-{number}")
            start = i + 1
    return ",".join(texts)


def _safe(text: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._,+/-]", "_", text)
    if clean != text or len(clean) > _LONGEST:
        clean = f"{clean[:40]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return clean.replace("/", "~")
