"""Does Smooth Grad-CAM++ localise better, capture more of the object, and cover more instances, as its paper claims?

python tests/benchmarks/paper_claim.py [--set FOLDER] [--network NAME] [--baselines] [--images N] [--scenes N] [--jobs N]

Measured on the sample images with their boxes, and on a set of images that `image_set.py` makes:

- images of which the network is sure, for the class that it predicts: deletion, insertion, average drop and increase;
- mosaics of these images, a class each: the grid pointing game;
- cut-out objects on images, among objects of other classes: exact masks, one to three instances.

All goes through `smoothcam explain` and `smoothcam evaluate`. Tables have means with bootstrap 95% intervals, and differences
to Smooth Grad-CAM++ image by image. A star marks a difference whose interval excludes 0. Without a set, mosaics are made of
the sample images alone. With --baselines also xplique's methods, on fewer images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenes import Known, composites, mosaics

from cam_cli.evaluate.bootstrap import interval
from cam_cli.evaluate.records import NO_LAYER

SAMPLES = Path(__file__).parent.parent.parent / "sample_images"
NETWORKS = {
    "efficientnet-lite0": (("top_activation", "block6a_expand_activation"), 1),
    "vgg16-lite": (("block5_conv3",), 3),
}
"""Each with its layers, the last one first, and the share of the images that it gets, as it is ten times as slow."""

PERTURBATION = "blur"
CAMS = ("gradcam", "gradcam++", "smoothgradcam++", "twoscale")
SMOOTH = "smoothgradcam++"
OTHER_NOISE = {
    "smoothgradcam++, n = 25": ("--nsamples", "25"),
    "smoothgradcam++, std_dev = 0.3": ("--std-dev", "0.3"),
}
QUICK_BASELINES = ("guided-backprop", "deconvnet", "integrated-gradients")
SLOW_BASELINES = ("occlusion", "lime", "rise")
QUICK_IMAGES, SLOW_IMAGES = 24, 8
"""Number of images for xplique's methods: those of a few passes, those of hundreds."""
LOCALISATION = ("pointing_game", "energy_inside", "iou_best", "iou_half", "instance_coverage")
FAITHFULNESS = ("deletion_auc", "insertion_auc", "average_drop", "increase")
SURE = 0.5
SURE_OF_A_STAMP = 0.7
FIT = ("--fit", "stretch")
"""Objects lie at the edges too, which the crop of the bundled models' cards would leave out."""

OF_ONE_CLASS = 2

Values = dict[tuple[str, str], dict[str, dict[str, float]]]
"""By layer and method, by metric, by image."""


@dataclass(frozen=True)
class Case:
    """Photos, and what is asked of their maps. flags: of `explain`, such as its targets. annotations: for `evaluate`."""

    title: str
    root: Path
    images: tuple[Path, ...]
    metrics: tuple[str, ...]
    flags: tuple[str, ...] = ()
    annotations: Path | None = None

    def first(self, count: int) -> Case:
        return replace(self, images=self.images[:count])


def sample_images(work: Path) -> Case:
    boxes = SAMPLES / "boxes.json"
    known = json.loads(boxes.read_text())
    targets = work / "targets.csv"
    targets.write_text("path,target\n" + "".join(f"{name},{image['class_index']}\n" for name, image in known.items()))
    images = tuple(SAMPLES / name for name in sorted(known))
    return Case("Sample images", SAMPLES, images, LOCALISATION, ("--targets-from", str(targets)), boxes)


def cases(work: Path, model: str, images: Path | None, scenes: int) -> Iterator[Case]:
    """Yield the cases for one network: what is asked follows from what it is sure of."""
    yield sample_images(work)
    known = sure(SAMPLES, model, SURE) + (sure(images / "photos", model, SURE) if images else [])
    if images:
        own = tuple(one.path for one in known)
        yield Case("Images, for the class that is named", Path("/"), own, FAITHFULNESS)
    mosaics(known, scenes, work / "mosaics", work / "mosaic-masks")
    yield scene_case("Mosaics of two by two images", work, "mosaic", ("energy_inside", "pointing_game"))
    if images:
        stamps = sure(images / "stamps", model, SURE_OF_A_STAMP)
        composites(stamps, known, scenes, work / "composites", work / "composite-masks")
        yield scene_case("Objects on images", work, "composite", LOCALISATION)


def scene_case(title: str, work: Path, kind: str, metrics: tuple[str, ...]) -> Case:
    root = work / f"{kind}s"
    images = tuple(sorted(root.rglob("*.png"), key=lambda path: path.name))
    return Case(title, root, images, metrics, ("--target", "folder"), work / f"{kind}-masks")


def sure(folder: Path, model: str, least: float) -> list[Known]:
    """Return the images that the network names with at least some probability, a few of each class, the surest first."""
    with tempfile.TemporaryDirectory() as out:
        how = ("--model", model, *FIT, "--method", "gradcam", "--write", "raw", "--json")
        told = run("explain", str(folder), *how, "-o", out, "-q")
    rows = [row for row in map(json.loads, told.splitlines()) if row["status"] == "ok"]
    named = [(row["predictions"][0], folder / row["path"]) for row in rows]
    met: Counter[str] = Counter()
    found = []
    for best, path in sorted(named, key=lambda pair: (-pair[0]["probability"], pair[1])):
        met[best["wnid"]] += 1
        if best["probability"] >= least and met[best["wnid"]] <= OF_ONE_CLASS:
            found.append(Known(path, best["wnid"], best["probability"]))
    return found


