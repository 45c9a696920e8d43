"""Draws docs/architecture.svg: the packages of cam_cli, their imports, and the way of one image; `make architecture`.

The arrows are read from the imports in the source. The position of a package on the sheet is decided here.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "cam_cli"
PICTURE = PACKAGE.parent / "docs" / "architecture.svg"

PACKAGES = {
    "cli": (375, 30, "parse, call, print"),
    "metrics": (710, 30, "maps to figures"),
    "api": (1045, 30, "the same from Python"),
    "pipeline": (375, 170, "one run: find, skip, record"),
    "evaluate": (710, 170, "results to figures"),
    "report": (1045, 170, "results to a page"),
    "decoding": (40, 310, "files to arrays, in processes"),
    "executors": (375, 310, "where images are explained"),
    "results": (710, 310, "OUT and everything in it"),
    "plan": (40, 450, "what a run asks, resolved"),
    "engine": (375, 450, "arrays to maps"),
    "render": (710, 450, "maps to pictures"),
    "images": (40, 730, "find, decode, fit"),
    "models": (375, 590, "names to networks"),
    "model_files": (40, 590, "files to networks"),
    "graph": (710, 730, "what a traced graph tells"),
    "frozen_graphs": (375, 730, "graphs of TensorFlow"),
    "storage": (710, 590, "objects of a store"),
}
"""Left and top corner, and what a package is for."""

WAY = (
    ("image", "pipeline", "1 find"),
    ("pipeline", "executors", "2 a task"),
    ("executors", "decoding", "3 decode, fit"),
    ("executors", "engine", "4 maps"),
    ("executors", "render", "5 pictures"),
    ("executors", "results", "6 files, staged"),
    ("results", "OUT", "7 one rename"),
)
ENDS = {"image": (40, 170, "a file"), "OUT": (1045, 310, "the run folder")}
"""What the way of an image begins and ends with; no packages."""

COMMON = (
    "config",
    "config_values",
    "contrast",
    "errors",
    "interruption",
    "machine",
    "methods",
    "quiet",
    "reporter",
    "setting",
    "settings",
    "text",
    "version",
    "window",
    "yaml_source",
)
"""Modules that many packages use; their arrows would hide the others."""

_WIDTH, _HEIGHT = 250, 76
_SHEET = (1335, 836)
_STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328; } .name { font-weight: 600; font-size: 17px; }
  .package { fill: #f6f8fa; stroke: #8c959f; } .use { stroke: #8c959f; fill: none; } .use-head { fill: #8c959f; }
  .way { stroke: #0969da; stroke-width: 3; fill: none; } .way-head { fill: #0969da; }
  .step { fill: #0969da; font-weight: 600; }
  .halo { stroke: #ffffff; stroke-width: 5; paint-order: stroke; } .sheet { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .package { fill: #161b22; stroke: #6e7681; } .use { stroke: #6e7681; } .use-head { fill: #6e7681; }
    .way { stroke: #58a6ff; } .way-head { fill: #58a6ff; } .step { fill: #58a6ff; }
    .halo { stroke: #0d1117; } .sheet { fill: #0d1117; }
  }
"""


def uses() -> Counter[tuple[str, str]]:
    """Return how many imports lead from one package to another."""
    found: Counter[tuple[str, str]] = Counter()
    for source in sorted(PACKAGE.rglob("*.py")):
        package = source.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names = [name for name in names if name != "cam_cli.storage.location"]  # the type of a path or URL: common
            for root, inner, *_ in (name.split(".") for name in names if name.count(".")):
                if root == "cam_cli" and inner != package:
                    found[package, inner] += 1
    return found


def picture() -> str:
    """Return the picture of the present code."""
    boxes = PACKAGES | ENDS
    arrows = [pair for pair in sorted(uses()) if set(pair) <= PACKAGES.keys()]
    width, height = _SHEET
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">',
        f'<title id="title">The packages of cam_cli, {len(arrows)} imports, and the way of one image</title>',
        f"<style>{_STYLE}</style>",
        "<defs>" + _head("use-head", 8) + _head("way-head", 5) + "</defs>",
        f'<rect class="sheet" width="{width}" height="{height}"/>',
        *(_line(boxes, one, other, "use") for one, other in arrows),
        *(_line(boxes, one, other, "way") for one, other, _ in WAY),
        *(_box(name, *box, rounded=name in PACKAGES) for name, box in boxes.items()),
        *(_step(boxes, one, other, text) for one, other, text in WAY),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _head(name: str, size: int) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="{size}" markerHeight="{size}" orient="auto">'
        f'<path class="{name}" d="M0,0L10,5L0,10z"/></marker>'
    )


def _box(name: str, left: int, top: int, purpose: str, *, rounded: bool) -> str:
    shape = (
        f'<rect class="package" x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="{10 if rounded else 0}"/>'
    )
    return (
        f'{shape}<text class="name" x="{left + 16}" y="{top + 31}">{escape(name)}</text>'
        f'<text x="{left + 16}" y="{top + 56}">{escape(purpose)}</text>'
    )


def _line(boxes: dict[str, tuple[int, int, str]], one: str, other: str, kind: str) -> str:
    (x1, y1), (x2, y2) = _ends(boxes[one], boxes[other])
    return f'<path class="{kind}" d="M{x1:.0f},{y1:.0f}L{x2:.0f},{y2:.0f}" marker-end="url(#{kind}-head)"/>'


def _step(boxes: dict[str, tuple[int, int, str]], one: str, other: str, text: str) -> str:
    (x1, y1), (x2, y2) = _ends(boxes[one], boxes[other])
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    level = y1 == y2
    anchor = "middle" if level else "start"
    x, y = (middle[0], boxes[one][1] - 10) if level else (middle[0] + 14, middle[1] + 5)
    return f'<text class="step halo" text-anchor="{anchor}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def _ends(one: tuple[int, int, str], other: tuple[int, int, str]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where the line between the middles of two boxes leaves the one and meets the other."""
    a, b = ((box[0] + _WIDTH / 2, box[1] + _HEIGHT / 2) for box in (one, other))
    across, down = b[0] - a[0], b[1] - a[1]
    share = min(_WIDTH / 2 / abs(across) if across else 1e9, _HEIGHT / 2 / abs(down) if down else 1e9)
    return (a[0] + across * share, a[1] + down * share), (b[0] - across * share, b[1] - down * share)


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
    sys.stderr.write(f"{PICTURE.name} written\n")
