"""Seconds per image of torch-cam's SmoothGradCAMpp on PyTorch, with the weights of the bundled efficientnet-lite0.

python tests/benchmarks/torch_cam.py --export WEIGHTS.npz                       a Python with smoothcam
python tests/benchmarks/torch_cam.py WEIGHTS.npz [--rounds N] [--samples N]     a Python with torch, torchcam and timm

torch-cam takes a batch with a class index for each image, and its maps are per image at any batch size; but `std` is one number
in the input's own units, so all images share the noise of the batch's range. Inputs have PyTorch's default layout.
What it computes differs from smoothcam's map in more than the noise: activations and ReLU(gradient) are those of the last noisy
sample, not the clean image's and the mean; its denominator sums A D3 over the map, not A alone, and may cross zero.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
LAYERS = {"block6a_expand_activation": "blocks.5.0.bn1", "top_activation": "bn2"}
"""The explained layers, and the timm modules with the same output: a batch norm of timm holds its activation."""
BATCHES = (1, 4, 8)
STD = 0.15
TOLERANCE = 1e-3
"""How far a logit of the two frameworks may be apart; logits reach 10 and more."""

Array = NDArray[np.float32]


def compare(torch_python: Path, rounds: int) -> dict[str, dict[int, list[float]]]:
    """Time torch-cam in another Python, with this one's weights.

    Args:
        torch_python: the interpreter of an environment with torch, torchcam and timm.

    Returns:
        For each layer and batch size the seconds per image, one value a round.

    Raises:
        subprocess.CalledProcessError: the other Python failed, such as on logits that differ; it has said why on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        export(weights)
        command = [str(torch_python), __file__, str(weights), "--rounds", str(rounds)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {layer: {int(batch): seconds for batch, seconds in told[layer].items()} for layer in LAYERS}


def export(target: Path) -> None:
    """Write the network's weights in PyTorch's axis order and its own order of layers, a batch of photos and their logits."""
    from cam_cli.quiet import native_chatter_silenced, prepare_environment

    prepare_environment()
    with native_chatter_silenced():
        import keras
        import tensorflow as tf

        from cam_cli.engine.scores import Link, scores_of
        from cam_cli.graph.trace import run_model
        from cam_cli.images.decode import decode
        from cam_cli.images.fit import fit
        from cam_cli.models.load import load_network

        network = load_network("efficientnet-lite0")
        photos = sorted((HERE.parent.parent / "sample_images").glob("*.jpg"))[: max(BATCHES)]
        size = network.input_shape[:2]
        x = np.stack([fit(decode(photo.read_bytes()), size, network.preprocessing)[0] for photo in photos])
        traced = tf.function(lambda batch: scores_of(run_model(network.model, batch), Link.SOFTMAX), autograph=False)
        logits = traced(tf.constant(x)).numpy()

    def in_torch_order(layer: keras.Layer, values: Array) -> Array:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            return values.transpose(2, 3, 0, 1)
        return values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T

    weights = {
        weight.path: in_torch_order(layer, weight.numpy()) for layer in network.model.layers for weight in layer.weights
    }
    np.savez(target, **{"x": x.transpose(0, 3, 1, 2), "logits": logits, **weights})


def measure(weights: Path, rounds: int, samples: int) -> dict[str, Any]:
    """Time every layer and batch size in turn, each over the same photos in a round, after a round that does not count.

    Raises:
        ValueError: the logits are not those that were stored with the weights.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]  # this file has the package's name
    import torch  # type: ignore[import-not-found]

    with np.load(weights) as stored:
        arrays = {name: stored[name] for name in stored.files}
    x, expected = torch.from_numpy(arrays.pop("x")), arrays.pop("logits")
    model = _network(list(arrays.values()))
    with torch.inference_mode():
        found = model(x).numpy()
    apart = float(np.abs(found - expected).max())
    if not apart < TOLERANCE:
        raise ValueError(f"logits differ by up to {apart:.3g} between Keras and PyTorch; they may by {TOLERANCE}")

    contenders = {
        (layer, batch): _smooth(model, module, x, batch, samples)
        for layer, module in LAYERS.items()
        for batch in BATCHES
    }
    told: dict[str, Any] = {layer: {batch: [] for batch in BATCHES} for layer in LAYERS}
    for turn in range(rounds + 1):
        for (layer, batch), run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:
                told[layer][batch].append((time.perf_counter() - started) / len(x))
    packages = ("torch", "torchcam", "timm", "torchvision", "numpy")
    return {
        **told,
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in packages}},
        "threads": torch.get_num_threads(),
        "logits_apart": apart,
    }


def _network(weights: list[Array]) -> Any:
    """Return timm's network with these weights, which lie in the order of its own: both follow the layers from the input."""
    import torch

    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except RuntimeError:  # its kernels want CUDA's torch; timm only needs them to be declared
        for name in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)
    import timm  # type: ignore[import-not-found]

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    own = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    found = {name: torch.from_numpy(values) for name, values in zip(own, weights, strict=True)}
    missing, unexpected = model.load_state_dict(found, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return model


def _smooth(model: Any, module: str, x: Any, batch: int, samples: int) -> Callable[[], list[Any]]:
    """Return the explanation of all photos, `batch` at a time, each for its first class."""
    import torch
    from torchcam.methods import SmoothGradCAMpp  # type: ignore[import-not-found]

    std = STD * float(x.max() - x.min())

    def run() -> list[Any]:
        maps = []
        with SmoothGradCAMpp(model, module, num_samples=samples, std=std) as extractor:
            for part in x.split(batch):
                with torch.no_grad():
                    scores = model(part)
                maps.append(extractor(scores.argmax(1).tolist())[0].numpy())
        return maps

    return run


def main() -> None:
    """Export, or measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.npz")
    parser.add_argument("--export", action="store_true", help="write the weights instead of timing with them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5)
    options = parser.parse_args()
    if options.export:
        export(options.weights)
    else:
        sys.stdout.write(json.dumps(measure(options.weights, options.rounds, options.samples)) + "\n")


if __name__ == "__main__":
    main()
