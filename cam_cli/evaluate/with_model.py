"""Metrics for which the network runs again, on the images that the run explained."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cam_cli.decoding.image import DecodedImage, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Subject
from cam_cli.engine.scorer import Scorer
from cam_cli.errors import UsageError
from cam_cli.evaluate.evaluation import Metrics, ModelMetrics
from cam_cli.evaluate.opened import OpenedModel
from cam_cli.evaluate.records import Sanity
from cam_cli.evaluate.sanity import maps_of, sanity
from cam_cli.graph.trace import trace
from cam_cli.images.fit import InputBox, fit
from cam_cli.images.image import RgbImage
from cam_cli.methods import METHODS
from cam_cli.metrics.faithfulness import faithfulness
from cam_cli.metrics.stability import stability
from cam_cli.plan.resolve import request_of
from cam_cli.render.upsample import upsample
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader
from cam_cli.window import WHOLE

_DECODERS = 2
_Array = NDArray[np.float32]
_Found = Iterator[tuple[int, Mapping[str, float | None]]]
_Measure = Callable[[ImageResult, DecodedImage, dict[int, MapRecord]], _Found]
"""Yields metrics of the maps of an image; maps go by their number."""


def model_metrics(opened: OpenedModel, perturbation: str | None, *, with_stability: bool) -> ModelMetrics:
    """Return what measures faithfulness, if there is a `perturbation` that replaces pixels, and stability."""
    measures = [_faithfulness(opened, perturbation)] if perturbation else []
    measures += [_stability(opened)] if with_stability else []

    def measured(images: Iterable[ImageResult]) -> Iterator[tuple[ImageResult, Mapping[int, Metrics]]]:
        for image, decoded in _decoded(images, opened):
            found: dict[int, Metrics] = defaultdict(dict)
            if decoded is not None:
                maps = {n: record for n, record in enumerate(image.manifest.maps) if record.state == "ok"}
                for measure in measures:
                    for number, metrics in measure(image, decoded, maps):
                        found[number].update(metrics)
            yield image, found

    return measured


def sanity_of(run: RunReader, opened: OpenedModel, most: int) -> Sanity:
    """Randomise the model's weights, and see whether the maps of the run's first `most` images change (see `sanity`).

    Raises UsageError if no image of the run can be read any more, or no method of the run explains a layer's cells.
    """
    explained = (image for image in run.images() if image.manifest.status == "ok" and image.manifest.maps)
    readable = ((image, decoded.x) for image, decoded in _decoded(explained, opened) if decoded is not None)
    inputs = [*islice(readable, most)]
    if not inputs:
        raise UsageError(f"no image of '{run.folder}' can be read any more")
    methods = tuple(method for method in opened.config.methods if METHODS[method].explains_cells)
    if not methods:
        raise UsageError("the sanity check is for methods that explain a layer's cells, and the run has none of them")
    targets = [[image.manifest.maps[0].target.index] for image, _ in inputs]
    layers = [*dict.fromkeys(r.layer for r in inputs[0][0].manifest.maps if explains_cells(r))]
    request = replace(request_of(opened.config), methods=methods, tolerance=None)
    x = np.stack([x for _, x in inputs])
    return sanity(opened.network.model, x, layers, request, targets, tokens=opened.network.tokens)


def explains_cells(record: MapRecord) -> bool:
    """Return True if a map explains the cells of a layer; stability and sanity are measured for these maps."""
    return record.method in METHODS and METHODS[record.method].explains_cells and not record.against


def _decoded(images: Iterable[ImageResult], opened: OpenedModel) -> Iterator[tuple[ImageResult, DecodedImage | None]]:
    """Yield each image as it is decoded now; None if its file is gone or another one by now."""
    network, config = opened.network, opened.config
    *size, channels = network.input_shape
    how = DecodeSettings((size[0], size[1]), network.preprocessing, None, config.max_pixels, channels)
    with DecoderPool(_DECODERS, config.image_timeout) as decoders:
        for image, now in decoders.decode((image.decode_job for image in images), how):
            yield image, now.image if now.sha256 == image.manifest.image.sha256 else None


def _faithfulness(opened: OpenedModel, perturbation: str) -> _Measure:
    network = opened.network
    rows, columns = network.input_shape[:2]
    score = Scorer(network.model, network.input_shape, precision=opened.precision)

    def measure(image: ImageResult, decoded: DecodedImage, maps: dict[int, MapRecord]) -> _Found:
        # Maps of a class that are the same to the last bit are measured once.
        alike: dict[int, dict[bytes, tuple[_Array, list[int]]]] = defaultdict(dict)
        for number, record in maps.items():
            values = image.values(record)
            if values is not None:
                window = record.window or WHOLE
                heat = upsample(np.maximum(values, 0), (0, 0, columns, rows), (columns, rows), window)
                alike[record.target.index].setdefault(heat.tobytes(), (heat, []))[1].append(number)
        for target, groups in alike.items():
            heats = [heat for heat, _ in groups.values()]
            found = faithfulness(decoded.x, heats, partial(score, target=target), perturbation)
            yield from ((n, metrics) for (_, same), metrics in zip(groups.values(), found, strict=True) for n in same)

    return measure


def _stability(opened: OpenedModel) -> _Measure:
    network, graphs = opened.network, opened.cache()
    traced = trace(network.model, network.input_shape)
    request = replace(request_of(opened.config), tolerance=None)

    @cache
    def explainer(layers: tuple[str, ...], methods: tuple[str, ...], targets: int, seed: int, n: int) -> Explainer:
        asked = replace(request, methods=methods, seed=seed, nsamples=n, selections=request.selections[:1])
        analysis = analyse(traced, layers, None, network.tokens)
        return Explainer(network.model, analysis, asked, targets, precision=opened.precision, graphs=graphs)

    def fitted(pixels: NDArray[np.uint8]) -> tuple[_Array, InputBox]:
        height, width = pixels.shape[:2]
        return fit(RgbImage(pixels, width, height, ()), network.input_shape[:2], network.preprocessing)

    def measure(_image: ImageResult, decoded: DecodedImage, maps: dict[int, MapRecord]) -> _Found:
        # For maps that explain all cells of a layer; all of them share the passes.
        numbers = [n for n, record in maps.items() if record.selection.is_whole and explains_cells(record)]
        if not numbers or not decoded.is_picture:
            return
        keys = [(maps[n].layer, maps[n].method, maps[n].target.index) for n in numbers]
        layers, methods, targets = (tuple(dict.fromkeys(parts)) for parts in zip(*keys, strict=True))

        def explain(x: _Array, seed: int, n: int) -> list[list[_Array]]:
            subjects = [Subject(one, decoded.sha256, targets) for one in x]
            explained = explainer(layers, methods, len(targets), seed, n).explain(subjects)
            return [[found[key] for key in keys] for found in map(maps_of, explained)]

        n = request.nsamples if any(METHODS[method].noise for method in methods) else 0
        windows = [maps[number].window or WHOLE for number in numbers]
        yield from zip(numbers, stability(decoded.picture, fitted, explain, request.seed, n, windows), strict=True)

    return measure
