"""One run, evaluated: metrics of every map, and their means for each layer and method."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cam_cli.errors import UsageError
from cam_cli.evaluate.annotations import AnnotationList, MaskFolder, read_annotations
from cam_cli.evaluate.bootstrap import interval
from cam_cli.evaluate.classification import TruthCollector
from cam_cli.evaluate.records import Evaluation, MapKey, MapMetrics, Sanity, Total
from cam_cli.metrics.localisation import localise
from cam_cli.metrics.signals import NOISE_METRICS, class_distance, signals
from cam_cli.render.size import picture_size
from cam_cli.results.files import to_json
from cam_cli.results.layout import EVALUATION
from cam_cli.results.reader import ImageResult, RunReader

CANVAS = 256
"""Signals are measured on the map laid over its image, whose longer side then has so many pixels."""

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
) -> Evaluation:
    """Measure every map of a run, an image at a time, and write evaluation.json into its folder when all went well.

    What stays in memory is a number for each metric of an image.

    Args:
        annotations: where the objects are, see `read_annotations`.
        model_metrics: further metrics.
        what: the settings of the further metrics, for the record.
        sanity: the check by a randomised network, for the record.
        on_progress: called with the number of images done.

    Returns:
        What was written, without the images.

    Raises:
        UsageError: annotations cannot be read, or fit no image of the run; the run has no images; the file cannot be written.
    """
    root = run.root if isinstance(run.root, Path) else None
    known = read_annotations(annotations, root) if annotations is not None else None
    images = model_metrics(run.images()) if model_metrics else ((image, {}) for image in run.images())
    truth = TruthCollector(multi_label=run.multi_label)
    sums = _Sums()
    try:
        with run.writing(EVALUATION) as stream:
            stream.write(b'{"images":{')
            comma = ""
            for number, (image, further) in enumerate(truth.seen(images), 1):
                measured = _measured(image, known, further)
                sums.add(image, measured)
                if image.manifest.status == "ok":
                    entry = to_json({image.path: [one.model_dump() for one in measured]})
                    stream.write(f"{comma}\n{entry[1:-1]}".encode())
                    comma = ","
                on_progress(number)
            if not sums.images:
                raise UsageError(f"'{run.folder}' has no finished image yet")
            if annotations is not None and not any(metric == "pointing_game" for _, _, metric in sums.values):
                raise UsageError(
                    f"'{annotations}' has no object for any map of '{run.folder}': images are matched by path or file "
                    "name, and classes by index, WordNet id or name"
                )
            found = sums.evaluation({"annotations": annotations and str(annotations), **(what or {})}, sanity)
            found = found.model_copy(update={"classification": truth.record()})
            absent = {name for name in ("sanity", "classification") if getattr(found, name) is None}
            rest = found.model_dump(by_alias=True, exclude={"images", *absent})
            stream.write(f"}},\n{to_json(rest)[1:]}\n".encode())
    except OSError as error:
        raise UsageError(f"{run.shown(EVALUATION)} cannot be written: {error.strerror or error}") from error
    return found


class _Sums:
    """What was measured so far. values: by layer, method and metric, one value an image."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], array[float]] = defaultdict(lambda: array("d"))
        self.images = self._failed = self._maps = self._blank = 0

    def add(self, image: ImageResult, maps: Sequence[MapMetrics]) -> None:
        self.images += 1
        self._failed += image.manifest.status == "failed"
        self._maps += len(maps)
        self._blank += sum(record.state == "blank" for record in image.manifest.maps)
        firsts: dict[tuple[str, str, str], float] = {}
        for one in maps:
            for metric, value in one.metrics.items():
                if value is not None:
                    firsts.setdefault((one.map.layer, one.map.method, metric), value)
        for key, value in firsts.items():
            self.values[key].append(value)

    def evaluation(self, what: Mapping[str, Any], sanity: Sanity | None) -> Evaluation:
        means = {key: interval(values) for key, values in self.values.items()}
        totals = tuple(
            Total(layer=layer, method=method, metric=name, mean=i.mean, low=i.low, high=i.high, images=i.count)
            for (layer, method, name), i in means.items()
        )
        failed, blank = self._failed / self.images, self._blank / max(1, self._maps)
        return Evaluation(what=dict(what), totals=totals, failed=failed, blank=blank, sanity=sanity)


def _measured(
    image: ImageResult, annotations: AnnotationList | MaskFolder | None, further: Mapping[int, Metrics]
) -> Sequence[MapMetrics]:
    records = image.manifest.maps
    values = [image.values(record) if record.state != "nonfinite" else None for record in records]
    found: list[Metrics] = [
        {metric.name: getattr(record, metric.name) for metric in NOISE_METRICS} for record in records
    ]
    for record, metrics, grid in zip(records, found, values, strict=True):
        if grid is not None:
            metrics |= signals(grid, image.upsampled(grid, record, picture_size(*image.size, CANVAS)))
    distances = _class_distances(image, found)
    for number, (record, metrics, grid) in enumerate(zip(records, found, values, strict=True)):
        if grid is not None:
            distance = distances.get((record.layer, record.method, record.target.index))
            metrics |= {} if distance is None else {"class_distance": distance}
            masks = annotations.instances(image.path, image.size, record.target) if annotations else None
            metrics |= localise(image.upsampled(grid, record), masks) if masks else {}
            metrics |= further.get(number, {})
    return [MapMetrics(map=MapKey.of(r), metrics=metrics) for r, metrics in zip(records, found, strict=True)]


def _class_distances(image: ImageResult, found: Sequence[Metrics]) -> dict[tuple[str, str, int], float]:
    """Return how far apart the whole maps of the first two classes lie, by layer, method and the first class."""
    centres = defaultdict(list)
    for record, metrics in zip(image.manifest.maps, found, strict=True):
        x, y = metrics.get("centre_x"), metrics.get("centre_y")
        if record.state == "ok" and record.selection.is_whole and x is not None and y is not None:
            centres[record.layer, record.method].append((record.target.index, (x, y)))
    return {
        (*kind, maps[0][0]): class_distance(maps[0][1], maps[1][1]) for kind, maps in centres.items() if len(maps) > 1
    }
