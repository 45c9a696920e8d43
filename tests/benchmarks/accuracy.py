"""Print how often the bundled models are right on labelled images, for each way to fit an image to their input.

python tests/benchmarks/accuracy.py IMAGES

IMAGES has a folder for each class, named by its WordNet id. The figures in the model cards come from here.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cam_cli.images.decode import decode
from cam_cli.images.fit import fit
from cam_cli.metrics.classification import share
from cam_cli.models.bundled import DEFAULT, bundled_models
from cam_cli.models.load import Network, load_network

FITS = ("crop", "stretch")
BATCH = 25
SURE = 0.5


def probabilities(network: Network, images: list[Path], how: str) -> NDArray[np.float32]:
    """Return what a network says of each image, (images, classes), the images fitted in one of `FITS`."""
    preprocessing = replace(network.preprocessing, fit=how)
    found = []
    for start in range(0, len(images), BATCH):
        decoded = (decode(path.read_bytes(), enough=448) for path in images[start : start + BATCH])
        x = np.stack([fit(image, network.input_shape[:2], preprocessing)[0] for image in decoded])
        found.append(np.asarray(network.model(x, training=False)))
    return np.concatenate(found)


def main() -> None:
    """Print a table as Markdown, a line for each model and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    images = sorted(parser.parse_args().images.glob("n[0-9]*/*.*"))
    truths, best = np.array([], int), {}
    sys.stdout.write(
        f"{len(images)} images. same class: of those on which {DEFAULT}, fitted in the same way, gives over {SURE}.\n\n"
        "| model | fit | right | among the first five | same class |\n|---|---|---|---|---|\n"
    )
    for name in bundled_models():
        network = load_network(name)
        truths = np.array([network.labels.resolve(path.parent.name, 1000)[0] for path in images])
        for how in FITS:
            found = probabilities(network, images, how)
            order = np.argsort(-found, axis=1)
            right, in_five = order[:, 0] == truths, (order[:, :5] == truths[:, None]).any(axis=1)
            if name == DEFAULT:
                best[how] = order[:, 0], found.max(axis=1) > SURE
            classes, sure = best[how]
            shares = [share(int(hits.sum()), len(hits)) for hits in (right, in_five, (order[:, 0] == classes)[sure])]
            mark = " (the card's)" if network.preprocessing.fit == how else ""
            cells = (f"{one.value:.1%} ({one.low:.0%} to {one.high:.0%})" for one in shares)
            sys.stdout.write(f"| {name} | {how}{mark} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
