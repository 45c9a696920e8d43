"""Input-space maps for comparison, computed by xplique (the extra `smoothcam[baselines]`).

xplique brings the methods; smoothcam passes it the score (the logit, whatever the model ends in) and all that is random.
TensorFlow and xplique are imported when a `Baselines` is made.
"""

import hashlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.eager.context import context

from cam_cli.engine.formulas import Array
from cam_cli.engine.link import Link
from cam_cli.engine.score import LogitScore, ReluRule
from cam_cli.errors import UsageError
from cam_cli.graph.grouped import unfused_if_grouped
from cam_cli.methods import METHODS
from cam_cli.quiet import native_chatter_silenced

BASELINES = tuple(method.name for method in METHODS.values() if method.family == "peer")

_CLASSES = {
    "guided-backprop": "GuidedBackprop", "deconvnet": "DeconvNet", "integrated-gradients": "IntegratedGradients",
    "occlusion": "Occlusion", "rise": "Rise", "lime": "Lime",
}  # fmt: skip
"""What xplique calls the methods."""

_RELU_RULES = {"guided-backprop": ReluRule.GUIDED, "deconvnet": ReluRule.DECONV}


@dataclass(frozen=True)
class Costs:
    """The cost of the baselines; each number of passes is for one image and target, whatever the size of the image.

    fill: the value of a hidden pixel and the start of integrated gradients, in preprocessed units; 0 is the mean colour
    or mid grey of most models. steps: points on the path of integrated gradients, >= 2; a pass with gradient each.
    segments: most superpixels of LIME. samples: of LIME, a pass each. masks: of RISE, a pass each. cells: of RISE's masks along
    a side. strides: of the occluding patch along a side; the patch is at least two strides wide (32 pixels at a stride of 16
    for 224 x 224, 169 passes). batch: images in a pass.
    """

    fill: float = 0.0
    steps: int = 50
    segments: int = 64
    samples: int = 500
    masks: int = 1000
    cells: int = 7
    strides: int = 14
    batch: int = 8


class Baselines:
    """Explains images with xplique's methods, at the resolution of the image.

    A map has one value for each pixel and is never normalised:

    - guided-backprop, deconvnet: the largest magnitude over the channels of the gradient, with their own rule for ReLUs.
    - integrated-gradients: the sum over the channels; the map adds up to S(x) - S(fill).
    - occlusion: the mean drop of S over the patches that cover the pixel.
    - lime: the weight of the pixel's superpixel in a ridge regression of S, samples weighted by exp(-d^2 / 0.25^2) with d
      the cosine distance to the unmasked image in superpixels (Ribeiro et al. 2016).
    - rise: the mean of S over the random masks, weighted by how much of the pixel each shows.

    Args:
        model: any Keras 3 classifier; it is traced, never changed or copied.
        methods: of BASELINES.
        input_shape: (H, W, C).
        seed: of LIME's and RISE's masks, together with the image's identity.
        costs: how many passes each method may use.
        link: how the model's output is computed from its scores; found if None.

    Raises:
        UsageError: an unknown method, xplique is not installed, or a ReLU rule for a model whose ReLUs it cannot reach.
        ModelError: as `LogitScore` does.
    """

    def __init__(
        self,
        model: keras.Model,
        methods: Sequence[str],
        input_shape: tuple[int, int, int],
        seed: int = 0,
        costs: Costs | None = None,
        link: Link | None = None,
    ) -> None:
        for method in methods:
            if method not in BASELINES:
                raise UsageError(f"unknown method '{method}': the baselines are {', '.join(BASELINES)}")
        self._seed = seed
        self._costs = costs or Costs()
        self._shape = input_shape
        attributions = _xplique(methods[0]) if methods else None
        rules = {method: _RELU_RULES.get(method, ReluRule.TRUE) for method in methods}
        scores = {rule: LogitScore(model, input_shape, rule, link) for rule in dict.fromkeys(rules.values())}
        self._scores = {method: scores[rule] for method, rule in rules.items()}
        self._explainers = {
            method: _explainer(attributions, method, score, input_shape, self._costs)
            for method, score in self._scores.items()
        }

    def maps(self, x: Array, target: int, identity: str = "", against: Sequence[int] = ()) -> dict[str, Array]:
        """Return a map of one preprocessed image, (H, W, C) float32, for every method: (H, W) float32 each.

        `identity`, such as the sha256 of the image's file, seeds LIME's and RISE's masks. The mean score of the classes in
        `against` is subtracted from the target's.

        Raises:
            UsageError: a target that is no class of this model.
        """
        found = {}
        for method, explainer in self._explainers.items():
            classes = self._scores[method].classes
            if not 0 <= target < classes:
                raise UsageError(f"class {target} does not exist: the model has {classes} classes")
            weights = np.eye(1, classes, target, dtype=np.float32)  # of the scores
            for other in against:
                weights[0, other] -= 1 / len(against)
            digest = hashlib.sha256(f"{self._seed}\n{identity}\n{method}".encode()).digest()
            seed = int.from_bytes(digest[:4], "little") >> 1
            explainer.pertub_func = partial(_coin_flips, seed)  # for LIME
            unfused = unfused_if_grouped(self._scores[method].graph)
            with _hushed(), unfused, _eager_randomness(seed) if method == "rise" else nullcontext():
                values = explainer.explain(x[None].astype(np.float32), weights).numpy()[0]
            if method in _RELU_RULES:
                values = np.abs(values).max(axis=-1)
            elif method == "occlusion":
                rows, columns = (_coverage(side, *_patch(side, self._costs.strides)) for side in self._shape[:2])
                values = values[..., 0] / np.outer(rows, columns)
            else:
                values = values.sum(axis=-1)
            found[method] = np.asarray(values, np.float32)
        return found


