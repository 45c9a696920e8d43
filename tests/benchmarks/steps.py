"""What each step towards speed is worth, found by undoing it: time without the step / with it, timed in turn.

python tests/benchmarks/steps.py [--rounds N]
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
from bench import LITE, LITE_LAYER, LITE_TOP, NSAMPLES, SAMPLES, VGG, VGG_LAYER, explainer, in_turn, subjects, told
from PIL import Image

from cam_cli.quiet import native_chatter_silenced

with native_chatter_silenced():
    import tensorflow as tf

    from cam_cli.engine import evidence, tracing
    from cam_cli.engine.explain import Explainer
    from cam_cli.engine.noise import noise
    from cam_cli.images.decode import decode
    from cam_cli.render.png import png

CASES = ((VGG, VGG_LAYER), (LITE, LITE_LAYER), (LITE, LITE_TOP))
SHAPE = (224, 224, 3)


@contextmanager
def without_folding() -> Iterator[None]:
    with patch.object(tracing, "folded", lambda definition, _: definition):
        yield


@contextmanager
def without_mirrors() -> Iterator[None]:
    with patch.object(tracing, "mirror", lambda _: None):
        yield


def without_a_standard_error(engine: Explainer, batch: Any) -> Callable[[], object]:
    """Leave out the jackknife: not a step, but what it costs."""
    usual = evidence._shares

    def explain() -> object:
        with patch.object(evidence, "_shares", lambda top, mass: usual(top, mass)[:1]):
            return engine.explain(batch)

    return explain


def undone(rounds: int) -> None:
    steps = {
        "batch norms are not folded": without_folding,
        "gradients of convolutions are TensorFlow's own": without_mirrors,
    }
    for name, layer in CASES:
        engines = {"as it is": explainer(name, [layer])}
        for step, undo in steps.items():
            with undo():
                engines[step] = explainer(name, [layer])
        batch = subjects(engines["as it is"])
        contenders: dict[str, Callable[[], object]] = {
            step: partial(engine.explain, batch) for step, engine in engines.items()
        }
        if engines["as it is"].nsamples:
            contenders["no standard error"] = without_a_standard_error(engines["as it is"], batch)
        times = in_turn(contenders, rounds)
        for step in contenders:
            if step != "as it is":
                told(f"{name} {layer}: {step}", times[step] / times["as it is"], "")


def generators(rounds: int) -> None:
    """Ways to draw normal numbers for five noisy copies, against TensorFlow's own."""
    count = math.prod(SHAPE)
    table = tf.constant(np.random.default_rng(0).normal(size=65536).astype(np.float32))

    def looked_up(seed: tf.Tensor) -> tf.Tensor:
        bits = tf.random.stateless_uniform((count // 2,), seed, None, None, tf.int32, alg="philox")
        return tf.gather(table, tf.cast(tf.reshape(tf.bitcast(bits, tf.uint16), (-1,)), tf.int32))

    ways: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
        "stateless_normal": lambda seed: tf.random.stateless_normal((count,), seed, alg="philox"),
        "inverse error function": lambda seed: tf.math.erfinv(
            tf.random.stateless_uniform((count,), seed, -1 + 2**-24, 1.0, alg="philox")
        ),
        "table of 65536 values": looked_up,
        "uniform numbers only": lambda seed: tf.random.stateless_uniform((count,), seed, alg="philox"),
    }
    seeds = tf.constant(np.arange(2 * NSAMPLES).reshape(NSAMPLES, 2), tf.int64)
    contenders: dict[str, Callable[[], object]] = {}
    for name, way in ways.items():
        drawn = tf.function(lambda s, w=way: tf.stack([w(s[m]) for m in range(NSAMPLES)]), autograph=False)
        concrete = drawn.get_concrete_function(tf.TensorSpec((NSAMPLES, 2), tf.int64))
        contenders[name] = lambda c=concrete: c(seeds).numpy()  # type: ignore[misc]
    draw, into = np.random.Generator(np.random.SFC64(0)), np.empty((NSAMPLES, count), np.float32)
    contenders["NumPy, SFC64, one thread"] = lambda: draw.standard_normal(out=into, dtype=np.float32)
    contenders["ours: a table of quantiles, SFC64, one thread"] = lambda: [
        noise(count, bytes([m]), 1.0) for m in range(NSAMPLES)
    ]
    times = in_turn(contenders, rounds)
    for name in contenders:
        if name != "stateless_normal":
            told(f"noise: {name} / stateless_normal", times[name] / times["stateless_normal"], "")


def pictures(rounds: int) -> None:
    with Image.open(sorted(SAMPLES.glob("*.jpg"))[0]) as opened:
        photo = opened.convert("RGB").resize((1632, 1224))
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=88)
    data = jpeg.getvalue()
    times = in_turn({"whole": lambda: decode(data), "reduced": lambda: decode(data, enough=448)}, rounds)
    told("2-megapixel JPEG: read whole / at half its size", times["whole"] / times["reduced"], "")

    def by_pillow(width: int, **options: int) -> Callable[[], object]:
        image = photo.resize((width, width * 3 // 4))
        return lambda: image.save(io.BytesIO(), "PNG", **options)

    at_640 = photo.resize((640, 480))
    times = in_turn(
        {
            "1024": by_pillow(1024, compress_level=1),
            "640": by_pillow(640, compress_level=1, compress_type=zlib.Z_RLE),
            "ours": lambda: png(at_640),
        },
        rounds,
    )
    told("PNG by Pillow: 1024 pixels wide / 640, run lengths", times["1024"] / times["640"], "")
    told("PNG of 640 pixels: by Pillow, run lengths / by ISA-L", times["640"] / times["ours"], "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sys.stdout.write("\n## What each step is worth (`steps.py`): time without it / with it\n\n")
    sys.stdout.write("| what | median | spread | |\n|---|---|---|---|\n")
    undone(options.rounds)
    generators(options.rounds)
    pictures(options.rounds)


if __name__ == "__main__":
    main()
