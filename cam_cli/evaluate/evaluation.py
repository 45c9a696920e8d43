"""One run, evaluated: metrics of every map, and their means for each layer and method."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pydantic import BaseModel

from cam_cli.errors import UsageError
from cam_cli.evaluate.annotations import AnnotationList, MaskFolder, read_annotations
from cam_cli.evaluate.bootstrap import interval
from cam_cli.evaluate.classification import TruthCollector
from cam_cli.evaluate.records import (
    GONE,
    NO_LAYER,
    NO_MAP,
    NO_MAP_AT_ALL,
    NOT_ANNOTATED,
    NOT_SAVED,
    Evaluation,
    MapKey,
    MapMetrics,
    Sanity,
    StrategyAnalysis,
    Total,
)
from cam_cli.evaluate.shapes import Mask
from cam_cli.evaluate.strategies import Collection
from cam_cli.metrics.localisation import METRICS, Tolerance, baselines, localise
from cam_cli.metrics.signals import NOISE_METRICS, class_distance, signals
from cam_cli.render.size import picture_size
from cam_cli.results.files import to_json
from cam_cli.results.layout import EVALUATION
from cam_cli.results.manifest import MapRecord
from cam_cli.results.reader import ImageResult, RunReader

CANVAS = 256
"""Signals are measured on the map laid over its image, whose longer side then has so many pixels."""

LOCALISATION = {metric.name for metric in METRICS}

Metrics = dict[str, float | None]
"""Metrics of a map by name; None if one is not defined for it."""

ModelMetrics = Callable[[Iterable[ImageResult]], Iterator[tuple[ImageResult, Mapping[int, Metrics]]]]
"""Goes through images, and yields each with the metrics that need the model, by the number of the map."""


def evaluate(
    run: RunReader,
    annotations: Path | None = None,
    model_metrics: ModelMetrics | None = None,
    what: Mapping[str, Any] | None = None,
    sanity: Sanity | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    tolerance: Tolerance = "share",
    strategies: bool = False,
) -> Evaluation:
    """Measure every map of a run, an image at a time, and write evaluation.json into its folder when all went well.

    What stays in memory is a number for each metric of an image, and a map of 14 x 14 bytes for each layer and method.

    Args:
        annotations: where the objects are, see `read_annotations`.
        model_metrics: further metrics.
        what: the settings of the further metrics, for the record.
        sanity: the check by a randomised network, for the record.
        on_progress: called with the number of images done.
        tolerance: of the pointing game, see `reach_of`.
        strategies: also group the maps of each class, see `Collection`.

    Returns:
        What was written, without the images.

    Raises:
        UsageError: annotations cannot be read, or fit no image of the run; the run has no images; the file cannot be written.
    """
    known = read_annotations(annotations) if annotations is not None else None
    images = model_metrics(run.images()) if model_metrics else ((image, {}) for image in run.images())
    truth = TruthCollector(multi_label=run.multi_label)
    sums, collection = _Sums(), Collection()
    measure = _Measure(known, tolerance)
    try:
        with run.writing(EVALUATION) as stream, TemporaryFile() as drafts:
            for number, (image, further) in enumerate(truth.seen(images), 1):
                draft = measure(image, further, collection)
                sums.count(image, draft, model_ran=bool(further) if model_metrics else None)
                if image.manifest.status == "ok":
                    drafts.write(f"{draft.model_dump_json()}\n".encode())
                on_progress(number)
            if not sums.images:
                raise UsageError(f"'{run.folder}' has no finished image yet")
            looked = collection.looked(group=strategies)
            stream.write(b'{"images":{')
            comma = ""
            drafts.seek(0)
            for line in drafts:
                draft = _Draft.model_validate_json(line)
                maps = looked.completed(draft.path, draft.maps)
                sums.add(maps, draft.baselines, by_class=isinstance(known, AnnotationList))
                entry = to_json({draft.path: [one.model_dump() for one in maps]})
                stream.write(f"{comma}\n{entry[1:-1]}".encode())
                comma = ","
            if annotations is not None and not any(metric == "pointing_game" for _, _, metric in sums.values):
                raise UsageError(
                    f"'{annotations}' has no object for any map of '{run.folder}': images are matched by path or file "
                    "name, and classes by index, WordNet id or name"
                )
            if annotations is not None:
                stream.write(b'},\n"baselines":{')
                drafts.seek(0)
                known_ones = filter(lambda draft: draft.baselines, map(_Draft.model_validate_json, drafts))
                lines = (to_json({draft.path: draft.baselines})[1:-1] for draft in known_ones)
                stream.writelines(f"{',' * (n > 0)}\n{line}".encode() for n, line in enumerate(lines))
            described = {"annotations": annotations and str(annotations), **(what or {})}
            described |= {"pointing_tolerance": tolerance} if annotations else {}
            found = sums.evaluation(described, sanity, looked.analyses)
            found = found.model_copy(update={"classification": truth.record()})
            absent = {name for name in ("sanity", "classification") if getattr(found, name) is None}
            rest = found.model_dump(by_alias=True, exclude={"images", *absent})
            stream.write(f"}},\n{to_json(rest)[1:]}\n".encode())
    except OSError as error:
        raise UsageError(f"{run.shown(EVALUATION)} cannot be written: {error.strerror or error}") from error
    return found


class _Draft(BaseModel):
    """What was measured of an image, before anything was known of the others.

    baselines: the localisation of maps that cost nothing, by their names, mean over the annotated classes. missing: why figures
    are missing, out of `MISSING`.
    """

    path: str
    maps: list[MapMetrics]
    baselines: dict[str, dict[str, float]] = {}
    missing: list[str] = []


class _Sums:
    """What was measured so far. values: by layer, method and metric, one value an image."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], array[float]] = defaultdict(lambda: array("d"))
        self._baselines: dict[tuple[str, str, str], array[float]] = defaultdict(lambda: array("d"))
        self._missing: Counter[str] = Counter()
        self.images = self._failed = self._maps = self._blank = 0

    def count(self, image: ImageResult, draft: _Draft, *, model_ran: bool | None) -> None:
        """Count an image; model_ran: None if nothing was to be measured with the model."""
        self.images += 1
        self._failed += image.manifest.status == "failed"
        self._maps += len(draft.maps)
        self._blank += sum(record.state == "blank" for record in image.manifest.maps)
        self._missing.update(draft.missing)
        if model_ran is False and any(record.state == "ok" for record in image.manifest.maps):
            self._missing[GONE] += 1

    def add(self, maps: Sequence[MapMetrics], baselines: Mapping[str, Mapping[str, float]], *, by_class: bool) -> None:
        """Add the values of an image. by_class: every annotated class counts, by the first map of its own."""
        firsts: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
        for one in maps:
            for metric, value in one.metrics.items():
                if value is not None:
                    firsts[one.map.layer, one.map.method, metric].setdefault(one.map.target, value)
        for key, values in firsts.items():
            several = [*values.values()] if by_class and key[2] in LOCALISATION else [next(iter(values.values()))]
            self.values[key].append(sum(several) / len(several))
        for name, metrics in baselines.items():
            for metric, value in metrics.items():
                self._baselines[NO_LAYER, name, metric].append(value)

    def evaluation(
        self, what: Mapping[str, Any], sanity: Sanity | None, strategies: tuple[StrategyAnalysis, ...]
    ) -> Evaluation:
        means = {key: interval(values) for key, values in (self.values | self._baselines).items()}
        totals = tuple(
            Total(layer=layer, method=method, metric=name, mean=i.mean, low=i.low, high=i.high, images=i.count)
            for (layer, method, name), i in means.items()
        )
        return Evaluation(
            what=dict(what),
            totals=totals,
            failed=self._failed / self.images,
            blank=self._blank / max(1, self._maps),
            missing=dict(self._missing),
            counted=self.images,
            sanity=sanity,
            strategies=strategies,
        )