def _xplique(method: str) -> Any:
    try:
        with _hushed(), native_chatter_silenced():
            return importlib.import_module("xplique.attributions")
    except ImportError as error:
        raise UsageError(f"method '{method}' needs the extra: pip install 'smoothcam[baselines]' ({error})") from error


def _explainer(attributions: Any, method: str, score: LogitScore, shape: tuple[int, int, int], costs: Costs) -> Any:
    """Return xplique's explainer for `method`, with a dummy model: only the score calls the real one.

    xplique would copy the model for guided backpropagation and deconvnet, replace the ReLUs of its outermost layers only, and
    keep every model in a cache for ever.
    """
    dummy = keras.Sequential([keras.Input(shape), keras.layers.Identity()])
    patches, strides = zip(*(_patch(side, costs.strides) for side in shape[:2]), strict=True)
    make = partial(getattr(attributions, _CLASSES[method]), dummy, operator=score.__call__, batch_size=costs.batch)
    with _hushed():
        match method:
            case "integrated-gradients":
                return make(reducer=None, steps=costs.steps, baseline_value=costs.fill)
            case "occlusion":
                return make(patch_size=patches, patch_stride=strides, occlusion_value=costs.fill)
            case "rise":
                grid = tuple(min(costs.cells, side) for side in shape[:2])
                return make(nb_samples=costs.masks, grid_size=grid, mask_value=costs.fill)
            case "lime":
                return make(
                    nb_samples=costs.samples,
                    ref_value=np.full(shape[-1], costs.fill, np.float32),
                    map_to_interpret_space=lambda x: _superpixels(x.numpy(), costs.segments),
                    similarity_kernel=_similarity,
                )
            case _:
                return make(reducer=None)


def _patch(side: int, strides: int) -> tuple[int, int]:
    """Return the size and stride of a patch that covers a side to its last pixel."""
    stride = max(1, round(side / strides))
    steps = max(0, side - 2 * stride) // stride
    return side - steps * stride, stride


def _coverage(side: int, size: int, stride: int) -> NDArray[np.int64]:
    """Return for each pixel of a side how many patches cover it."""
    pixel = np.arange(side)[:, None]
    start = np.arange(0, side - size + 1, stride)
    return np.asarray(((start <= pixel) & (pixel < start + size)).sum(axis=1))


def _superpixels(x: Array, segments: int) -> Any:
    """Return the number of each pixel's superpixel, (H, W) int32 from 0; superpixels have about 16 pixels or more.

    SLICO adapts its compactness to each texture; plain SLIC joins a noisy image into a single superpixel.
    """
    slic = importlib.import_module("skimage.segmentation").slic
    wanted = max(1, min(segments, x.shape[0] * x.shape[1] // 16))
    pixels = x.astype(np.float64)
    return tf.constant(
        slic(pixels, n_segments=wanted, slic_zero=True, convert2lab=False, start_label=0, channel_axis=-1), tf.int32
    )


def _coin_flips(seed: int, features: Any, samples: int) -> Any:
    return tf.constant(np.random.default_rng(seed).random((samples, int(features[0]))) < 0.5, tf.int32)


def _similarity(_x: Any, shown: Any, _perturbed: Any) -> Any:
    distance = 1 - tf.sqrt(tf.reduce_mean(tf.cast(shown, tf.float32), axis=1))
    return tf.exp(-((distance / 0.25) ** 2))


@contextmanager
def _eager_randomness(seed: int) -> Iterator[None]:
    """Seed TensorFlow's global generator, and restore its state afterwards.

    Functions run eagerly, because a traced one keeps the seed of its first call, and every image would get the same masks.
    """
    eager = context()
    eager.ensure_initialized()
    state = {name: eager.__dict__[name] for name in ("_seed", "_rng") if name in eager.__dict__}
    eagerly = tf.config.functions_run_eagerly()
    tf.random.set_seed(seed)
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)
        eager.__dict__.update(state)


@contextmanager
def _hushed() -> Iterator[None]:
    """Hide warnings and TensorFlow's advice on retracing, because the user can act on neither."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
