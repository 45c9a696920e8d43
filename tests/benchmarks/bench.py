"""What speed costs and where it goes: ratios of things timed in turn in one run; `make bench` prints the table.

Every figure is a median over rounds in which all contenders of a comparison run once, so that a busy machine hurts them alike;
the spread is the interquartile range.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.quiet import native_chatter_silenced, prepare_environment

prepare_environment()
with native_chatter_silenced():
    import keras
    import tensorflow as tf
    import torch_cam
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from cam_cli.engine.analysis import analyse
    from cam_cli.engine.explain import Explainer
    from cam_cli.engine.openvino_import import openvino_version
    from cam_cli.engine.passes import RuntimeName
    from cam_cli.engine.request import Request, Subject
    from cam_cli.engine.selection import Selection
    from cam_cli.graph.trace import run_model, trace
    from cam_cli.images.decode import decode
    from cam_cli.images.fit import fit
    from cam_cli.models.bundled import bundled_models
    from cam_cli.models.load import load_network

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "sample_images"
NSAMPLES = 5
VGG, VGG_LAYER = "vgg16-lite", "block5_conv3"
LITE, LITE_LAYER, LITE_TOP = "efficientnet-lite0", "block6a_expand_activation", "top_activation"
Times = NDArray[np.float64]


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Run all contenders once in each round, after a round that does not count, and return their seconds.

    Each round begins with another one, because what ran just before shows in the time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            contenders[name]()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def told(what: str, ratios: Times, target: str) -> None:
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    sys.stdout.write(f"| {what} | {middle:.2f} | {low:.2f} to {high:.2f} | {target} |\n")
    sys.stdout.flush()


def explainer(
    name: str,
    layers: list[str],
    targets: int = 1,
    precision: str = "float32",
    runtime: RuntimeName = "tensorflow",
    **request: object,
) -> Explainer:
    network = load_network(name)
    analysis = analyse(trace(network.model, network.input_shape), layers, None, None)
    asked = Request(nsamples=NSAMPLES, **request)  # type: ignore[arg-type]
    return Explainer(network.model, analysis, asked, targets, precision=precision, runtime=runtime)


def forward(model: keras.Model, rows: int, shape: tuple[int, int, int]) -> Callable[[], object]:
    """Return one pass of the bare network, frozen, over `rows` images."""
    traced = tf.function(lambda x: run_model(model, x), autograph=False)
    with native_chatter_silenced():
        frozen = convert_variables_to_constants_v2(traced.get_concrete_function(tf.TensorSpec((rows, *shape))))
        run = tf.function(lambda x: frozen(x), autograph=False).get_concrete_function(tf.TensorSpec((rows, *shape)))
    x = tf.constant(np.random.default_rng(0).normal(size=(rows, *shape)).astype(np.float32))
    return lambda: [found.numpy() for found in tf.nest.flatten(run(x))]


def subjects(engine: Explainer, targets: int = 1) -> list[Subject]:
    draw = np.random.default_rng(0)
    shape = engine.analysis.input_shape
    ranks = tuple(range(-1, -targets - 1, -1))
    return [Subject(draw.normal(size=shape).astype(np.float32), str(b), ranks) for b in range(engine.images_in_a_pass)]


def against_the_bare_network(rounds: int) -> None:
    for name, layer, target in ((VGG, VGG_LAYER, 1.10), (LITE, LITE_LAYER, 1.10), (LITE, LITE_TOP, 1.15)):
        engine = explainer(name, [layer])
        batch = subjects(engine)
        samples = engine.nsamples + 1
        bare = forward(load_network(name).model, samples * len(batch), engine.analysis.input_shape)
        contenders = {"engine": partial(engine.explain, batch), "bare": bare}
        if openvino_version():
            contenders["openvino"] = partial(explainer(name, [layer], runtime="openvino").explain, batch)
        times = in_turn(contenders, rounds)
        told(f"{name} {layer}: engine / {samples} forward passes", times["engine"] / times["bare"], f"<= {target:.2f}")
        if "openvino" in times:
            what = f"{name} {layer}: engine with OpenVINO / {samples} forward passes of TensorFlow"
            told(what, times["openvino"] / times["bare"], "")


def against_torch_cam(python: Path | None, rounds: int) -> None:
    """Each round runs torch-cam in its own Python, then the engine here; its best batch by the median counts."""
    targets = {LITE_LAYER: ">= 3", LITE_TOP: ">= 12"}
    if python is None:
        sys.stdout.write(
            "| torch-cam was not measured: name a Python with torch, torchcam and timm by --torch-python | | | |\n"
        )
        return
    ours: dict[str, list[float]] = {layer: [] for layer in targets}
    theirs: dict[str, dict[int, list[float]]] = {layer: {} for layer in targets}
    engines = {layer: explainer(LITE, [layer]) for layer in targets}
    for _ in range(rounds):
        for layer, batches in torch_cam.compare(python, 1).items():
            for batch, seconds in batches.items():
                theirs[layer].setdefault(batch, []).extend(seconds)
        for layer, engine in engines.items():
            batch_of_ours = subjects(engine)
            times = in_turn({"engine": lambda e=engine, b=batch_of_ours: e.explain(b)}, 5)  # type: ignore[misc]
            ours[layer].append(float(np.median(times["engine"])) / len(batch_of_ours))
    for layer, target in targets.items():
        best = min(theirs[layer], key=lambda batch: float(np.median(theirs[layer][batch])))
        ratios = np.array(theirs[layer][best]) / np.array(ours[layer])
        told(
            f"{LITE} {layer}: images/s of the engine / of torch-cam at its best batch of 1, 4, 8 ({best})",
            ratios,
            target,
        )


def the_usual_keras_code(model: keras.Model, layer: str, x: NDArray[np.float32]) -> object:
    """Smooth Grad-CAM++ as tutorials on the web have it: a GradientTape, one eager noisy sample after the other."""
    tapped = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    sums = [0.0, 0.0, 0.0]
    for m in range(NSAMPLES):
        noise = np.random.default_rng(m).normal(0, 0.15 * np.ptp(x), x.shape).astype(np.float32)
        with tf.GradientTape() as tape:
            activations, scores = tapped(tf.constant(x + noise)[None], training=False)
            score = scores[0, tf.argmax(scores[0])]
        g = tape.gradient(score, activations)[0]
        sums = [total + g**power for total, power in zip(sums, (1, 2, 3), strict=True)]
    D1, D2, D3 = (total / NSAMPLES for total in sums)
    A = tapped(tf.constant(x)[None], training=False)[0][0]
    alpha = tf.math.divide_no_nan(D2, 2 * D2 + tf.reduce_sum(A, axis=(0, 1)) * D3)
    weights = tf.reduce_sum(alpha * tf.nn.relu(D1), axis=(0, 1))
    return tf.nn.relu(tf.tensordot(A, weights, axes=1)).numpy()


def against_the_usual_keras_code(rounds: int) -> None:
    model = load_network(VGG).model
    engines = {precision: explainer(VGG, [VGG_LAYER], precision=precision) for precision in ("float32", "bfloat16")}
    batch = subjects(engines["float32"])
    contenders: dict[str, Callable[[], object]] = {
        "usual": lambda: [the_usual_keras_code(model, VGG_LAYER, subject.x) for subject in batch]
    }
    contenders |= {precision: lambda e=engine: e.explain(batch) for precision, engine in engines.items()}  # type: ignore[misc]
    times = in_turn(contenders, rounds)
    told(f"{VGG}: the usual Keras code / engine", times["usual"] / times["float32"], ">= 5")
    told(f"{VGG}: the usual Keras code / engine in bfloat16", times["usual"] / times["bfloat16"], ">= 15")
    told(f"{VGG}: engine in float32 / in bfloat16", times["float32"] / times["bfloat16"], ">= 3")
    told(f"{VGG}: correlation of bfloat16's maps of the sample images with float32's", agreement(engines), ">= 0.99")


def agreement(engines: dict[str, Explainer]) -> Times:
    network = load_network(VGG)
    found: list[list[NDArray[np.float32]]] = []
    photos = [decode(path.read_bytes()) for path in sorted(SAMPLES.glob("*.jpg"))]
    xs = [fit(photo, network.input_shape[:2], network.preprocessing)[0] for photo in photos]
    for engine in engines.values():
        found.append([e.maps[0].values for e in engine.explain([Subject(x, str(i)) for i, x in enumerate(xs)])])
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*found, strict=True)])


def several_at_once(rounds: int) -> None:
    layers = [VGG_LAYER, "block4_conv3", "block5_conv2"]
    one, many = explainer(VGG, layers[:1]), explainer(VGG, layers, 5)
    first, further = subjects(one), subjects(many, 5)
    times = in_turn({"one": lambda: one.explain(first), "many": lambda: many.explain(further)}, rounds)
    told(f"{VGG}: top-5 classes and 3 layers / one of each", times["many"] / times["one"], "<= 1.5")
    each = tuple(Selection((k,)) for k in range(64))
    filters = explainer(VGG, layers[:1], selections=each)
    times = in_turn({"one": lambda: one.explain(first), "filters": lambda: filters.explain(first)}, rounds)
    told(f"{VGG}: 64 filters' maps / one map", times["filters"] / times["one"], "<= 1.3")


def whole_command(photos: int, rounds: int) -> None:
    """The engine is timed right before and right after each run of the command."""
    with photos_of_two_megapixels(photos) as folder:
        for model, layer in ((VGG, VGG_LAYER), (LITE, LITE_LAYER)):
            engine = explainer(model, [layer])
            batch = subjects(engine)
            ratios = []
            for _ in range(rounds):
                around = {"engine": lambda e=engine, b=batch: e.explain(b)}  # type: ignore[misc]
                before = in_turn(around, 10)["engine"]
                each = pace_of_command(folder, model, layer)
                alone = np.concatenate([before, in_turn(around, 10)["engine"]]) / len(batch)
                ratios.append(float(np.median(alone)) / each)
            told(f"{model} {layer}: images/s of the command / of the engine alone", np.array(ratios), ">= 0.85")


@contextmanager
def photos_of_two_megapixels(count: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "photos").mkdir()
        originals = sorted(SAMPLES.glob("*.jpg"))
        for i in range(count):
            with Image.open(originals[i % len(originals)]) as image:
                image.convert("RGB").resize((1632, 1224)).rotate(i).save(
                    Path(name) / "photos" / f"{i:04}.jpg", quality=88
                )
        yield Path(name)


def pace_of_command(folder: Path, model: str, layer: str) -> float:
    """Return the seconds from one finished image to the next, start-up and first tenth apart."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [sys.executable, "-m", "cam_cli", "explain", folder / "photos", "--model", model, "--layer", layer]
    subprocess.run([*command, "-o", folder / "out", "-q"], check=True)
    stamps = sorted(path.stat().st_mtime for path in (folder / "out").glob("*/manifest.json"))
    stamps = stamps[len(stamps) // 10 :]
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1)


