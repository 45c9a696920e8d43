"""Figures for which the network has to run again: opened as the run opened it, fed the photos the run saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.config import RunConfig
from cam_cli.engine.anatomy import examine
from cam_cli.engine.explain import Explainer, Subject
from cam_cli.engine.scorer import Scorer
from cam_cli.errors import UsageError
from cam_cli.evaluate.evaluation import ModelFigures
from cam_cli.evaluate.faithfulness import faithfulness
from cam_cli.evaluate.run import SavedImage, SavedRun
from cam_cli.evaluate.sanity import Sanity, sanity
from cam_cli.evaluate.stability import stability
from cam_cli.images.decode import Photo
from cam_cli.images.fit import fit
from cam_cli.models.calls import trace
from cam_cli.models.layers import choose_scales, describe_layers
from cam_cli.models.load import Network, Overrides, load_network
from cam_cli.render.place import place
from cam_cli.runs.manifest import MapRecord
from cam_cli.runs.plan import request_of
from cam_cli.runs.prepare import read_photo_of

Array = NDArray[np.float32]
MAPS_OF_THE_LAYER = ("smoothgradcam++", "gradcam++", "gradcam", "cam", "layercam", "hirescam", "activations")
"""Methods that explain cells of a layer; stability is measured for them."""


def model_figures(
    run: SavedRun, perturbation: str | None, *, stability: bool, unsafe_lambda: bool = False
) -> ModelFigures:
    """Open the run's model, and return what measures a map with it.

    Args:
        perturbation: what pixels are replaced by, see `faithfulness`; None: that is not measured. unsafe_lambda: run code
            from the model file; what run.json says of that does not count, as a run folder may come from anywhere.

    Raises:
        UsageError: run.json does not say how the model was opened, or it is another one now.
    """
    return _ModelFigures(_opened(run, unsafe_lambda), perturbation, stability=stability)


def sanity_of(run: SavedRun, most: int, *, unsafe_lambda: bool = False) -> Sanity:
    """Randomise the model's weights, and see whether the maps of the run's first images change (see `sanity`).

    Raises:
        UsageError: no image of the run can be read any more.
    """
    opened = _opened(run, unsafe_lambda)
    images = (image for image in run.images() if image.manifest.status == "ok" and image.manifest.maps)
    readable = ((image, photo) for image in images if (photo := _photo(image)) is not None)
    inputs = list(islice(readable, most))
    if not inputs:
        raise UsageError(f"no photo of '{run.folder}' can be read any more")
    x = np.stack([opened.input_of(photo) for _, photo in inputs])
    targets = [[image.manifest.maps[0].target.index] for image, _ in inputs]
    layers = list(dict.fromkeys(record.layer for record in inputs[0][0].manifest.maps))
    methods = tuple(method for method in opened.config.methods if method in MAPS_OF_THE_LAYER)
    if not methods:
        raise UsageError("the sanity check is for methods that explain a layer's cells, and the run has none of them")
    request = replace(request_of(opened.config), methods=methods, tolerance=None)
    return sanity(opened.network.model, x, layers, request, targets, tokens=opened.network.tokens)


@dataclass(frozen=True)
class _Opened:
    config: RunConfig
    network: Network

    def input_of(self, photo: Photo) -> Array:
        return fit(photo, self.network.input_shape[:2], self.network.preprocessing)[0]


def _opened(run: SavedRun, unsafe_lambda: bool) -> _Opened:
    try:
        config = RunConfig.model_validate({**run.record["config"], "unsafe_lambda": unsafe_lambda})
        recorded = run.record["model"]["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"run.json of '{run.folder}' does not say how its model was opened ({error})") from error
    network = load_network(config.model, config.layers, Overrides(**config.model_settings()))
    if network.sha256 != recorded:
        raise UsageError(
            f"'{config.model or network.name}' is another model than the one '{run.folder}' was made with; run `smoothcam "
            "explain` again, or give the old file back its place"
        )
    return _Opened(config, network)


def _photo(image: SavedImage) -> Photo | None:
    """Return the photo as the run saw it; None where its file is gone or another one."""
    return read_photo_of(image.photo, image.manifest.image.sha256, image.manifest.model.input_size)


class _ModelFigures:
    """Measures one map after the other; a photo's figures of stability are found once for all its maps."""

    def __init__(self, opened: _Opened, perturbation: str | None, *, stability: bool) -> None:
        self._opened = opened
        self._perturbation = perturbation
        self._scorer = Scorer(opened.network.model, opened.network.input_shape) if perturbation else None
        self._stable = _Stability(opened) if stability else None
        self._photo: tuple[str, Photo | None] = ("", None)

    def __call__(self, image: SavedImage, record: MapRecord, values: Array) -> Mapping[str, float | None]:
        photo = self._photo_of(image)
        if photo is None:
            return {}
        found: dict[str, float | None] = {}
        if self._scorer is not None and self._perturbation is not None:
            scorer, target = self._scorer, record.target.index
            rows, columns = self._opened.network.input_shape[:2]
            heat = place(np.maximum(values, 0), (0, 0, columns, rows), (columns, rows))
            x = self._opened.input_of(photo)
            found |= faithfulness(x, heat, lambda batch: scorer(batch, target), self._perturbation)
        if self._stable is not None:
            found |= self._stable.of(image, record, photo)
        return found

    def _photo_of(self, image: SavedImage) -> Photo | None:
        if self._photo[0] != image.path:
            self._photo = image.path, _photo(image)
        return self._photo[1]


