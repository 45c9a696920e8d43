"""The page's data of each image: a short row to sort and filter by, and a detail that is read when somebody looks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cam_cli.decoding.image import Decoded
from cam_cli.decoding.pool import DecoderPool
from cam_cli.evaluate.records import Evaluation, StrategyAnalysis, finite
from cam_cli.metrics.signals import NOISE_METRICS
from cam_cli.metrics.table import METRICS, SUSPICIOUS
from cam_cli.report.details import WORRIES, Details
from cam_cli.report.numbering import ClassNumbering
from cam_cli.report.thumbnails import Detail
from cam_cli.report.truth import TruthTotals, row_of_truth
from cam_cli.results.manifest import Manifest, MapRecord
from cam_cli.results.reader import ImageResult, RunReader

_NOT_SHOWN: Final = {"eigenvalues", "mean_map"}
"""Of the ways of looking of a class."""


@dataclass(frozen=True)
class Entry:
    """An image on the page.

    row: [path, index in WORRIES, (class, probability) or None, maps, truth if known]; classes are numbers. A map is [kind,
    index in WORRIES, target's class, metrics in the order of the columns, numbers of its maps in the detail or None, way of
    looking], without what is None at its end. detail: everything else, see `Details`.
    """

    row: list[Any]
    detail: dict[str, Any]


class Columns:
    """The metrics that maps have, each with a column of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}

    def values(self, metrics: dict[str, float | None]) -> list[float | None]:
        """Return the metrics of a map in the order of the columns, to six digits."""
        for name in metrics:
            self._numbers.setdefault(name, len(self._numbers))
        values = (metrics.get(name) for name in self._numbers)
        return [None if value is None else float(f"{value:.6g}") for value in values]

    def closing(self) -> dict[str, Any]:
        """Return the names of the columns, and what they are called."""
        titles = {name: METRICS[name].title for name in METRICS if METRICS[name].title}
        return {"columns": list(self._numbers), "titles": titles, "suspicious": SUSPICIOUS, "worries": WORRIES}


class Gathering:
    """Goes through a run once, an image at a time; `closing` returns afterwards what the numbers in the rows refer to.

    folder: where the page will be; its links start there. detail: how much of each image is on the page.
    """

    def __init__(self, run: RunReader, evaluation: Evaluation, folder: Path, detail: Detail) -> None:
        self._run = run
        self._evaluation = evaluation
        self._maps = detail.maps
        self._classes = ClassNumbering()
        self._details = Details(folder, detail, self._classes)
        self._columns = Columns([metric.name for metric in NOISE_METRICS])
        self._truth = TruthTotals()
        self.shown = 0

    def entries(self, decoders: DecoderPool, max_pixels: int, on_image: Callable[[], None]) -> Iterator[Entry]:
        """Yield the images in the order of their paths, decoded up to `max_pixels`; call `on_image` after each."""
        how = self._details.decode_settings(max_pixels)
        for image, decoded in decoders.decode((image.decode_job for image in self._run.images()), how):
            yield self._entry(image, decoded)
            self.shown += 1
            on_image()

    def closing(self) -> dict[str, Any]:
        """Return the columns, and the kinds of maps, settings and classes that rows and details refer to by number."""
        found = self._evaluation.model_dump(
            mode="json", include={"totals", "sanity"}, exclude={"sanity": {"survivals": {"__all__": {"images"}}}}
        )
        return (
            found
            | self._columns.closing()
            | self._truth.closing()
            | {
                "kinds": self._details.kinds.values(),
                "settings": self._details.settings.values(),
                "classes": self._classes.values(),
                "strategies": [self._strategies(analysis) for analysis in self._evaluation.strategies],
                "evaluation": self._evaluation.what,
                "measured": self._measured(),
                "images": self.shown,
            }
        )

    def _entry(self, image: ImageResult, decoded: Decoded) -> Entry:
        manifest = image.manifest
        kinds = self._details.kinds_of(image)
        maps = [self._map(image, record, kind) for record, kind in zip(manifest.maps, kinds, strict=True)]
        ok = manifest.status == "ok"
        worst = min((one[1] for one in maps), default=len(WORRIES) - 1) if ok else 0
        row = [image.path, worst, best_of(manifest, self._classes), maps]
        if truth := row_of_truth(manifest, self._classes):
            row.append(truth)
        self._truth.add(self.shown, manifest, self._classes)
        first = _shown_first(manifest, [one[1] for one in maps], self._maps)
        return Entry(
            row, self._details.of_image(image, decoded) | {"maps": self._details.of_maps(image, decoded, first)}
        )

    def _map(self, image: ImageResult, record: MapRecord, kind: int) -> list[Any]:
        own = {metric.name: finite(getattr(record, metric.name)) for metric in NOISE_METRICS}
        metrics = own | self._evaluation.of(image.path, record)
        row = [kind, worry_of(record, metrics), self._classes.number(record.target), self._columns.values(metrics)]
        way = self._evaluation.strategy_of(image.path, record)
        return row if way is None else [*row, None, way]

    def _measured(self) -> dict[str, Any]:
        """Return what `evaluate` told of right and wrong beyond what the rows tell."""
        found = self._evaluation.classification
        return found.model_dump(mode="json", include={"top5", "calibration_error"}) if found else {}

    def _strategies(self, analysis: StrategyAnalysis) -> dict[str, Any]:
        """Return the ways of looking, with each class under the name that the page's address has for it."""
        told = analysis.model_dump(mode="json", exclude={"classes": {"__all__": _NOT_SHOWN}, "together": _NOT_SHOWN})
        for one, record in zip(told["classes"], analysis.classes, strict=True):
            if record.target is not None:
                one["target"]["key"] = self._classes.key(record.target)
        return told


def worry_of(record: MapRecord, metrics: dict[str, float | None]) -> int:
    """Return the index in WORRIES of what is wrong with a map."""
    suspicious = any((metrics.get(name) or 0) > most for name, most in SUSPICIOUS.items())
    return WORRIES.index("suspicious" if suspicious and record.state == "ok" else record.state)


def best_of(manifest: Manifest, classes: ClassNumbering) -> list[Any] | None:
    """Return the number and the probability of the most likely class; None without predictions."""
    return next(([classes.number(best), finite(best.probability)] for best in manifest.predictions), None)


def _shown_first(manifest: Manifest, worries: list[int], most: int) -> list[int]:
    """Return which maps have a small picture: of a wrong image those of the predicted and true class, then the worst."""
    by_worry = sorted(range(len(worries)), key=lambda number: worries[number])
    if manifest.correct is not False:
        return by_worry[:most]
    pair = {manifest.predictions[0].index, *(one.index for one in (manifest.truth, *manifest.also_true) if one)}
    wanted = [number for number in by_worry if manifest.maps[number].target.index in pair]
    others = [number for number in by_worry if number not in wanted]
    return [*wanted, *others][: max(most, 2)]
