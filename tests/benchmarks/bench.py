"""What speed costs and where it goes: ratios of things timed in turn in one process; `make bench` prints the table.

Every figure is a median over rounds in which all contenders of a comparison run once, so that a busy machine hurts them alike;
the spread is the interquartile range.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.quiet import native_chatter_silenced, prepare_environment

prepare_environment()
with native_chatter_silenced():
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from cam_cli.engine.anatomy import examine
    from cam_cli.engine.explain import Explainer, Request, Subject
    from cam_cli.engine.selection import Selection
    from cam_cli.models.calls import run_model, trace
    from cam_cli.models.load import load_network

SAMPLES = Path(__file__).parent.parent.parent / "sample_images"
NSAMPLES = 5
Times = NDArray[np.float64]


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Run all contenders once in each round, after a round that does not count; return their seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def told(what: str, ratios: Times, target: str) -> None:
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    sys.stdout.write(f"| {what} | {middle:.2f} | {low:.2f} to {high:.2f} | {target} |\n")
    sys.stdout.flush()


def explainer(name: str, layers: list[str], targets: int = 1, **request: object) -> Explainer:
    network = load_network(name)
    anatomy = examine(trace(network.model, network.input_shape), layers, None, None)
    return Explainer(network.model, anatomy, Request(nsamples=NSAMPLES, **request), targets)  # type: ignore[arg-type]


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
    shape = engine.anatomy.input_shape
    ranks = tuple(range(-1, -targets - 1, -1))
    return [Subject(draw.normal(size=shape).astype(np.float32), str(b), ranks) for b in range(engine.images_in_a_pass)]


def against_the_bare_network(rounds: int) -> None:
    cases = [
        ("vgg16-lite", "block5_conv3", "<= 1.10"),
        ("efficientnet-lite0", "block6a_expand_activation", "<= 1.10"),
        ("efficientnet-lite0", "top_activation", "<= 1.15"),
    ]
    for name, layer, target in cases:
        engine = explainer(name, [layer])
        batch = subjects(engine)
        samples = engine.nsamples + 1
        bare = forward(load_network(name).model, samples * len(batch), engine.anatomy.input_shape)
        times = in_turn({"engine": lambda e=engine, b=batch: e.explain(b), "bare": bare}, rounds)  # type: ignore[misc]
        told(f"{name} {layer}: engine / {samples} forward passes", times["engine"] / times["bare"], target)


def the_usual_recipe(model: keras.Model, layer: str, x: NDArray[np.float32]) -> object:
    """Smooth Grad-CAM++ as recipes on the web have it: a GradientTape, one eager noisy sample after the other."""
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


def against_the_usual_recipe(rounds: int) -> None:
    engine = explainer("vgg16-lite", ["block5_conv3"])
    batch = subjects(engine)
    model = load_network("vgg16-lite").model
    recipe = lambda: [the_usual_recipe(model, "block5_conv3", subject.x) for subject in batch]  # noqa: E731
    times = in_turn({"engine": lambda: engine.explain(batch), "recipe": recipe}, rounds)
    told("vgg16-lite: the usual Keras recipe / engine", times["recipe"] / times["engine"], ">= 5")


def several_at_once(rounds: int) -> None:
    layers = ["block5_conv3", "block4_conv3", "block5_conv2"]
    one, many = explainer("vgg16-lite", layers[:1]), explainer("vgg16-lite", layers, 5)
    first, further = subjects(one), subjects(many, 5)
    times = in_turn({"one": lambda: one.explain(first), "many": lambda: many.explain(further)}, rounds)
    told("vgg16-lite: top-5 classes and 3 layers / one of each", times["many"] / times["one"], "<= 1.5")
    each = tuple(Selection((k,)) for k in range(64))
    filters = explainer("vgg16-lite", layers[:1], selections=each)
    times = in_turn({"one": lambda: one.explain(first), "filters": lambda: filters.explain(first)}, rounds)
    told("vgg16-lite: 64 filters' maps / one map", times["filters"] / times["one"], "<= 1.3")


def whole_command(photos: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        originals = sorted(SAMPLES.glob("*.jpg"))
        for i in range(photos):
            with Image.open(originals[i % len(originals)]) as image:
                image.convert("RGB").resize((1632, 1224)).rotate(i).save(folder / "photos" / f"{i:04}.jpg", quality=88)
        for model, layer in (("vgg16-lite", "block5_conv3"), ("efficientnet-lite0", "block6a_expand_activation")):
            engine = explainer(model, [layer])
            batch = subjects(engine)
            alone = in_turn({"engine": lambda e=engine, b=batch: e.explain(b)}, 10)["engine"] / len(batch)  # type: ignore[misc]
            command = [
                sys.executable,
                "-m",
                "cam_cli",
                "explain",
                str(folder / "photos"),
                "--model",
                model,
                "--layer",
                layer,
            ]
            shutil.rmtree(folder / "out", ignore_errors=True)
            subprocess.run([*command, "-o", str(folder / "out"), "-q"], check=True)
            stamps = sorted(path.stat().st_mtime for path in (folder / "out").glob("*/manifest.json"))
            each = np.diff(np.array(stamps)[len(stamps) // 10 :: 16]) / 16
            told(f"{model} {layer}: images/s of the command / of the engine alone", alone.mean() / each, ">= 0.85")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--photos", type=int, default=200)
    options = parser.parse_args()
    sys.stdout.write("| what | median | spread | target |\n|---|---|---|---|\n")
    against_the_bare_network(options.rounds)
    against_the_usual_recipe(max(3, options.rounds // 3))
    several_at_once(max(3, options.rounds // 3))
    whole_command(options.photos)


if __name__ == "__main__":
    main()