class _Stability:
    """Explains photos again, each as a whole: its maps are then looked up one by one."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened
        network, config = opened.network, opened.config
        self._traced = trace(network.model, network.input_shape)
        self._infos = describe_layers(self._traced, network.tokens)
        self._request = replace(request_of(config), tolerance=None)
        self._explainers: dict[tuple[object, ...], Explainer] = {}
        self._known: tuple[str, dict[tuple[object, ...], Mapping[str, float | None]]] = ("", {})

    def of(self, image: SavedImage, record: MapRecord, photo: Photo) -> Mapping[str, float | None]:
        if self._known[0] != image.path:
            self._known = image.path, dict(self._measured(image, photo))
        return self._known[1].get(_key(record), {})

    def _measured(
        self, image: SavedImage, photo: Photo
    ) -> Iterator[tuple[tuple[object, ...], Mapping[str, float | None]]]:
        plain = (record for record in image.manifest.maps if record.selection.filters is None)
        records = [record for record in plain if record.selection.subset is None and record.method in MAPS_OF_THE_LAYER]
        for layer, method, target in dict.fromkeys((r.layer, r.method, r.target.index) for r in records):

            def explain(x: Array, seed: int, n: int, place: tuple[str, str, int] = (layer, method, target)) -> Any:
                explainer = self._explainer(place[0], place[1], seed, n)
                subjects = [Subject(one, str(image.manifest.image.sha256), (place[2],)) for one in x]
                return [[found.maps[0].values] for found in explainer.explain(subjects)]

            def fitted(pixels: NDArray[np.uint8]) -> Any:
                height, width = pixels.shape[:2]
                network = self._opened.network
                return fit(Photo(pixels, width, height, ()), network.input_shape[:2], network.preprocessing)

            n = self._request.nsamples if method == "smoothgradcam++" else 0
            yield (layer, method, target), stability(photo.pixels, fitted, explain, self._request.seed, n)[0]

    def _explainer(self, layer: str, method: str, seed: int, n: int) -> Explainer:
        key = layer, method, seed, n
        if key not in self._explainers:
            network = self._opened.network
            scales = choose_scales(self._infos) if method == "twoscale" else None
            request = replace(
                self._request, methods=(method,), seed=seed, nsamples=n, selections=self._request.selections[:1]
            )
            self._explainers[key] = Explainer(
                network.model, examine(self._traced, [layer], scales, network.tokens), request
            )
        return self._explainers[key]


def _key(record: MapRecord) -> tuple[object, ...]:
    return record.layer, record.method, record.target.index
