"""How the time of an explained image, the time of a whole run and the memory grow with what is asked: a table and a picture.

python tests/benchmarks/scaling.py [--quick] [--png FILE]

Every figure is a median over rounds in which all sizes of a curve run in turn. The exponent is that of the power law through
the upper half of the sizes, by least squares of log figure on log size; the spread is the interquartile range.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soak
from bench import NSAMPLES, Times, explainer, in_turn, subjects  # before Keras: it silences TensorFlow's import
from keras import Model
from keras.applications import MobileNet
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request
from cam_cli.engine.selection import Selection
from cam_cli.graph.trace import trace
from cam_cli.models.load import load_network

EFFICIENTNET = ("efficientnet-lite0", "block6a_expand_activation")
VGG = "vgg16-lite"
VGG_LAYERS = ["block5_conv3", "block5_conv2", "block5_conv1", "block4_conv3", "block4_conv2"]
SAMPLES_FOR_MEMORY = (5, 500)
IMAGES_FOR_MEMORY = 2
LINEAR, FLAT = "exponent <= 1.1", "last / first <= 1.1"
IMAGE, RUN, MEMORY = "time of an image (ms)", "time of a run (s)", "peak memory (MB)"


@dataclass(frozen=True)
class Plan:
    """How much is measured: the sizes of each curve, and the rounds over images and over whole runs."""

    samples: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200)
    sides: tuple[int, ...] = (96, 128, 160, 224, 320, 448)
    filters: tuple[int, ...] = (1, 4, 16, 64, 256)
    classes: tuple[int, ...] = (1, 2, 5, 10, 20)
    layers: tuple[int, ...] = (1, 2, 3, 5)
    images: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    rounds: int = 9
    runs: int = 3


QUICK = Plan(
    samples=(1, 5, 20, 50),
    sides=(96, 160, 224, 320),
    filters=(1, 16, 64, 256),
    classes=(1, 5, 10, 20),
    images=(100, 300, 1000),
    rounds=3,
    runs=2,
)


@dataclass(frozen=True)
class Curve:
    """Figures against sizes.

    what: was measured, and on which model. axis: what the sizes are. unit: of the figures, which are (sizes, rounds).
    names: of the sizes, where a plain number says less.
    """

    what: str
    axis: str
    unit: str
    sizes: tuple[int, ...]
    figures: Times
    target: str = LINEAR
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        return list(self.names) or [f"{size:,}" for size in self.sizes]

    @property
    def medians(self) -> Times:
        return np.asarray(np.median(self.figures, axis=1))

    @property
    def fitted(self) -> slice:
        """Return which sizes the power law is fitted to: their upper half, two at least."""
        return slice(min(len(self.sizes) // 2, len(self.sizes) - 2), None)

    def law(self) -> tuple[float, float]:
        """Return the exponent of the power law, and the logarithm of its factor."""
        exponent, factor = np.polyfit(np.log(self.sizes[self.fitted]), np.log(self.medians[self.fitted]), 1)
        return float(exponent), float(factor)

    def row(self) -> str:
        medians = ", ".join(f"{value:.4g}" for value in self.medians)
        laws = [f"{self.law()[0]:.2f}", f"{self.medians[-1] / self.medians[0]:.2f}", self.target]
        return f"| {' | '.join([self.what, self.axis, ', '.join(self.labels), f'{self.unit}: {medians}', *laws])} |\n"


def curves(plan: Plan) -> Iterator[Curve]:
    timed = partial(timed_curve, plan.rounds)
    yield timed(" ".join(EFFICIENTNET), "noisy samples", plan.samples, of_efficientnet)
    by_side = timed("MobileNet conv_pw_11_relu", "pixels of the input", plan.sides, of_mobilenet)
    yield replace(by_side, sizes=tuple(s * s for s in plan.sides), names=tuple(f"{s}²" for s in plan.sides))
    top = VGG_LAYERS[0]
    yield timed(f"{VGG} {top}", "filters, a map each", plan.filters, of_filters)
    yield timed(f"{VGG} {top}", "classes", plan.classes, lambda t: explainer(VGG, [top], t))
    yield timed(f"{VGG}, {top} downwards", "layers", plan.layers, lambda count: explainer(VGG, VGG_LAYERS[:count]))
    yield from whole_runs(plan)
    peaks = np.array([[in_a_fresh_process(peak, n, IMAGES_FOR_MEMORY)] for n in SAMPLES_FOR_MEMORY])
    yield Curve(" ".join(EFFICIENTNET), "noisy samples", MEMORY, SAMPLES_FOR_MEMORY, peaks, FLAT)


def of_efficientnet(nsamples: int) -> Explainer:
    network = load_network(EFFICIENTNET[0])
    return engine_of(network.model, network.input_shape, EFFICIENTNET[1], nsamples)


def of_mobilenet(side: int) -> Explainer:
    return engine_of(MobileNet((side, side, 3), weights=None), (side, side, 3), "conv_pw_11_relu", NSAMPLES)


def of_filters(count: int) -> Explainer:
    return explainer(VGG, VGG_LAYERS[:1], selections=tuple(Selection((k,)) for k in range(count)))


def engine_of(model: Model, shape: tuple[int, int, int], layer: str, nsamples: int) -> Explainer:
    return Explainer(model, analyse(trace(model, shape), [layer], None, None), Request(nsamples=nsamples))


def timed_curve(rounds: int, what: str, axis: str, sizes: tuple[int, ...], make: Callable[[int], Explainer]) -> Curve:
    """Time full passes of an engine for each size in turn; where several images share a pass, each has its part."""
    engines = {str(size): make(size) for size in sizes}
    batches = {name: subjects(engine, int(name) if axis == "classes" else 1) for name, engine in engines.items()}
    seconds = in_turn({name: partial(engine.explain, batches[name]) for name, engine in engines.items()}, rounds)
    return Curve(what, axis, IMAGE, sizes, np.array([1000 * seconds[n] / len(batches[n]) for n in engines]))


def whole_runs(plan: Plan) -> Iterator[Curve]:
    """Run the whole command in turn: its time less that of one image's run in the same round, and its peak memory."""
    sizes = (1, *plan.images)
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        model = soak._write_model(folder / "tiny.keras")
        for size in sizes:
            soak._write_photos(folder / f"{size}", size)
        out = folder / "out"
        flags = ["--model", str(model), "--layer=conv2", "--write=raw", "--picture-size=16", "-q", "-o", str(out)]
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(plan.runs):
            for size, runs in found.items():
                runs.append(run(["explain", str(folder / f"{size}"), *flags]))
                shutil.rmtree(out)
    seconds, peaks = np.moveaxis(np.array(list(found.values())), -1, 0)
    beyond = np.maximum(seconds[1:] - seconds[0], soak._LOOK_SECONDS)
    yield Curve("the command on tiny images, less a run of one", "images", RUN, plan.images, beyond)
    yield Curve("the command on tiny images", "images", MEMORY, plan.images, peaks[1:], FLAT)


