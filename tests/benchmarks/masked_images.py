"""Where do maps lie on real images? Every method against masks of the objects, a centred Gaussian and a flat map.

python tests/benchmarks/masked_images.py IMAGES ANNOTATIONS [--classes FILE] [--model NAME] [--sizes 224,320,448]

IMAGES is a folder, ANNOTATIONS a COCO instances file (or what else `smoothcam evaluate --annotations` takes). --classes is a
CSV with columns path and target, a class of the model; without it the names of the annotated categories are looked up among
the model's classes. Each class is explained and judged by its own map. All goes through `smoothcam explain`.

The table has means over the targets. Differences to Grad-CAM and to the Gaussian, target by target, have bootstrap 95%
intervals; a star marks one that excludes 0.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.evaluate.annotations import read_annotations
from cam_cli.evaluate.bootstrap import interval
from cam_cli.metrics.localisation import localise
from cam_cli.results.manifest import TargetRecord
from cam_cli.results.reader import RunReader

REACH = 15 / 224
"""How far beside the object the peak may lie in the second column of pointing, as a share of the image's sides."""
SIGMA = 0.25
"""The standard deviation of the centred Gaussian, as a share of the image's sides."""
COLUMNS = ("pointing", "pointing, 15 of 224 px", "energy", "best IoU", "IoU at half", "coverage")
OF_EVALUATE = {
    "energy": "energy_inside",
    "best IoU": "iou_best",
    "IoU at half": "iou_half",
    "coverage": "instance_coverage",
}
GRADCAM, GAUSSIAN, FLAT = "gradcam", "centred Gaussian", "flat"

Array = NDArray[np.float32]
Target = tuple[str, int]
"""An image's path and a class."""
Values = dict[str, dict[Target, dict[str, float]]]
"""By method, by target, by column."""


