"""The records of evaluation.json: `evaluate` writes them, `report` reads them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cam_cli.errors import UsageError
from cam_cli.evaluate.classification import ClassificationRecord
from cam_cli.results.layout import EVALUATION
from cam_cli.results.manifest import MapRecord, SelectionRecord, TargetRecord
from cam_cli.results.shard import Shard
from cam_cli.results.stores import result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable


def finite(value: object) -> float | None:
    """Return a number that JSON has, and None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


NO_LAYER = "none"
"""The layer of the totals of maps that are of no network."""

NOT_SAVED = "no saved map"
GONE = "file gone or changed"
NOT_ANNOTATED = "not annotated"
NO_MAP = "an annotated class without a map"
NO_MAP_AT_ALL = "no map of an annotated class"
MISSING: Final = {
    NOT_SAVED: "have a map without a raw file, of which nothing is measured; explain them again with --write raw",
    GONE: "are gone or have changed since the run, and are left out of what the model is needed for; explain them again",
    NOT_ANNOTATED: "have no annotation, and are left out of localisation",
    NO_MAP: "also show annotated classes that have no map of their own and are left out; explain these with --targets-from",
    NO_MAP_AT_ALL: "are annotated, but with classes that have no map, and are left out of localisation; explain these classes "
    "with --targets-from",
}
"""Why figures of an image are missing, and what to say of such images."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class MapKey(_Record):
    """Which map of an image; target: its class index."""

    layer: str
    method: str
    target: int
    selection: SelectionRecord

    @classmethod
    def of(cls, record: MapRecord) -> MapKey:
        """Return the key of a map in a manifest."""
        return cls(layer=record.layer, method=record.method, target=record.target.index, selection=record.selection)


class MapMetrics(_Record):
    """The metrics of one map by name; None if one is not defined for it.

    strategy: the `Strategy.number` of the image in the `ClassStrategies` of the map's target; None for a map that is in none.
    """

    map: MapKey
    metrics: dict[str, Annotated[float | None, BeforeValidator(finite)]]
    strategy: int | None = None


class Total(_Record):
    """The mean of a metric over the images, with its 95% interval.

    An image counts by its first map that has the metric; in localisation by the mean of its annotated classes, each by its own
    map. layer: `NO_LAYER` for the maps that a method has to beat, a centred Gaussian and a flat one.
    """

    layer: str
    method: str
    metric: str
    mean: float
    low: float
    high: float
    images: int


class Survival(_Record):
    """What the maps of a method at a layer keep of themselves while the network is randomised.

    stages: the mean rank correlation over images and targets, -1..1, at each of `Sanity.stages`. images: for each image that of
    each target at the last stage. None if a map has one value only. survives: the maps hardly depend on what was learned.
    """

    layer: str
    method: str
    stages: tuple[float | None, ...]
    images: tuple[dict[int, float | None], ...] = Field((), alias="photos")
    survives: bool


class Sanity(_Record):
    """The check by a randomised network. stages: the lowest layer randomised at each; the last one is the whole network."""

    stages: tuple[str, ...]
    survivals: tuple[Survival, ...]


class Strategy(_Record):
    """A way of looking: images of one class whose maps are alike.

    number: 0 is the largest of its class. size: how many images. right, wrong: how many of them are known to be classified so.
    mean_map: the mean of their maps over the network's input, row by row from the top, 0..1 of its peak. likeness: how like
    their maps are to it, 0..1 (the mean Bhattacharyya coefficient). gap: which
    share of the way from them to the other images of the class is empty, at most 1; None if there are no others. odd: it is why
    its class is flagged. typical, outlying: paths of the images whose maps are nearest to the mean map, and farthest from it,
    those first.
    """

    number: int
    size: int
    right: int = 0
    wrong: int = 0
    accuracy: float | None = None
    mean_map: tuple[tuple[float, ...], ...]
    likeness: float
    gap: float | None = None
    odd: bool = False
    typical: tuple[str, ...] = ()
    outlying: tuple[str, ...] = ()


class ClassStrategies(_Record):
    """The ways of looking at the images of one class.

    target: the class that the maps explain; None for all classes together. images: how many have a map that is not blank.
    blank: how many have a blank one, which is in no way of looking. eigenvalues: the smallest of the normalised graph
    Laplacian, 0..2. eigengap: the widest gap between two that follow each other, which says how many ways there are; 0 for
    one. p_value: how often a class that looks at one spot anywhere has a way with as wide a gap; None where no gap is clear.
    flagged: one of the ways is odd.
    """

    target: TargetRecord | None
    images: int
    blank: int = 0
    right: int = 0
    wrong: int = 0
    accuracy: float | None = None
    eigenvalues: tuple[float, ...] = ()
    eigengap: float = 0.0
    p_value: float | None = None
    flagged: bool = False
    mean_map: tuple[tuple[float, ...], ...] = ()
    strategies: tuple[Strategy, ...] = ()


class StrategyAnalysis(_Record):
    """The ways of looking of one layer and method: Lapuschkin et al. 2019, spectral relevance analysis.

    classes: those that were analysed, flagged ones first, then by the widest gap of a way. together: all images, whatever their
    class, in two ways at least. fewest: how many images a class needs to be analysed. left_out: how many classes have fewer.
    """

    layer: str
    method: str
    fewest: int
    left_out: int = 0
    classes: tuple[ClassStrategies, ...] = ()
    together: ClassStrategies | None = None


class Evaluation(_Record):
    """What was measured of a run.

    what: the settings it was measured with. images: for each path the `MapMetrics` of its maps, checked when they are looked
    up. failed, blank: shares of the images and of the maps. counted: how many images there are. missing: for each reason out of
    `MISSING`, how many images lack figures. classification: None where nobody said what is true. strategies: for each layer and
    method, if asked for.
    """

    schema_version: Literal[1] = 1
    what: dict[str, Any] = {}
    images: dict[str, list[Any]] = {}
    totals: tuple[Total, ...] = ()
    failed: float = 0.0
    blank: float = 0.0
    counted: int = 0
    missing: dict[str, int] = {}
    sanity: Sanity | None = None
    classification: ClassificationRecord | None = None
    strategies: tuple[StrategyAnalysis, ...] = ()

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound; of several layers and methods, the first one's means."""
        means = {total.metric: total.mean for total in reversed(self.totals) if total.layer != NO_LAYER}
        right = self.classification.figures() if self.classification else {}
        return {"failed": self.failed, "blank": self.blank, **means, **right}

    def images_behind(self, figure: str, bound: float) -> list[str]:
        """Return in words the wrong images for which a bound of a figure is crossed."""
        return self.classification.images_behind(figure, bound) if self.classification else []

    def remarks(self) -> list[str]:
        """Return a line for each reason why figures of some images are missing."""
        return [f"{n:,} of {self.counted:,} images {MISSING[why]}" for why, n in self.missing.items() if why in MISSING]

    def of(self, path: str, record: MapRecord) -> dict[str, float | None]:
        """Return the metrics of a map; none if it was not evaluated."""
        found = self._entry(path, record)
        return found.metrics if found else {}

    def strategy_of(self, path: str, record: MapRecord) -> int | None:
        """Return the `Strategy.number` of a map in its class; None if it has none."""
        found = self._entry(path, record)
        return found.strategy if found else None

    def _entry(self, path: str, record: MapRecord) -> MapMetrics | None:
        wanted = MapKey.of(record)
        for entry in self.images.get(path, ()):
            try:
                found = MapMetrics.model_validate(entry, strict=False)
            except ValidationError:
                continue
            if found.map == wanted:
                return found
        return None


def read_evaluation(run: Location) -> Evaluation:
    """Read the evaluation.json of a run; without one, an evaluation of nothing. Raises UsageError if it is damaged."""
    try:
        return Evaluation.model_validate(from_json(result_store_at(run, Shard()).read_own(EVALUATION)))
    except FileNotFoundError:
        return Evaluation()
    except (OSError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UsageError(
            f"'{printable(run)}/{EVALUATION}' cannot be read ({why}); run `smoothcam evaluate` again, or remove it"
        ) from None