def run(arguments: list[str]) -> tuple[float, float]:
    """Return the seconds of a smoothcam command, and its peak resident memory in MB without its decoders'."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-m", "cam_cli", *arguments])
    while process.poll() is None:
        with suppress(OSError, StopIteration):  # it has just ended
            peak = max(peak, soak._memory(process.pid, "VmHWM"))
        time.sleep(soak._LOOK_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return time.monotonic() - started, peak / 2**20


def in_a_fresh_process(measure: Callable[[int, int], float], *arguments: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def peak(nsamples: int, images: int) -> float:
    """Return the peak resident memory of this process in MB after it has explained some images one by one."""
    engine = of_efficientnet(nsamples)
    for subject in (subjects(engine) * images)[:images]:
        engine.explain([subject])
    return soak._memory(os.getpid(), "VmHWM") / 2**20


def drawn(found: list[Curve]) -> Figure:
    """Draw each curve in a panel of its own, on logarithmic axes that span a factor of ten or more upwards."""
    figure = Figure(figsize=(16.4, 7.6), layout="constrained")
    panels: list[Axes] = figure.subplots(2, -(-len(found) // 2), squeeze=False).ravel().tolist()
    for panel, curve in zip(panels, found, strict=True):
        draw(panel, curve)
    panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def draw(panel: Axes, curve: Curve) -> None:
    exponent, factor = curve.law()
    sizes, medians = np.array(curve.sizes), curve.medians
    low, high = np.percentile(curve.figures, [25, 75], axis=1)
    fitted = sizes[curve.fitted]
    panel.set(xscale="log", yscale="log", xlabel=curve.axis, ylabel=curve.unit)
    linear = medians[curve.fitted][0] * sizes / fitted[0]
    panel.plot(sizes, linear, ":", color="0.6", lw=1, label="linear growth", scaley=False)
    panel.plot(fitted, np.exp(factor) * fitted**exponent, color="tab:orange", lw=2, label="fitted power law")
    spread = np.abs([medians - low, high - medians])
    panel.errorbar(sizes, medians, spread, fmt="o", color="tab:blue", ms=5, capsize=2, label="median, quartiles")
    middle = np.sqrt(low.min() * high.max())
    panel.set_ylim(min(low.min() / 1.5, middle / 10**0.5), max(high.max() * 1.5, middle * 10**0.5))
    panel.set_xticks(sizes, curve.labels)
    panel.minorticks_off()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.grid(color="0.92")
    panel.set_title(f"{curve.axis}: exponent {exponent:.2f}\n", fontsize=11)
    panel.text(0.5, 1.02, curve.what, transform=panel.transAxes, ha="center", fontsize=8, color="0.35")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, for a look")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the curves, too")
    options = parser.parse_args()
    sys.stdout.write(
        "\n## As more is asked (`scaling.py`; 100,000 images in `soak.py`)\n\n![The same as curves](scaling.png)\n\n"
        "| what | against | sizes | medians | exponent | last / first | target |\n|---|---|---|---|---|---|---|\n"
    )
    found = []
    for curve in curves(QUICK if options.quick else Plan()):
        found.append(curve)
        sys.stdout.write(curve.row())
        sys.stdout.flush()
    if options.png:
        drawn(found).savefig(options.png, dpi=150)


if __name__ == "__main__":
    main()
