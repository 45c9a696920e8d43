"""One run, evaluated: figures for every map, and what they amount to for each layer and method."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cam_cli.errors import UsageError
from cam_cli.evaluate.annotations import Annotations, read_annotations
from cam_cli.evaluate.bootstrap import interval
from cam_cli.evaluate.localisation import localise
from cam_cli.evaluate.signals import centre_of_attention, signals
from cam_cli.render.size import picture_size
from cam_cli.results.files import to_json, whole
from cam_cli.results.layout import EVALUATION
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader
from cam_cli.text import shown

_Values = dict[tuple[str, str, str], "array[float]"]
"""By layer, method and metric, one value an image."""

CANVAS = 256
"""Signals are taken from the map on its photo, whose longer side has so many pixels then."""

Metrics = Mapping[str, float | None]
"""Figures of a map by name; None where one cannot be told."""

ModelFigures = Callable[[Iterable[ImageResult]], Iterator[tuple[ImageResult, Mapping[int, Metrics]]]]
"""Goes through images, and says of each the figures that need the model, by the number of the map."""


@dataclass(frozen=True)
class MapFigures:
    """The figures of one map."""

    map: MapRecord
    metrics: Metrics

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
    """What was found of a run as a whole. what: how it was found out. failed, blank: shares of the images and of the maps."""

    what: Mapping[str, Any]
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
        """Return this as it stands in evaluation.json, beside the images."""
        return {
            "schema_version": 1,
            "what": dict(self.what),
            "totals": [asdict(total) for total in self.totals],
            "failed": self.failed,
            "blank": self.blank,
        }


def evaluate(
    run: RunReader,
    annotations: Path | None = None,
    model_figures: ModelFigures | None = None,
    what: Mapping[str, Any] | None = None,
    tell: Callable[[int], None] = lambda _: None,
    keep: Callable[[str, Sequence[MapFigures]], None] = lambda _path, _figures: None,
) -> Evaluation:
    """Evaluate every map of a run, an image at a time: what stays in memory is a number for each figure of an image.

    Args:
        annotations: where the objects are, see `read_annotations`. model_figures: further figures. what: their settings, for
            the record. tell: called with the number of images done. keep: called with each image's path and figures.

    Raises:
        UsageError: annotations cannot be read, or fit no photo of the run; the run has no images.
    """
    root = run.root if isinstance(run.root, Path) else None
    known = read_annotations(annotations, root) if annotations is not None else None
    values: _Values = defaultdict(lambda: array("d"))
    failed = explained = maps = blank = annotated = 0
    passing = model_figures(run.images()) if model_figures else ((image, {}) for image in run.images())
    for number, (image, further) in enumerate(passing, 1):
        failed += image.manifest.status == "failed"
        maps += len(image.manifest.maps)
        blank += sum(record.state == "blank" for record in image.manifest.maps)
        figures = tuple(_figures_of(image, known, further))
        annotated += any("pointing_game" in one.metrics for one in figures)
        if image.manifest.status == "ok":
            explained += 1
            _add(values, figures)
            keep(image.path, figures)
        tell(number)
    images = failed + explained
    if not images:
        raise UsageError(f"'{run.folder}' has no finished image yet")
    if annotations is not None and not annotated:
        raise UsageError(
            f"'{annotations}' has no object for any map of '{run.folder}': photos are matched by path or file name, and "
            "classes by index, WordNet id or name"
        )
    settings = {"annotations": str(annotations) if annotations else None, **(what or {})}
    return Evaluation(settings, tuple(_totals(values)), failed / images, blank / maps if maps else 0.0)


class EvaluationFile:
    """evaluation.json, written as an evaluation goes on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._stream.write(b'{"images":{')
        self._first = True

    def keep(self, path: str, maps: Sequence[MapFigures]) -> None:
        """Write what was found of an image."""
        entry = to_json({path: [figures.record() for figures in maps]})[1:-1]
        self._stream.write(f"{'' if self._first else ','}\n{entry}".encode())
        self._first = False

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the rest."""
        self._stream.write(f"}},\n{to_json(record)[1:]}\n".encode())


@contextmanager
def evaluation_file(run: RunReader) -> Iterator[EvaluationFile]:
    """Have a new evaluation.json in the run's folder, which takes the old one's place when all went well.

    Raises:
        UsageError: it cannot be written there.
    """
    path = run.folder / EVALUATION
    try:
        with whole(path) as stream:
            yield EvaluationFile(stream)
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be written: {error.strerror or error}") from error


def _figures_of(
    image: ImageResult, annotations: Annotations | None, further: Mapping[int, Metrics]
) -> Iterator[MapFigures]:
    others = _centres(image)
    for number, record in enumerate(image.manifest.maps):
        metrics: dict[str, float | None] = {
            "noise_effect": record.noise_effect,
            "standard_error": record.standard_error,
        }
        values = image.values(record) if record.state != "nonfinite" else None
        if values is not None:
            metrics |= signals(values, image.upsampled(values, picture_size(*image.size, CANVAS)))
            metrics |= _class_distance(record, others)
            masks = annotations.instances(image.path, image.size, record.target) if annotations else None
            if masks:
                metrics |= localise(image.upsampled(values), masks)
            metrics |= further.get(number, {})
        yield MapFigures(record, {name: _finite(value) for name, value in metrics.items()})


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _centres(image: ImageResult) -> dict[tuple[str, str], list[tuple[int, tuple[float, float]]]]:
    """Return for each layer and method the classes that have a map, in order, and each map's centre of attention."""
    found = defaultdict(list)
    for record in image.manifest.maps:
        values = image.values(record) if record.state == "ok" else None
        if values is not None and record.selection.filters is None and record.selection.subset is None:
            centre = centre_of_attention(image.upsampled(values, picture_size(*image.size, CANVAS)))
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


def _add(values: _Values, maps: Sequence[MapFigures]) -> None:
    met = set()
    for figures in maps:
        for metric, value in figures.metrics.items():
            key = figures.map.layer, figures.map.method, metric
            if value is not None and key not in met:
                met.add(key)
                values[key].append(value)


def _totals(values: _Values) -> Iterator[Total]:
    for (layer, method, metric), found in values.items():
        mean = interval(found)
        yield Total(layer, method, metric, mean.mean, mean.low, mean.high, mean.count)
