"""How long the report of many images takes to open, sort, filter and scroll in Chromium: python tests/benchmarks/page.py

Prints a table of milliseconds, as they pass and of the page's thread on a processor, which counts where others use the machine
too; each figure is the median of several rounds. The page has two maps an image and true classes of
1,000; its small pictures have the size that `report` gives those of so many images.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

from webdriver import MISSING, Browser, browser  # noqa: E402

from cam_cli.metrics.table import SUSPICIOUS  # noqa: E402
from cam_cli.report.details import WORRIES  # noqa: E402
from cam_cli.report.gather import Entry  # noqa: E402
from cam_cli.report.page import write_page  # noqa: E402
from cam_cli.report.thumbnails import detail_for, thumbnail  # noqa: E402
from cam_cli.report.truth import THRESHOLDS  # noqa: E402

CLASSES = 1_000
COLUMNS = (
    "noise_effect",
    "standard_error",
    "border_energy",
    "entropy",
    "spread",
    "centre_x",
    "centre_y",
    "class_distance",
)
WHOLE = {"filters": None, "region": False, "subset": None, "top": None}

STEPS = {
    "sort by a figure": "choose('sort', 'border_energy')",
    "sort by class": "choose('sort', 'class')",
    "wrong ones": "document.querySelector('[data-chip=wrong]').click()",
    "all again": "document.querySelector('[data-chip=all]').click()",
    "search a word": "type('search', 'class 77')",
    "search nothing": "type('search', '')",
    "filter by class": "choose('truth', '7')",
    "take it away": "document.getElementById('reset').click()",
    "table": "document.querySelector('[data-view=table]').click()",
    "confusion": "document.querySelector('[data-view=confusion]').click()",
    "classes": "document.querySelector('[data-view=classes]').click()",
    "figures": "document.querySelector('[data-view=figures]').click()",
    "images": "document.querySelector('[data-view=images]').click()",
    "next page": "document.getElementById('after').click()",
    "one image": "document.querySelector('.open').click()",
}
"""What is done one after the other; a step ends when the browser has drawn what it changed."""

HELPERS = """
window.enter = (id, value, kind) => {
  const field = document.getElementById(id);
  field.value = value;
  field.dispatchEvent(new Event(kind));
};
window.choose = (id, value) => enter(id, value, 'change');
window.type = (id, value) => enter(id, value, 'input');
window.drawn = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
"""
SCROLL = """
document.querySelector('.detail').close();
await drawn();
const gaps = [];
let last = performance.now();
for (let i = 0; i < 60; i++) {
  window.scrollBy(0, 60);
  await new Promise((go) => requestAnimationFrame(go));
  gaps.push(performance.now() - last);
  last = performance.now();
}
return gaps.sort((a, b) => a - b);
"""


def entries(images: int) -> Iterator[Entry]:
    """Yield as many images, of which a fifth is wrong."""
    draw = np.random.default_rng(0)
    side = detail_for(images).side
    noise = [Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(16)]
    small = [thumbnail(one.resize((side, side * 3 // 4), Image.Resampling.BICUBIC), side) for one in noise]
    cells = {"low": 0, "high": 1, "floor": 0, "ceiling": 1, "power": 1, "data": base64.b64encode(bytes(98)).decode()}
    for i in range(images):
        truth, other = (int(n) for n in draw.integers(0, CLASSES, 2))
        right = draw.random() > 0.2
        predicted = truth if right else other
        sure, rest = float(draw.random()), float(draw.random())
        targets = [predicted] if right else [predicted, truth]
        values = [[float(f"{n:.6g}") for n in draw.random(len(COLUMNS))] for _ in targets]
        rows = [[0, WORRIES.index("ok"), target, held] for target, held in zip(targets, values, strict=True)]
        maps = [
            {"layer": "top", "method": "gradcam", "target": {"index": t, "label": f"class {t}"},
             "selection": WHOLE, "state": "ok", "grid": [7, 7], "min": 0, "max": 1, "noise": "", "head": "affine",
             "derivatives": "exact", "guarded_cells": 0,
             "files": {}, "cells": cells, "kind": 0, "small": small[(i + n + 1) % 16]}
            for n, t in enumerate(targets)
        ]  # fmt: skip
        detail: dict[str, Any] = {
            "image": {"href": "./x.jpg", "state": "same", "small": small[i % 16]}, "size": [640, 480], "notes": [],
            "predictions": [{"index": predicted, "label": f"class {predicted}", "probability": sure}], "settings": 0,
            "error": None, "model": "m", "manifest": "./m", "box": [0, 0, 1, 1], "joint": [], "maps": maps,
        }  # fmt: skip
        judged = {
            "truth": [[truth, sure if right else rest * (1 - sure), 1 if right else 2]],
            "unknown": None,
            "correct": right,
        }
        yield Entry([f"n{truth:08}/{i:06}.jpg", WORRIES.index("ok"), [predicted, sure], rows, judged], detail)


def write(path: Path, images: int) -> None:
    """Write the page of as many images."""
    closing = {
        "columns": COLUMNS, "titles": {}, "kinds": [{"method": "gradcam", "layer": "top", "target": 1, "selection": WHOLE}],
        "settings": [{}], "totals": [], "sanity": None, "strategies": [], "evaluation": {}, "measured": {}, "images": images,
        "worries": WORRIES, "suspicious": SUSPICIOUS, "thresholds": THRESHOLDS, "doubtful": list(range(0, images, 50)),
        "classes": [[f"n{i:08}", f"class {i}", i] for i in range(CLASSES)],
        "accuracy": {"right": images * 4 // 5, "images": images, "low": 0.79, "high": 0.81},
        "by_class": [[i, 8, 10, 0.5, 0.95] for i in range(CLASSES)],
    }  # fmt: skip
    about = {"kind": "run", "root": "images", "folder": "out", "model": {"name": "m"}, "expected": images}
    with path.open("wb") as stream:
        write_page(stream, about, entries(images), lambda: closing)


def measure(window: Browser, page: Path) -> dict[str, tuple[float, float]]:
    """Return the milliseconds of each step on a page that is opened anew: those that pass, and those of the thread."""
    window.address("about:blank")
    before = window.thread_seconds()
    window.open(page)
    opened = window.run("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    found = {"open": (opened, 1e3 * (window.thread_seconds() - before))}
    window.run(HELPERS)
    for name, step in STEPS.items():
        before = window.thread_seconds()
        timed = f"const start = performance.now(); {step}; await drawn(); return performance.now() - start;"
        passed = window.run(f"return (async () => {{ {timed} }})()")
        found[name] = passed, 1e3 * (window.thread_seconds() - before)
    before = window.thread_seconds()
    gaps = window.run(f"return (async () => {{ {SCROLL} }})()")
    thread = 1e3 * (window.thread_seconds() - before) / len(gaps)
    return found | {"scroll: a frame": (gaps[30], thread), "scroll: the slowest of 20 frames": (gaps[57], thread)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder, "profile")) as window:
        page = Path(folder, "report.html")
        write(page, chosen.images)
        window.fit(1400, 1000)
        window.count_thread_time()
        rounds = [measure(window, page) for _ in range(chosen.rounds)]
        size = page.stat().st_size / 1e6
        lines = [f"{chosen.images:,} images, {size:.0f} MB, median of {chosen.rounds}", "", "| step | ms | thread |"]
        lines.append("|---|---:|---:|")
        for name in rounds[0]:
            passed, thread = (statistics.median(one[name][i] for one in rounds) for i in range(2))
            lines.append(f"| {name} | {passed:.0f} | {thread:.0f} |")
        sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
