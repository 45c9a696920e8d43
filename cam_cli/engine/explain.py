"""Explains preprocessed images: the same passes serve every layer, target, method and selection."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cam_cli.contrast import asked_of, classes_of, named, settled
from cam_cli.engine.evidence import RunningSums, clean_evidence
from cam_cli.engine.formulas import Array
from cam_cli.engine.link import probabilities
from cam_cli.engine.maps import SaliencyMap, smooth_map
from cam_cli.engine.methods import (
    INPUT_FORMULAS,
    LAYER_FORMULAS,
    TWO_LAYER_FORMULAS,
    Findings,
    SizeMaps,
    finest,
)
from cam_cli.engine.model_analysis import Head, ModelAnalysis
from cam_cli.engine.noise import noise
from cam_cli.engine.passes import INPUT, GraphCache, PassResult, PassSpec, RuntimeName
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.engine.runner import PassRunner, compile_pass, most_rows
from cam_cli.engine.selection import Selection
from cam_cli.engine.sizes import SizePasses
from cam_cli.errors import UsageError
from cam_cli.machine import cores
from cam_cli.methods import METHODS, Method, families

if TYPE_CHECKING:
    import keras

    from cam_cli.engine.baselines import Baselines

ROWS_IN_A_PASS = 6


@dataclass
class _Samples:
    """Results so far: the first pass, and by layer, target and image the sums over `count` noisy samples."""

    first: PassResult
    sums: dict[tuple[str, int, int], RunningSums]
    count: int = 0


_Found = dict[tuple[str, int, int], Findings]
"""The findings by layer, target and image."""


class Explainer:
    """Explains images with one model.

    Noise is skipped for a layer whose head is affine, where it provably changes nothing.

    Args:
        model: any Keras 3 classifier, or a function that opens it, which is called only if it is needed. It is never changed.
        analysis: of that model, with the layers to explain.
        request: what to compute for every image.
        targets: how many targets each image has.
        images: how many images share a pass; None for as many as fill `ROWS_IN_A_PASS` with their noisy copies.
        precision: `float32`, or `bfloat16` for the network's products and convolutions.
        graphs: a cache for the traced passes of this model.
        runtime: what runs the network, `tensorflow` or `openvino`.
        passes: compiled passes of this model, to be taken and added to.
        against: how many classes each target is explained against, at the most.

    Raises:
        UnsupportedError: this runtime cannot run the passes of this model; TensorFlow can.
        UsageError: a filter or a neuron that a layer does not have; a layer of which it cannot be told what
            part of the image it covers; `cam`, `twoscale` or exact derivatives if the model's architecture does not allow
            them; bfloat16 for a model that cannot be frozen; one image needs more memory than the machine has.
    """

    def __init__(
        self,
        model: keras.Model | Callable[[], keras.Model],
        analysis: ModelAnalysis,
        request: Request,
        targets: int = 1,
        images: int | None = None,
        precision: str = "float32",
        graphs: GraphCache | None = None,
        runtime: RuntimeName = "tensorflow",
        passes: MutableMapping[str, PassRunner] | None = None,
        against: int = 0,
    ) -> None:
        self.request = request
        self.runtime = runtime
        self.analysis = analysis
        self._methods = [METHODS[name] for name in request.methods]
        for path in analysis.explained:
            for selection in request.selections:
                selection.checked(path, analysis.grids[path].shape)
        analysis.check_windows({method.family for method in self._methods})
        noisy = {method.family for method in self._methods if method.noise}
        affine = {path for path in analysis.explained if analysis.heads[path] is Head.AFFINE}
        self._noisy = set(analysis.explained) - affine if "layer++" in noisy else set()
        self._noisy |= {INPUT} if "input" in noisy else set()
        self.nsamples = max(0, request.nsamples) if self._noisy and request.noise.std_dev > 0 else 0
        self._open_model: Callable[[], keras.Model] = (lambda: model) if hasattr(model, "layers") else model
        self._targets, self._against = targets, against
        self._precision = precision
        self._graphs = graphs
        self._passes = passes
        self._rows = min(ROWS_IN_A_PASS, most_rows(runtime, analysis.bytes_for_one_image, analysis.input_shape))
        self._images = images
        self._threads = ThreadPoolExecutor(cores(), "evidence")
        self.halvings = 0
        """How often the memory ran out."""
        self._run = self._compiled()
        self._baselines = self._peers()
        for method in self._methods:
            if method.family == "two layers" and analysis.scales is None:
                raise UsageError(f"{method.name} needs activations on two grids, and this model has only one")
            if method.pooled:
                self._check_pooled(method.name)
        self._further = (
            SizePasses(self._open_model, analysis, targets, against, self._rows, precision, graphs, runtime)
            if analysis.sizes
            else None
        )

    @property
    def images_in_a_pass(self) -> int:
        """How many images share a pass."""
        return self._run.spec.images

    @property
    def rows_in_a_pass(self) -> int:
        """How many images and noisy copies the network processes at a time."""
        return self._run.spec.images * self._run.spec.samples

    def share_passes(self, images: int) -> None:
        """Set how many images share a pass; with a tolerance it is always one."""
        self._images = images
        self._run = self._compiled()

    def explain(self, subjects: Sequence[Subject]) -> list[Explanation]:
        """Explain images, `images_in_a_pass` at a time; the result of each does not depend on the others.

        If the memory runs out, all further passes are made of half as many images, then of half as many rows.

        Raises:
            UsageError: a target that is no class of this model. MemoryError: not even one row fits.
        """
        found: list[Explanation] = []
        while len(found) < len(subjects):
            try:
                found += self._explain_a_pass(subjects[len(found) :][: self.images_in_a_pass])
            except MemoryError:
                if self.rows_in_a_pass == 1:
                    raise
                self.halvings += 1
                spec = self._run.spec
                if spec.images > 1:
                    self._images = spec.images // 2
                else:
                    self._rows = spec.samples // 2
                del self._run  # its memory is needed to compile the next one
                self._run = self._compiled()
        return found

    def _compiled(self) -> PassRunner:
        """Compile a pass whose rows are divided among images and samples so that as few as possible stay empty."""
        passes = math.ceil((self.nsamples + 1) / self._rows)
        samples = math.ceil((self.nsamples + 1) / passes)
        images = self._images or max(1, self._rows // samples)
        if self.analysis.random:  # what is drawn for a row of a pass depends on its number
            images = 1
        if self.request.tolerance is not None and self.nsamples:
            images, samples = 1, self._rows
        spec = PassSpec(
            images,
            samples,
            self._targets,
            self.analysis.input_shape,
            self.analysis.classes,
            self.analysis.link,
            self.analysis.grids,
            self._exact_layers(),
            to_input="input" in families(self.request.methods),
            against=self._against,
        )
        return compile_pass(self._open_model, spec, self._precision, self._graphs, self.runtime, self._passes)

    def _peers(self) -> Baselines | None:
        peers = [method.name for method in self._methods if method.family == "peer"]
        if not peers:
            return None
        from cam_cli.engine.baselines import Baselines

        analysis = self.analysis
        return Baselines(self._open_model(), peers, analysis.input_shape, self.request.seed, link=analysis.link)

    def _exact_layers(self) -> tuple[str, ...]:
        if self.request.derivatives != "exact":
            return ()
        smooth = tuple(path for path in self.analysis.explained if self.analysis.heads[path] is Head.SMOOTH)
        for path in smooth:
            if not self.analysis.separable[path]:
                raise UsageError(
                    f"layer '{path}': exact derivatives need a head whose smooth operations act on each cell by itself "
                    "(an activation, then pooling and dense layers); use the closed form here"
                )
        return smooth

    def _check_pooled(self, method: str) -> None:
        spec = self._run.spec
        zeros = Subject(np.zeros(spec.input, np.float32), method, (0,) * spec.targets)
        first = self._sampled([zeros] * spec.images).first
        for path in self.analysis.explained:
            g = first.derivatives[path][0][0][0, 0]
            uniform = np.allclose(g, g[:1, :1], rtol=1e-4, atol=1e-6 * float(np.abs(g).max()))
            if self.analysis.heads[path] is not Head.AFFINE or not uniform:
                raise UsageError(
                    f"{method} needs a layer that feeds global average pooling and one dense layer; '{path}' does not. "
                    "Use gradcam, which equals it there and is defined everywhere"
                )

    def _explain_a_pass(self, subjects: Sequence[Subject]) -> list[Explanation]:
        classes = self.analysis.classes
        for target in {t for subject in subjects for t in (*subject.targets, *named(subject.against))}:
            if not -classes <= target < classes:
                raise UsageError(f"class {target} does not exist: the model has {classes} classes")
        missing = (
            self.images_in_a_pass - len(subjects) if self.runtime == "tensorflow" else 0
        )  # its passes have one size
        samples = self._sampled([*subjects, *[subjects[-1]] * missing])
        found = self._findings(samples)
        further = self._further.maps(subjects, samples.first.targets, samples.first.against) if self._further else None
        explanations = []
        for b, subject in enumerate(subjects):
            logits = samples.first.logits[b, 0].copy()  # a view would keep those of all images
            targets: list[int] = samples.first.targets[b].tolist()
            maps: list[SaliencyMap] = []
            for t, target in enumerate(targets):
                if target not in targets[:t]:
                    made = self._layer_maps(b, t, target, found, samples.count)
                    made += self._two_layer_maps(b, t, target, found, further[b][t] if further else [])
                    made += self._input_maps(b, t, target, samples, subject)
                    if others := classes_of(samples.first.against[b, t]):
                        made = [replace(m, against=others) if METHODS[m.method].of_class else m for m in made]
                    maps += made if np.isfinite(samples.first.scores(b, t)[0]) else [m.broken() for m in made]
            chances = probabilities(logits, self.analysis.link)
            if self.analysis.random:  # of one draw
                maps = [replace(saliency, exact=False) for saliency in maps]
            explanations.append(Explanation(logits, chances, tuple(dict.fromkeys(targets)), tuple(maps), self.runtime))
        return explanations

    def _sampled(self, subjects: Sequence[Subject]) -> _Samples:
        """Run the clean image (sample 0) and its noisy copies (1 to n), `spec.samples` of them in a pass."""
        spec = self._run.spec
        targets = np.array([subject.targets for subject in subjects], np.int32)
        against = asked_of([subject.against for subject in subjects], spec.targets, spec.against)
        samples: _Samples | None = None
        for start in range(0, self.nsamples + 1, spec.samples):
            numbers = range(start, start + spec.samples)
            live = np.array([1.0 <= m <= self.nsamples for m in numbers], np.float32)
            found = self._run(self._rows_of(subjects, numbers), targets, against)
            if samples is None:
                published = self.request.score == "exp"
                keys = product(sorted(self._noisy), range(spec.targets), range(len(subjects))) if self.nsamples else ()
                samples = _Samples(found, {key: RunningSums(published and key[0] != INPUT) for key in keys})
                targets, against = found.targets, settled(found.against)
            for (layer, t, b), sums in samples.sums.items():
                derivatives = [d[b] for d in found.derivatives[layer][t]]
                sums.add(found.scores(b, t), derivatives, live)
            samples.count += int(live.sum())
            if self._converged(subjects[0], samples):
                break
        assert samples is not None
        return samples

    def _rows_of(self, subjects: Sequence[Subject], numbers: Sequence[int]) -> Array:
        """Return the rows of a pass: these samples of the first image, then of the next; (B * M, H, W, C)."""
        rows = np.stack([subject.x for subject in subjects for _ in numbers])
        sigmas = [self.request.noise.sigma(subject.x) for subject in subjects]

        def disturb(row: int) -> None:
            b, m = divmod(row, len(numbers))
            if 1 <= numbers[m] <= self.nsamples and sigmas[b]:
                seed = f"{self.request.seed}\n{subjects[b].identity}\n{numbers[m]}".encode()
                rows[row] += noise(rows[row].size, hashlib.sha256(seed).digest(), sigmas[b]).reshape(rows[row].shape)

        list(self._threads.map(disturb, range(len(rows))))
        return rows

    def _converged(self, subject: Subject, samples: _Samples) -> bool:
        """Return True if no map's standard error is above the tolerance; a blank map has none and counts as converged."""
        tolerance = self.request.tolerance
        if tolerance is None or not samples.sums:
            return False
        found = self._findings(samples)
        targets = range(self._run.spec.targets)
        maps = [m for t in targets for m in self._layer_maps(0, t, subject.targets[t], found, samples.count)]
        return all(m.standard_error is None or m.standard_error <= tolerance for m in maps)

    def _findings(self, samples: _Samples) -> _Found:
        first, numerator = samples.first, self.request.alpha_numerator

        def of_one_image(key: tuple[str, int, int]) -> Findings:
            path, t, b = key
            A, derivatives = first.activations[path][b], [d[b, 0] for d in first.derivatives[path][t]]
            clean = clean_evidence(derivatives, A, numerator)
            sums = samples.sums.get(key)
            smoothed = sums.evidence(clean, A, numerator) if sums else None
            window = self.analysis.grids[path].window
            return Findings(A, derivatives[0], window, clean=clean, smoothed=smoothed)

        spec = self._run.spec
        keys = list(product(self.analysis.grids, range(spec.targets), range(len(first.targets))))
        return dict(zip(keys, self._threads.map(of_one_image, keys), strict=True))

    def _layer_maps(self, b: int, t: int, target: int, found: _Found, count: int) -> list[SaliencyMap]:
        return [
            self._layer_map(path, method, target, selection, found[path, t, b], count)
            for path in self.analysis.explained
            for method in self._methods
            if method.explains_cells and (method.of_class or t == 0)
            for selection in self.request.selections
        ]

    def _two_layer_maps(
        self, b: int, t: int, target: int, found: _Found, further: Sequence[SizeMaps]
    ) -> list[SaliencyMap]:
        methods = [method for method in self._methods if method.family == "two layers"]
        if not methods or self.analysis.scales is None:
            return []
        coarse, fine = self.analysis.scales
        sizes = tuple(size.input_shape[:2] for size in self.analysis.sizes)
        maps = list(further)
        if not sizes or self.analysis.input_shape[:2] in sizes:
            maps.append(SizeMaps.of(found[coarse, t, b], found[fine, t, b]))
        head, window = self.analysis.heads[fine], finest(maps).fine_window
        return [
            SaliencyMap(
                f"{coarse}+{fine}",
                method.name,
                target,
                Selection(),
                TWO_LAYER_FORMULAS[method.name](maps),
                head,
                window=window,
                sizes=sizes,
            )
            for method in methods
        ]

    def _layer_map(
        self, path: str, method: Method, target: int, selection: Selection, found: Findings, count: int
    ) -> SaliencyMap:
        head = self.analysis.heads[path]
        if method.family == "layer":
            formula = LAYER_FORMULAS[method.name]
            chosen = selection.settled(lambda: formula(found, selection))
            values = formula(found, chosen)
            return SaliencyMap(path, method.name, target, chosen, values, head, window=found.window)
        smoothed = found.smoothed if method.noise else None
        evidence = smoothed or found.clean
        chosen = selection.settled(lambda: smooth_map(evidence, found.A, selection)[0])
        values, effect, error = smooth_map(evidence, found.A, chosen)
        guarded = int(evidence.guarded[chosen.channels].sum())
        if not smoothed:
            known = method.noise and head is Head.AFFINE
            effect, error, count = (1.0, 0.0, 0) if known else (None, None, 0)
        exact = head is not Head.SMOOTH or self.request.derivatives == "exact"
        return SaliencyMap(
            path, method.name, target, chosen, values, head, guarded, effect, error, count, exact, found.window
        )

    def _input_maps(self, b: int, t: int, target: int, samples: _Samples, subject: Subject) -> list[SaliencyMap]:
        values: dict[str, Array] = {}
        for method in (m for m in self._methods if m.family == "input"):
            gradient = samples.first.derivatives[INPUT][t][0][b, 0]
            if method.noise and self.nsamples:
                gradient = samples.sums[INPUT, t, b].mean_gradients(gradient.shape)
            values[method.name] = INPUT_FORMULAS[method.name](gradient)
        if self._baselines is not None:
            values |= self._baselines.maps(subject.x, target, subject.identity, classes_of(samples.first.against[b, t]))
        return [
            SaliencyMap(
                INPUT, name, target, Selection(), grid, Head.SMOOTH, samples=samples.count if METHODS[name].noise else 0
            )
            for name, grid in values.items()
        ]
