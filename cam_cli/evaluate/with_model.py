"""Figures for which the network has to run again, on the photos that the run saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.decoding.image import DecodedImage
from cam_cli.decoding.pool import DecoderPool
from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer, Subject
from cam_cli.engine.scorer import Scorer
from cam_cli.errors import UsageError
from cam_cli.evaluate.evaluation import Metrics, ModelFigures
from cam_cli.evaluate.faithfulness import faithfulness_of_all
from cam_cli.evaluate.opened import OpenedModel
from cam_cli.evaluate.sanity import Sanity, sanity
from cam_cli.evaluate.stability import stability
from cam_cli.images.decode import RgbImage
from cam_cli.images.fit import fit
from cam_cli.methods import METHODS
from cam_cli.models.calls import trace
from cam_cli.plan.resolve import request_of
from cam_cli.render.upsample import upsample
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader

Array = NDArray[np.float32]

_DECODERS = 2
_Key = tuple[str, str, int]
"""Layer, method and target of a map."""


def model_figures(opened: OpenedModel, perturbation: str | None, *, stability: bool) -> ModelFigures:
    """Return what measures maps with their model.

    Args:
        perturbation: what pixels are replaced by, see `faithfulness`; None: that is not measured.
    """
    return _ModelFigures(opened, perturbation, stability=stability)


def sanity_of(run: RunReader, opened: OpenedModel, most: int) -> Sanity:
    """Randomise the model's weights, and see whether the maps of the run's first images change (see `sanity`).

    Raises:
        UsageError: no image of the run can be read any more.
    """
    images = (image for image in run.images() if image.manifest.status == "ok" and image.manifest.maps)
    inputs = [*islice(((image, photo) for image, photo in _photos(images, opened) if photo is not None), most)]
    if not inputs:
        raise UsageError(f"no photo of '{run.folder}' can be read any more")
    x = np.stack([photo.x for _, photo in inputs])
    targets = [[image.manifest.maps[0].target.index] for image, _ in inputs]
    layers = list(dict.fromkeys(record.layer for record in inputs[0][0].manifest.maps))
    methods = tuple(method for method in opened.config.methods if METHODS[method].explains_cells)
    if not methods:
        raise UsageError("the sanity check is for methods that explain a layer's cells, and the run has none of them")
    request = replace(request_of(opened.config), methods=methods, tolerance=None)
    return sanity(opened.network.model, x, layers, request, targets, tokens=opened.network.tokens)


def _photos(images: Iterable[ImageResult], opened: OpenedModel) -> Iterator[tuple[ImageResult, DecodedImage | None]]:
    """Yield each image with its photo; None where its file is gone or another one by now."""
    with DecoderPool(_DECODERS, opened.config.image_timeout) as decoders:
        for image, now in decoders.decode((image.decode_job for image in images), opened.decode_settings):
            yield image, now.image if now.sha256 == image.manifest.image.sha256 else None


class _ModelFigures:
    """Measures all maps of a photo at a time."""

    def __init__(self, opened: OpenedModel, perturbation: str | None, *, stability: bool) -> None:
        self._opened = opened
        self._perturbation = perturbation
        network = opened.network
        self._score = Scorer(network.model, network.input_shape, precision=opened.precision) if perturbation else None
        self._stable = _Stability(opened) if stability else None

    def __call__(self, images: Iterable[ImageResult]) -> Iterator[tuple[ImageResult, Mapping[int, Metrics]]]:
        for image, photo in _photos(images, self._opened):
            found: dict[int, dict[str, float | None]] = {}
            if photo is not None:
                numbers = [i for i, record in enumerate(image.manifest.maps) if record.state == "ok"]
                found = {number: {} for number in numbers}
                for measured in (self._faithful(image, photo, numbers), self._stable_ones(image, photo, numbers)):
                    for number, metrics in measured:
                        found[number] |= metrics
            yield image, found

    def _faithful(
        self, image: ImageResult, photo: DecodedImage, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Metrics]]:
        """Yield the figures of faithfulness; maps of a class that are alike to the last bit are measured once."""
        if self._score is None or self._perturbation is None:
            return
        rows, columns = self._opened.network.input_shape[:2]
        alike: dict[int, dict[bytes, tuple[Array, list[int]]]] = {}
        for number in numbers:
            record = image.manifest.maps[number]
            values = image.values(record)
            if values is not None:
                heat = upsample(np.maximum(values, 0), (0, 0, columns, rows), (columns, rows))
                alike.setdefault(record.target.index, {}).setdefault(heat.tobytes(), (heat, []))[1].append(number)
        for target, maps in alike.items():
            heats, probability = [heat for heat, _ in maps.values()], partial(self._score, target=target)
            found = faithfulness_of_all(photo.x, heats, probability, self._perturbation)
            yield from ((n, metrics) for (_, same), metrics in zip(maps.values(), found, strict=True) for n in same)

    def _stable_ones(
        self, image: ImageResult, photo: DecodedImage, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Metrics]]:
        if self._stable is None:
            return
        records = {number: image.manifest.maps[number] for number in numbers}
        of_a_layer = {n: record for n, record in records.items() if _is_plain(record)}
        found = self._stable.of(photo, list(of_a_layer.values()))
        yield from ((number, found[_key(record)]) for number, record in of_a_layer.items())


class _Stability:
    """Explains photos again; all maps of one share the passes."""

    def __init__(self, opened: OpenedModel) -> None:
        self._opened = opened
        self._traced = trace(opened.network.model, opened.network.input_shape)
        self._request = replace(request_of(opened.config), tolerance=None)
        self._cache = opened.cache()
        self._explainers: dict[tuple[object, ...], Explainer] = {}

    def of(self, photo: DecodedImage, records: Sequence[MapRecord]) -> dict[_Key, Mapping[str, float | None]]:
        """Return the figures of maps by layer, method and target."""
        if not records:
            return {}
        layers, methods = (tuple(dict.fromkeys(getattr(r, name) for r in records)) for name in ("layer", "method"))
        targets = tuple(dict.fromkeys(record.target.index for record in records))
        network, keys = self._opened.network, [_key(record) for record in records]

        def explain(x: Array, seed: int, n: int) -> list[list[Array]]:
            subjects = [Subject(one, photo.sha256, targets) for one in x]
            explained = self._explainer(layers, methods, len(targets), seed, n).explain(subjects)
            maps = ({(m.layer, m.method, m.target): m.values for m in one.maps} for one in explained)
            return [[found[key] for key in keys] for found in maps]

        def fitted(pixels: NDArray[np.uint8]) -> Any:
            height, width = pixels.shape[:2]
            return fit(RgbImage(pixels, width, height, ()), network.input_shape[:2], network.preprocessing)

        n = self._request.nsamples if any(METHODS[method].noise for method in methods) else 0
        return dict(zip(keys, stability(photo.picture, fitted, explain, self._request.seed, n), strict=True))

    def _explainer(
        self, layers: tuple[str, ...], methods: tuple[str, ...], targets: int, seed: int, n: int
    ) -> Explainer:
        key = layers, methods, targets, seed, n
        if key not in self._explainers:
            network, selections = self._opened.network, self._request.selections[:1]
            self._explainers[key] = Explainer(
                network.model,
                analyse(self._traced, layers, None, network.tokens),
                replace(self._request, methods=methods, seed=seed, nsamples=n, selections=selections),
                targets,
                precision=self._opened.precision,
                graphs=self._cache,
            )
        return self._explainers[key]


def _is_plain(record: MapRecord) -> bool:
    selection = record.selection
    known = METHODS.get(record.method)
    return selection.filters is None and selection.subset is None and known is not None and known.explains_cells


def _key(record: MapRecord) -> _Key:
    return record.layer, record.method, record.target.index