@dataclass(frozen=True)
class _Measure:
    """Measures the maps of one image after the other."""

    annotations: AnnotationList | MaskFolder | None
    tolerance: Tolerance

    def __call__(self, image: ImageResult, further: Mapping[int, Metrics], collection: Collection) -> _Draft:
        records = image.manifest.maps
        values = [image.values(record) if record.state != "nonfinite" else None for record in records]
        collection.add(image, values)
        found: list[Metrics] = [
            {metric.name: getattr(record, metric.name) for metric in NOISE_METRICS} for record in records
        ]
        for record, metrics, grid in zip(records, found, values, strict=True):
            if grid is not None:
                metrics |= signals(grid, image.upsampled(grid, record, picture_size(*image.size, CANVAS)))
        pairs = _of_two_classes(image, found)
        judged: dict[int, list[Mask]] = {}
        for number, (record, metrics, grid) in enumerate(zip(records, found, values, strict=True)):
            if grid is not None:
                metrics |= pairs.get((record.layer, record.method, record.target.index), {})
                if masks := self._masks(image, record, judged):
                    metrics |= localise(image.upsampled(grid, record), masks, self.tolerance)
                metrics |= further.get(number, {})
        maps = [MapMetrics(map=MapKey.of(r), metrics=metrics) for r, metrics in zip(records, found, strict=True)]
        missing = [*self._missing(image, records, values, judged)] if image.manifest.status == "ok" else []
        return _Draft(path=image.path, maps=maps, baselines=self._baselines(image, judged), missing=missing)

    def _masks(self, image: ImageResult, record: MapRecord, judged: dict[int, list[Mask]]) -> list[Mask] | None:
        if self.annotations is None:
            return None
        target = record.target.index
        if target not in judged:
            found = self.annotations.instances(image.path, image.size, record.target, image.root)
            if found:
                judged[target] = found
        return judged.get(target)

    def _baselines(self, image: ImageResult, judged: Mapping[int, list[Mask]]) -> dict[str, dict[str, float]]:
        width, height = image.size
        masks = [*judged.values()] if isinstance(self.annotations, AnnotationList) else [*judged.values()][:1]
        several = [baselines((height, width), of_class, self.tolerance) for of_class in masks]
        names = several[0] if several else {}
        return {
            name: {m: sum(one[name][m] for one in several) / len(several) for m in metrics}
            for name, metrics in names.items()
        }

    def _missing(
        self,
        image: ImageResult,
        records: Sequence[MapRecord],
        values: Sequence[object],
        judged: Mapping[int, object],
    ) -> Iterator[str]:
        if any(grid is None and record.state != "nonfinite" for record, grid in zip(records, values, strict=True)):
            yield NOT_SAVED
        if self.annotations is not None and image.size[0]:
            annotated = self.annotations.classes(image.path, image.root)
            if not annotated:
                yield NOT_ANNOTATED
            elif annotated > len(judged):
                yield NO_MAP if judged else NO_MAP_AT_ALL


