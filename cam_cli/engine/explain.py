"""The engine's front: preprocessed images in, saliency maps out, for every layer, target, method and selection at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.engine import formulas
from cam_cli.engine.anatomy import Anatomy, Head, Link
from cam_cli.engine.evidence import Array, ChannelEvidence, RunningSums, clean_evidence
from cam_cli.engine.maps import SaliencyMap, smooth_map
from cam_cli.engine.network import FrozenNetwork, Noise, Pass, Shape
from cam_cli.engine.selection import Selection, weighted_sum
from cam_cli.errors import UsageError

METHODS = ("smoothgradcam++", "gradcam++", "gradcam", "cam")
ROWS_IN_A_PASS = 8


@dataclass(frozen=True)
class Request:
    """What is asked of every image.

    methods: out of METHODS. selections: the feature maps and neurons, a map for each. nsamples: noisy copies, n >= 0.
    score: `exp` weighs sample m by e^S_m as published, `logit` by 1/n. alpha_numerator: `second` (Eq. 5) or `first`
    (Eq. 7 as printed). seed: of the noise, together with the image's identity.
    """

    methods: tuple[str, ...] = ("smoothgradcam++",)
    selections: tuple[Selection, ...] = (Selection(),)
    nsamples: int = 5
    noise: Noise = field(default_factory=Noise)
    score: str = "exp"
    alpha_numerator: str = "second"
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """One image to explain.

    x: (H, W, C) float32, preprocessed. identity: what its noise follows from, such as the sha256 of its file.
    targets: class indices, or -r for the class of rank r in the clean image's scores.
    """

    x: Array
    identity: str
    targets: tuple[int, ...] = (-1,)


@dataclass(frozen=True)
class Explanation:
    """The maps of one image, with its scores: logits and probabilities, both (classes,) float32."""

    logits: Array
    probabilities: Array
    targets: tuple[int, ...]
    maps: tuple[SaliencyMap, ...]


class Explainer:
    """Explains images with one model; several layers, targets, methods and selections share the forward passes.

    Noise is skipped for a layer whose head is affine, where it provably changes nothing.

    Args:
        model: any Keras 3 classifier; it is never changed.
        anatomy: of that model, with the layers to explain.
        request: what is asked of every image.
        targets: how many targets each image has.

    Raises:
        UsageError: a filter or a neuron that a layer does not have, or `cam` on a layer without its architecture.
    """

    def __init__(self, model: keras.Model, anatomy: Anatomy, request: Request, targets: int = 1) -> None:
        self.request = request
        self.anatomy = anatomy
        for path, grid in anatomy.grids.items():
            for selection in request.selections:
                selection.checked(path, grid)
        self.noisy_layers = frozenset(path for path, head in anatomy.heads.items() if head is not Head.AFFINE)
        smooth = "smoothgradcam++" in request.methods and self.noisy_layers and request.noise.std_dev > 0
        self.nsamples = request.nsamples if smooth else 0
        self._network = FrozenNetwork(
            model, anatomy.layers, _pass_shape(self.nsamples, targets, anatomy.input_shape), request.noise
        )
        self.images_in_a_pass = self._network.shape.images
        if "cam" in request.methods:
            self._check_cam()

    def explain(self, subjects: Sequence[Subject]) -> list[Explanation]:
        """Explain up to `images_in_a_pass` images; the result of each does not depend on its neighbours.

        Raises:
            UsageError: a target that is no class of this model.
        """
        shape = self._network.shape
        if not 0 < len(subjects) <= shape.images:
            raise ValueError(f"between 1 and {shape.images} images fit in a pass, not {len(subjects)}")
        for target in {t for subject in subjects for t in subject.targets}:
            if not -self.anatomy.classes <= target < self.anatomy.classes:
                raise UsageError(f"class {target} does not exist: the model has {self.anatomy.classes} classes")
        filled = [*subjects, *[subjects[-1]] * (shape.images - len(subjects))]
        first, sums = self._passes(filled)
        return [self._explanation(b, first, sums) for b in range(len(subjects))]

    def _passes(self, subjects: Sequence[Subject]) -> tuple[Pass, dict[tuple[str, int], RunningSums]]:
        """Run the clean image (sample 0) and its noisy copies (1 to n), `shape.samples` of them in a pass."""
        shape = self._network.shape
        x = np.stack([subject.x for subject in subjects])
        targets = np.array([subject.targets for subject in subjects], np.int32)
        sums = {
            (layer, t): RunningSums(self.request.score == "exp")
            for layer in self.noisy_layers
            for t in range(shape.targets if self.nsamples else 0)
        }
        first: Pass | None = None
        for start in range(0, self.nsamples + 1, shape.samples):
            samples = range(start, start + shape.samples)
            live = np.array([[1.0 <= m <= self.nsamples for m in samples]] * len(subjects), np.float32)
            seeds = np.array([[self._seed(s.identity, m) for m in samples] for s in subjects], np.int64)
            found = self._network(x, seeds, live, targets)
            first = first or found
            targets = first.targets.numpy()
            for (layer, t), total in sums.items():
                scores = tf.gather(found.logits, targets[:, t], axis=2, batch_dims=1)
                total.add(scores, found.gradients[layer][t], tf.constant(live))
        assert first is not None
        return first, sums

    def _seed(self, identity: str, sample: int) -> NDArray[np.int64]:
        digest = hashlib.sha256(f"{self.request.seed}\n{identity}\n{sample}".encode()).digest()
        return np.frombuffer(digest[:16], "<i8")

    def _explanation(self, b: int, first: Pass, sums: Mapping[tuple[str, int], RunningSums]) -> Explanation:
        logits = first.logits[b, 0].numpy()
        targets = tuple(int(t) for t in first.targets[b].numpy())
        maps: list[SaliencyMap] = []
        for layer in self.anatomy.grids:
            A = first.activations[layer][b]
            for t, target in enumerate(targets):
                if target in targets[:t]:
                    continue
                gradients = first.gradients[layer][t][b, 0]
                evidence = clean_evidence(gradients, A, self.request.alpha_numerator)
                noisy = sums.get((layer, t))
                smoothed = noisy.evidence(b, evidence, A, self.request.alpha_numerator) if noisy else None
                maps += self._maps(layer, target, A.numpy(), gradients, evidence, smoothed)
        return Explanation(
            logits, _probabilities(logits, self.anatomy.link), tuple(dict.fromkeys(targets)), tuple(maps)
        )

    def _maps(
        self,
        layer: str,
        target: int,
        A: Array,
        gradients: tf.Tensor,
        clean: ChannelEvidence,
        smoothed: ChannelEvidence | None,
    ) -> list[SaliencyMap]:
        head = self.anatomy.heads[layer]
        mean = formulas.mean_gradient(gradients).numpy()
        maps = []
        for method in self.request.methods:
            for selection in self.request.selections:
                guarded, effect, error = 0, None, None
                channels = selection.channels(A.shape[-1])
                if method == "cam":
                    values = weighted_sum(mean * A.shape[0] * A.shape[1], A, selection)
                elif method == "gradcam":
                    values = np.maximum(weighted_sum(mean, A, selection), 0)
                else:
                    evidence = smoothed if method == "smoothgradcam++" and smoothed else clean
                    values, effect, error = smooth_map(evidence, A, selection)
                    guarded = int(evidence.guarded[channels].sum())
                    if evidence is clean:
                        effect = error = None
                    if method == "smoothgradcam++" and head is Head.AFFINE:
                        effect, error = 1.0, 0.0
                maps.append(SaliencyMap(layer, method, target, selection, values, head, guarded, effect, error))
        return maps

    def _check_cam(self) -> None:
        shape = self._network.shape
        zeros = Subject(np.zeros(shape.input, np.float32), "cam", (0,) * shape.targets)
        first, _ = self._passes([zeros] * shape.images)
        for path in self.anatomy.grids:
            g = first.gradients[path][0][0, 0].numpy()
            uniform = np.allclose(g, g[:1, :1], rtol=1e-4, atol=1e-6 * float(np.abs(g).max()))
            if self.anatomy.heads[path] is not Head.AFFINE or not uniform:
                raise UsageError(
                    f"cam needs a layer that feeds global average pooling and one dense layer; '{path}' does not. "
                    "Use gradcam, which equals it there and is defined everywhere"
                )


def _pass_shape(nsamples: int, targets: int, input_shape: tuple[int, int, int]) -> Shape:
    """Share the rows of a pass among images and samples so that as few as possible stay empty."""
    passes = math.ceil((nsamples + 1) / ROWS_IN_A_PASS)
    samples = math.ceil((nsamples + 1) / passes)
    return Shape(max(1, ROWS_IN_A_PASS // samples), samples, targets, input_shape)


def _probabilities(logits: Array, link: Link) -> Array:
    if link is Link.SIGMOID:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float32)
    e = np.exp(logits - logits.max())
    return np.asarray(e / e.sum(), np.float32)