def start_up(rounds: int) -> None:
    """Whole processes: the command for one photo, against a Python that imports TensorFlow and opens the model."""
    model = bundled_models()[LITE]
    bare = f"import tensorflow, keras; keras.saving.load_model({os.fspath(model)!r}, compile=False)"
    photo = sorted(SAMPLES.glob("*.jpg"))[0]
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | {"XDG_CACHE_HOME": name}

        def explain(*flags: str) -> None:
            shutil.rmtree(Path(name) / "out", ignore_errors=True)
            command = [sys.executable, "-m", "cam_cli", "explain", photo, "--layer", LITE_TOP, "-q", *flags]
            subprocess.run([*command, "-o", Path(name) / "out"], check=True, env=environment)

        contenders: dict[str, Callable[[], object]] = {
            "bare": lambda: subprocess.run([sys.executable, "-c", bare], check=True, stderr=subprocess.DEVNULL),
            "kept": explain,
            "anew": lambda: explain("--no-cache"),
        }
        times = in_turn(contenders, rounds)
    told(f"{LITE}: command for one image / import of TensorFlow and the model", times["kept"] / times["bare"], "<= 1.5")
    told(f"{LITE}: the same without the cache", times["anew"] / times["bare"], "")


_MEASURED = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command from a small process: what is started by a large one counts its memory too."""


def start_up_without_tensorflow(rounds: int) -> None:
    """One image explained again by the whole command with OpenVINO: seconds by the clock, and the most memory it has."""
    photo = sorted(SAMPLES.glob("*.jpg"))[0]
    for model, layer in ((LITE, LITE_TOP), (VGG, VGG_LAYER)):
        seconds, megabytes = [], []
        with tempfile.TemporaryDirectory() as name:
            environment = os.environ | {"XDG_CACHE_HOME": name}
            command = [
                "-m",
                "cam_cli",
                "explain",
                photo,
                "--model",
                model,
                "--layer",
                layer,
                "--runtime",
                "openvino",
                "-q",
            ]
            for turn in range(rounds + 1):
                measured = [sys.executable, "-c", _MEASURED, sys.executable, *command, "-o", Path(name) / f"out{turn}"]
                ended = subprocess.run(measured, check=True, env=environment, capture_output=True, text=True)
                if turn:  # the first one converts the model
                    found = ended.stdout.split()
                    seconds.append(float(found[0]))
                    megabytes.append(float(found[1]) / 1024)
        told(f"{model} {layer}: one image again with OpenVINO, seconds", np.array(seconds), "< 1.0")
        told(f"{model} {layer}: the same, MB", np.array(megabytes), "< 400")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--torch-python", type=Path, help="interpreter of an environment with torch, torchcam and timm")
    options = parser.parse_args()
    few = max(3, options.rounds // 3)
    sys.stdout.write(
        "# What speed costs, as measured\n\nPrinted by `make bench`; [NOTES.md](NOTES.md) explains the missed targets.\n\n"
        "## Against the bare network, torch-cam and the usual Keras code (`bench.py`)\n\n"
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores; "
        f"n = {NSAMPLES}; medians of {few} to {options.rounds} rounds, spread: middle half.\n\n"
        "| what | median | spread | target |\n|---|---|---|---|\n"
    )
    against_the_bare_network(options.rounds)
    against_torch_cam(options.torch_python, few)
    against_the_usual_keras_code(few)
    several_at_once(few)
    whole_command(options.images, max(1, few // 2))
    start_up(few)
    if openvino_version():
        start_up_without_tensorflow(few)


if __name__ == "__main__":
    main()