def _of_two_classes(image: ImageResult, found: Sequence[Metrics]) -> dict[tuple[str, str, int], Metrics]:
    """Return what the whole maps of the first two classes tell together, by layer, method and the first class."""
    whole_maps: dict[tuple[str, str], list[tuple[MapRecord, Metrics]]] = defaultdict(list)
    for record, metrics in zip(image.manifest.maps, found, strict=True):
        if record.state != "nonfinite" and record.selection.is_whole:
            whole_maps[record.layer, record.method].append((record, metrics))
    pairs: dict[tuple[str, str, int], Metrics] = {}
    predicted = next((best.index for best in image.manifest.predictions), None)
    for kind, maps in whole_maps.items():
        by_class = {record.target.index: (record, metrics) for record, metrics in reversed(maps)}
        if len(maps) < 2 or len(by_class) < 2:
            continue
        (first, one), (second, other) = maps[0], next(m for m in maps if m[0].target.index != maps[0][0].target.index)
        told: Metrics = {}
        if (a := _centre(one)) and (b := _centre(other)):
            told["class_distance"] = class_distance(a, b)
        if first.target.index == predicted:
            told["blank_for_first"] = float(first.state == "blank" and second.state == "ok")
        pairs[*kind, first.target.index] = told
    return pairs


def _centre(metrics: Metrics) -> tuple[float, float] | None:
    x, y = metrics.get("centre_x"), metrics.get("centre_y")
    return None if x is None or y is None else (x, y)