def measured(case: Case, model: str, layers: Sequence[str], methods: Sequence[str], *flags: str) -> Values:
    with tempfile.TemporaryDirectory() as out:
        asked = [part for method in methods for part in ("--method", method)]
        asked += [part for layer in layers for part in ("--layer", layer)]
        images = map(str, case.images)
        root = ("--root", str(case.root))
        run(
            "explain",
            *images,
            *root,
            "--model",
            model,
            *FIT,
            *asked,
            *case.flags,
            *flags,
            "--write",
            "raw",
            "-o",
            out,
            "-q",
        )
        annotated = ("--annotations", str(case.annotations), "--tolerance", "pixels")
        annotated = annotated if case.annotations else ("--faithfulness", PERTURBATION)
        record = json.loads(run("evaluate", out, *annotated, "--format", "json"))
    values: Values = defaultdict(lambda: defaultdict(dict))
    for image, maps in record["images"].items():
        for one in maps:
            for metric in case.metrics:
                if (value := one["metrics"].get(metric)) is not None:
                    values[one["map"]["layer"], one["map"]["method"]][metric].setdefault(image, value)
    for image, free in record.get("baselines", {}).items():
        for name, metrics in free.items():
            for metric in case.metrics:
                values[NO_LAYER, name][metric][image] = metrics[metric]
    return values


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "cam_cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def all_measured(
    case: Case, model: str, layers: Sequence[str], flags: Sequence[str], baselines: str | None, jobs: int
) -> Values:
    """Measure all methods, so many runs at a time."""
    wanted: dict[str, tuple[Case, Sequence[str], Sequence[str], Sequence[str]]] = {"": (case, layers, CAMS, ())}
    wanted |= {label: (case, layers[-1:], [SMOOTH], noise) for label, noise in OTHER_NOISE.items()}
    if baselines:
        wanted["quick"] = case.first(QUICK_IMAGES), layers[-1:], QUICK_BASELINES, ()
    if baselines == "all":
        wanted["slow"] = case.first(SLOW_IMAGES), layers[-1:], SLOW_BASELINES, ()
    with ThreadPoolExecutor(jobs) as pool:
        runs = {
            label: pool.submit(measured, images, model, at, methods, *flags, *further)
            for label, (images, at, methods, further) in wanted.items()
        }
    return {
        (layer, label if label in OTHER_NOISE else method): metrics
        for label, run in runs.items()
        for (layer, method), metrics in run.result().items()
    }


def tables(case: Case, model: str, layers: Sequence[str], values: Values) -> str:
    head = f"\n| {model} | method | images | {' | '.join(case.metrics)} |\n|---|---|---|{'---|' * len(case.metrics)}\n"
    means = [(*kind, own, [cell(own[m].values()) for m in case.metrics]) for kind, own in values.items()]
    against = [
        (layer, f"{method} - {SMOOTH}" if at == layer else f"{method} - {SMOOTH} at {layer}", own, differences)
        for layer in layers
        for (at, method), own in values.items()
        if (at == layer and method != SMOOTH) or at not in layers
        for differences in [[difference(own[m], values[layer, SMOOTH][m]) for m in case.metrics]]
    ]
    text = [f"\n{case.title} ({len(case.images)}):\n"]
    for rows, sentence in ((means, ""), (against, "\nDifferences, image by image:\n")):
        lines = (f"| {at} | {method} | {count(own)} | {' | '.join(cells)} |\n" for at, method, own, cells in rows)
        text.append(sentence + head + "".join(lines))
    return "".join(text)


def count(metrics: Mapping[str, Mapping[str, float]]) -> int:
    return max(len(values) for values in metrics.values())


def cell(values: Any) -> str:
    found = interval(list(values))
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


def difference(own: Mapping[str, float], smooth: Mapping[str, float]) -> str:
    found = interval([own[image] - smooth[image] for image in own if image in smooth])
    star = "*" if found.low > 0 or found.high < 0 else ""
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}){star}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, metavar="FOLDER", help="with photos/ and stamps/, as image_set.py makes it")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="ask this one alone; repeatable")
    parser.add_argument("--baselines", choices=("quick", "all"), help="also xplique's methods, for EfficientNet-Lite0")
    parser.add_argument("--images", type=int, default=60, help="at most so many for faithfulness; VGG-16 a third")
    parser.add_argument("--scenes", type=int, default=90, help="mosaics, and objects on images; VGG-16 a third")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--precision", default="float32", help="bfloat16, where the processor has it, speeds VGG-16 up")
    options = parser.parse_args()
    flags = ("--precision", options.precision)
    for model in options.network or NETWORKS:
        layers, share = NETWORKS[model]
        with tempfile.TemporaryDirectory() as work:
            for case in cases(Path(work), model, options.set, options.scenes // share):
                asked = case.first(options.images // share) if case.annotations is None else case
                values = all_measured(
                    asked, model, layers, flags, options.baselines if share == 1 else None, options.jobs
                )
                sys.stdout.write(tables(asked, model, layers, values))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
