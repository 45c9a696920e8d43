"""Does Smooth Grad-CAM++ localise better, and cover more instances? Measured on the sample photos and on collages of them.

python tests/benchmarks/paper_claim.py [--collages N] [--baselines]

A collage is two by two photos, one or two of them of the class that is asked for (the second one mirrored), among photos of
other classes, so that a map has something to be wrong about. The sample photos come from the repository; with scikit-image
installed, its photos of a cat, a cup, a rocket and an astronaut are among the others. All goes through `smoothcam explain` and
`smoothcam evaluate`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "sample_images"
CAMS = ("gradcam", "gradcam++", "smoothgradcam++")
BASELINES = ("guided-backprop", "integrated-gradients", "occlusion", "lime", "rise")
METRICS = ("pointing_game", "energy_inside", "iou_best", "instance_coverage")
TILE = (320, 240)
OTHERS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")

Entry = dict[str, Any]


def collages(folder: Path, count: int) -> None:
    """Write collages and their boxes, the same ones every time."""
    known: dict[str, Entry] = json.loads((SAMPLES / "boxes.json").read_text())
    folder.mkdir()
    draw = np.random.default_rng(0)
    names = sorted(known)
    boxes: dict[str, Entry] = {}
    for number in range(count):
        name = names[number % len(names)]
        instances = 1 + number // len(names) % 2
        strangers = list(tiles_of_others(known, known[name]["class_index"]))
        chosen = draw.choice(len(strangers), 4 - instances, replace=False)
        tiles = [tile(name, known[name]["boxes"], mirrored=bool(i)) for i in range(instances)]
        tiles += [(strangers[i], []) for i in chosen]
        order = draw.permutation(4)
        collage = Image.new("RGB", (2 * TILE[0], 2 * TILE[1]))
        placed = []
        for place, (picture, inside) in zip(order, tiles, strict=True):
            left, top = int(place % 2) * TILE[0], int(place // 2) * TILE[1]
            collage.paste(picture, (left, top))
            placed += [[x0 + left, y0 + top, x1 + left, y1 + top] for x0, y0, x1, y1 in inside]
        collage.save(folder / f"{number:03}.jpg", quality=92)
        boxes[f"{number:03}.jpg"] = known[name] | {"size": list(collage.size), "boxes": placed}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder / "targets.csv").write_text(
        "path,target\n" + "".join(f"{path},{entry['class_index']}\n" for path, entry in boxes.items())
    )


def tile(name: str, boxes: list[list[int]], *, mirrored: bool) -> tuple[Image.Image, list[list[int]]]:
    with Image.open(SAMPLES / name) as opened:
        photo = opened.convert("RGB")
    across, down = TILE[0] / photo.width, TILE[1] / photo.height
    scaled = [[round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down)] for x0, y0, x1, y1 in boxes]
    small = photo.resize(TILE, Image.Resampling.LANCZOS)
    if not mirrored:
        return small, scaled
    return ImageOps.mirror(small), [[TILE[0] - x1, y0, TILE[0] - x0, y1] for x0, y0, x1, y1 in scaled]


def tiles_of_others(known: dict[str, Entry], index: int) -> Iterator[Image.Image]:
    for name, entry in sorted(known.items()):
        if entry["class_index"] != index:
            yield tile(name, [], mirrored=False)[0]
    package = find_spec("skimage")
    for folder in (package.submodule_search_locations or []) if package else []:
        for name in OTHERS:
            if (path := Path(folder) / "data" / name).is_file():
                with Image.open(path) as opened:
                    yield opened.convert("RGB").resize(TILE, Image.Resampling.LANCZOS)


def measured(annotations: Path, methods: tuple[str, ...], layer: str, *flags: str) -> list[Entry]:
    photos = [str(annotations.parent / name) for name in sorted(json.loads(annotations.read_text()))]
    with tempfile.TemporaryDirectory() as out:
        asked = [part for method in methods for part in ("--method", method)]
        run("explain", *photos, "--layer", layer, *asked, "--write", "raw", "-o", out, "-q", *flags)
        told = run("evaluate", out, "--annotations", str(annotations), "--format", "json")
    return [total for total in json.loads(told)["totals"] if total["metric"] in METRICS]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "cam_cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(title: str, totals: list[Entry]) -> None:
    sys.stdout.write(f"\n{title}\n\n| layer | method | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}\n")
    for layer, method in dict.fromkeys((total["layer"], total["method"]) for total in totals):
        found = {t["metric"]: t for t in totals if (t["layer"], t["method"]) == (layer, method)}
        cells = [f"{found[m]['mean']:.2f} ({found[m]['low']:.2f} to {found[m]['high']:.2f})" for m in METRICS]
        sys.stdout.write(f"| {layer} | {method} | {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collages", type=int, default=60)
    parser.add_argument("--baselines", action="store_true", help="also xplique's methods on the sample photos: minutes")
    options = parser.parse_args()
    layers = ("top_activation", "block6a_expand_activation")
    boxes = SAMPLES / "boxes.json"
    listed = json.loads(boxes.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = folder / "targets.csv"
        targets.write_text("path,target\n" + "".join(f"{p},{e['class_index']}\n" for p, e in listed.items()))
        totals = [t for layer in layers for t in measured(boxes, CAMS, layer, "--targets-from", str(targets))]
        table(f"Sample photos ({len(listed)}):", totals)
        collages(folder / "collages", options.collages)
        boxes_of_collages, targets = (folder / "collages" / file for file in ("boxes.json", "targets.csv"))
        totals = [
            t for layer in layers for t in measured(boxes_of_collages, CAMS, layer, "--targets-from", str(targets))
        ]
        table(f"Collages ({options.collages}):", totals)
    if options.baselines:
        table("xplique's methods, sample photos:", measured(boxes, BASELINES, layers[0]))


if __name__ == "__main__":
    main()
