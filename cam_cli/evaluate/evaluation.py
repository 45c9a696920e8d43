"""One run, evaluated: figures for every map, and what they amount to for each layer and method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import UsageError
from cam_cli.evaluate.annotations import Annotations, read_annotations
from cam_cli.evaluate.bootstrap import interval
from cam_cli.evaluate.localisation import localise
from cam_cli.evaluate.run import SavedImage, SavedRun
from cam_cli.evaluate.signals import centre_of_attention, signals
from cam_cli.runs.files import to_json, whole
from cam_cli.runs.manifest import MapRecord

EVALUATION = "evaluation.json"
CANVAS = 256
"""Signals are taken from the map on its photo, whose longer side has so many pixels then."""

ModelFigures = Callable[[SavedImage, MapRecord, NDArray[np.float32]], Mapping[str, float | None]]
"""Figures that need the model, for one map of one image."""


@dataclass(frozen=True)
class MapFigures:
    """The figures of one map; None where one cannot be told."""

    map: MapRecord
    metrics: Mapping[str, float | None]

    def record(self) -> dict[str, Any]:
        """Return this as it stands in evaluation.json."""
        full = self.map.model_dump(mode="json")
        named = {key: full[key] for key in ("layer", "method", "selection")} | {"target": self.map.target.index}
        return {"map": named, "metrics": dict(self.metrics)}


@dataclass(frozen=True)
class Total:
    """The mean of one figure over the images, with a bootstrap 95% interval; of each image's maps of the layer and method, the
    first that has the figure counts, so that places of objects are judged by the map of a class that is annotated.
    """

    layer: str
    method: str
    metric: str
    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Evaluation:
    """What was found. what: how it was found out. failed, blank: shares of the images and of the maps."""

    what: Mapping[str, Any]
    images: Mapping[str, tuple[MapFigures, ...]]
    totals: tuple[Total, ...]
    failed: float
    blank: float

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound; of several layers and methods, the first's figures."""
        found = {"failed": self.failed, "blank": self.blank}
        for total in self.totals:
            found.setdefault(total.metric, total.mean)
        return found

    def record(self) -> dict[str, Any]:
        """Return this as it stands in evaluation.json."""
        return {
            "schema_version": 1,
            "what": dict(self.what),
            "images": {path: [figures.record() for figures in maps] for path, maps in self.images.items()},
            "totals": [asdict(total) for total in self.totals],
            "failed": self.failed,
            "blank": self.blank,
        }


def evaluate(
    run: SavedRun,
    annotations: Path | None = None,
    model_figures: ModelFigures | None = None,
    what: Mapping[str, Any] | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Evaluate every map of a run.

    Args:
        annotations: where the objects are, see `read_annotations`. model_figures: further figures. what: their settings, for
            the record. tell: called with the number of images done.

    Raises:
        UsageError: annotations cannot be read, or fit no photo of the run; the run has no images.
    """
    known = read_annotations(annotations, run.root) if annotations is not None else None
    found: dict[str, tuple[MapFigures, ...]] = {}
    failed = maps = blank = annotated = 0
    for number, image in enumerate(run.images(), 1):
        failed += image.manifest.status == "failed"
        maps += len(image.manifest.maps)
        blank += sum(record.state == "blank" for record in image.manifest.maps)
        figures = tuple(_figures_of(image, known, model_figures))
        annotated += any("pointing_game" in one.metrics for one in figures)
        if image.manifest.status == "ok":
            found[image.path] = figures
        tell(number)
    images = failed + len(found)
    if not images:
        raise UsageError(f"'{run.folder}' has no finished image yet")
    if annotations is not None and not annotated:
        raise UsageError(
            f"'{annotations}' has no object for any map of '{run.folder}': photos are matched by path or file name, and "
            "classes by index, WordNet id or name"
        )
    settings = {"annotations": str(annotations) if annotations else None, **(what or {})}
    return Evaluation(settings, found, tuple(_totals(found)), failed / images, blank / maps if maps else 0.0)


def write_evaluation(evaluation: Evaluation, run: SavedRun) -> Path:
    """Write evaluation.json into the run's folder, whole.

    Raises:
        UsageError: it cannot be written there.
    """
    path = run.folder / EVALUATION
    try:
        with whole(path) as stream:
            stream.write(f"{to_json(evaluation.record())}\n".encode())
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror or error}") from error
    return path


def _figures_of(
    image: SavedImage, annotations: Annotations | None, model_figures: ModelFigures | None
) -> Iterator[MapFigures]:
    others = _centres(image)
    for record in image.manifest.maps:
        metrics: dict[str, float | None] = {
            "noise_effect": record.noise_effect,
            "standard_error": record.standard_error,
        }
        values = image.values(record) if record.state != "nonfinite" else None
        if values is not None:
            metrics |= signals(values, image.placed(values, _canvas(*image.size)))
            metrics |= _class_distance(record, others)
            masks = annotations.instances(image.path, image.size, record.target) if annotations else None
            if masks:
                metrics |= localise(image.placed(values), masks)
            if model_figures is not None and record.state == "ok":
                metrics |= model_figures(image, record, values)
        yield MapFigures(record, {name: _finite(value) for name, value in metrics.items()})


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _centres(image: SavedImage) -> dict[tuple[str, str], list[tuple[int, tuple[float, float]]]]:
    """Return for each layer and method the classes that have a map, in order, and each map's centre of attention."""
    found = defaultdict(list)
    for record in image.manifest.maps:
        values = image.values(record) if record.state == "ok" else None
        if values is not None and record.selection.filters is None and record.selection.subset is None:
            centre = centre_of_attention(image.placed(values, _canvas(*image.size)))
            if centre is not None:
                found[record.layer, record.method].append((record.target.index, centre))
    return found


def _class_distance(
    record: MapRecord, centres: Mapping[tuple[str, str], Sequence[tuple[int, tuple[float, float]]]]
) -> dict[str, float | None]:
    """Distance of the centres of the first two classes' maps, such as the predicted and the true one, in width and height."""
    maps = centres.get((record.layer, record.method), [])
    if len(maps) < 2 or maps[0][0] != record.target.index:
        return {}
    (_, one), (_, other) = maps[:2]
    return {"class_distance": float(np.hypot(one[0] - other[0], one[1] - other[1]))}


def _canvas(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, CANVAS / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _totals(images: Mapping[str, Sequence[MapFigures]]) -> Iterator[Total]:
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for maps in images.values():
        met = set()
        for figures in maps:
            for metric, value in figures.metrics.items():
                key = figures.map.layer, figures.map.method, metric
                if value is not None and key not in met:
                    met.add(key)
                    values[key].append(value)
    for (layer, method, metric), found in values.items():
        mean = interval(found)
        yield Total(layer, method, metric, mean.mean, mean.low, mean.high, mean.count)
