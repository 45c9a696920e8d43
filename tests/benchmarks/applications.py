"""Explain one random image with every network of keras.applications (random weights) and print what `auto` and `twoscale` take.

python tests/benchmarks/applications.py [NAME...]
"""

from __future__ import annotations

import gc
import sys

import keras
import numpy as np

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.graph.layers import choose_layer, choose_scales, describe_layers
from cam_cli.graph.trace import trace
from cam_cli.models.applications import applications, load_application


def row(name: str) -> str:
    """Return one line of the table; the map of a random image is made, so that a network that cannot be explained shows."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model, card = load_application(name, None)
    height, width = card.input.size or (224, 224)
    traced = trace(model, (height, width, 3))
    infos = describe_layers(traced)
    chosen, scales = choose_layer(infos), choose_scales(infos)
    analysis = analyse(traced, [chosen.path])
    x = np.random.default_rng(0).normal(0, 50, (height, width, 3)).astype(np.float32)
    saliency = Explainer(model, analysis, Request(nsamples=1)).explain([Subject(x, name)])[0].maps[0]
    grid = "x".join(map(str, saliency.values.shape))
    fine = scales[1] if scales else "none"
    return f"| {name} | {height} | `{chosen.path}` | {grid} | {saliency.head} | {saliency.state} | `{fine}` |"


def main() -> None:
    """Print the table as Markdown, a line as soon as it is known."""
    out = sys.stdout
    out.write("| network | input | `auto` takes | grid | head | map | finer layer of `twoscale` |\n")
    out.write("|---|---|---|---|---|---|---|\n")
    for name in sys.argv[1:] or applications():
        out.write(f"{row(name)}\n")
        out.flush()
        gc.collect()


if __name__ == "__main__":
    main()