def measured(heat: Array, masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Return all columns of one map (H, W) over its image."""
    known = localise(heat, masks)
    union = np.logical_or.reduce(masks)
    positive = np.where(heat > 0, heat, 0)
    if positive.max() <= 0:
        return dict.fromkeys(COLUMNS, 0.0)
    hit = np.unravel_index(int(positive.argmax()), positive.shape)
    rows, columns = np.nonzero(union)
    height, width = union.shape
    steps = ((rows - hit[0]) / (REACH * height)) ** 2 + ((columns - hit[1]) / (REACH * width)) ** 2
    points = {"pointing": float(union[hit]), "pointing, 15 of 224 px": float(steps.min() <= 1)}
    return points | {column: known[name] for column, name in OF_EVALUATE.items()}


def for_nothing(shape: tuple[int, int], masks: Sequence[NDArray[np.bool_]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what two maps are worth that need no network; the peak of the flat one may be any pixel."""
    down, across = (np.exp(-((((np.arange(side) + 0.5) / side - 0.5) / SIGMA) ** 2) / 2) for side in shape)
    yield GAUSSIAN, measured(np.outer(down, across).astype(np.float32), masks)
    flat, union = measured(np.ones(shape, np.float32), masks), np.logical_or.reduce(masks)
    at = np.random.default_rng(0).random((200, 2)) * shape
    rows, columns = np.nonzero(union)
    near = [
        (((rows - y) / (REACH * shape[0])) ** 2 + ((columns - x) / (REACH * shape[1])) ** 2).min() <= 1 for y, x in at
    ]
    yield FLAT, flat | {"pointing": float(union.mean()), "pointing, 15 of 224 px": float(np.mean(near))}


def classes_of(annotations: Path) -> Iterator[tuple[str, str]]:
    """Yield the file name and the category of each annotated object."""
    known = json.loads(annotations.read_text())
    names = {category["id"]: category["name"] for category in known["categories"]}
    files = {image["id"]: image["file_name"] for image in known["images"]}
    yield from dict.fromkeys((files[one["image_id"]], names[one["category_id"]]) for one in known["annotations"])


def truth_file(annotations: Path, classes: Path | None, folder: Path) -> Path:
    rows: list[tuple[str, str]] = list(classes_of(annotations)) if classes is None else []
    if classes is not None:
        with classes.open(newline="") as file:
            rows = [(row["path"], row["target"]) for row in csv.DictReader(file)]
    truth = folder / "truth.csv"
    with truth.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return truth


def explain(images: Path, out: Path, truth: Path, *flags: str) -> RunReader:
    command = [
        sys.executable,
        "-m",
        "cam_cli",
        "explain",
        str(images),
        "-o",
        str(out),
        "--write",
        "raw",
        "--fit",
        "stretch",
    ]
    subprocess.run([*command, "--truth", str(truth), "--target", "truth", *flags, "-q"], check=True)
    return RunReader(out)


def values_of(run: RunReader, annotations: Path, label: str) -> Values:
    """Return the figures of all maps of a run that have an annotated object, by method and layer or by `label`."""
    root = run.root if isinstance(run.root, Path) else None
    known = read_annotations(annotations, root)
    found: Values = defaultdict(dict)
    for image in run.images():
        masks: dict[int, Any] = {}
        for record in image.manifest.maps:
            target: TargetRecord = record.target
            if target.index not in masks:
                masks[target.index] = known.instances(image.path, image.size, target)
            values = image.values(record)
            if not masks[target.index] or values is None:
                continue
            name = label or (record.method if "+" in record.layer else f"{record.method} at {record.layer}")
            found[name][image.path, target.index] = measured(image.upsampled(values, record), masks[target.index])
        if not label:
            for index, of_class in masks.items():
                for name, figures in for_nothing(of_class[0].shape, of_class) if of_class else ():
                    found[name][image.path, index] = figures
    return found


def table(values: Values) -> str:
    shared = set.intersection(*(set(one) for one in values.values()))
    lines = [f"| {len(shared)} targets | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, own in values.items():
        means = (np.mean([own[target][column] for target in shared]) for column in COLUMNS)
        lines.append(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    first = next(name for name in values if name.startswith(GRADCAM))
    for reference in (first, GAUSSIAN):
        lines += ["", f"| minus {reference} | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
        for name, own in values.items():
            if name != reference:
                cells = [difference(own, values[reference], column, sorted(shared)) for column in COLUMNS]
                lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(own: Mapping[Target, Any], other: Mapping[Target, Any], column: str, shared: Sequence[Target]) -> str:
    found = interval([own[target][column] - other[target][column] for target in shared])
    star = "*" if found.low > 0 or found.high < 0 else ""
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}){star}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--classes", type=Path, help="CSV with columns path and target")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--layers", default="top_activation,block6a_expand_activation", help="the last one first")
    parser.add_argument("--sizes", default="224,320,448", help="empty: none but the model's own")
    options = parser.parse_args()
    layers = [flag for layer in options.layers.split(",") for flag in ("--layer", layer)]
    methods = [flag for name in ("gradcam", "gradcam++", "smoothgradcam++", "twoscale") for flag in ("--method", name)]
    with tempfile.TemporaryDirectory() as folder:
        truth = truth_file(options.annotations, options.classes, Path(folder))
        model = ("--model", options.model)
        run = explain(options.images, Path(folder, "own"), truth, *model, *layers, *methods)
        values = dict(values_of(run, options.annotations, ""))
        sizes = options.sizes.split(",") if options.sizes else []
        for count in range(2, len(sizes) + 1):
            label, some = f"twoscale, {'+'.join(sizes[:count])}", ",".join(sizes[:count])
            run = explain(options.images, Path(folder, some), truth, *model, "--method", "twoscale", "--sizes", some)
            values |= values_of(run, options.annotations, label)
        ends = (GAUSSIAN, FLAT)
        ordered = {name: own for name, own in values.items() if name not in ends} | {
            name: values[name] for name in ends
        }
        sys.stdout.write(table(ordered))


if __name__ == "__main__":
    main()
