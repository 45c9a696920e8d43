"""The records of evaluation.json: `evaluate` writes them, `report` reads them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cam_cli.errors import UsageError
from cam_cli.evaluate.classification import ClassificationRecord
from cam_cli.results.files import read_regular
from cam_cli.results.layout import EVALUATION
from cam_cli.results.manifest import MapRecord, SelectionRecord


def finite(value: object) -> float | None:
    """Return a number that JSON has, and None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


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
    """The metrics of one map by name; None if one is not defined for it."""

    map: MapKey
    metrics: dict[str, Annotated[float | None, BeforeValidator(finite)]]


class Total(_Record):
    """The mean of a metric over the images, each by its first map that has it, with its 95% interval."""

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


class Evaluation(_Record):
    """What was measured of a run.

    what: the settings it was measured with. images: for each path the `MapMetrics` of its maps, checked when they are looked
    up. failed, blank: shares of the images and of the maps. classification: None where nobody said what is true.
    """

    schema_version: Literal[1] = 1
    what: dict[str, Any] = {}
    images: dict[str, list[Any]] = {}
    totals: tuple[Total, ...] = ()
    failed: float = 0.0
    blank: float = 0.0
    sanity: Sanity | None = None
    classification: ClassificationRecord | None = None

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound; of several layers and methods, the first one's means."""
        means = {t.metric: t.mean for t in reversed(self.totals)}
        right = self.classification.figures() if self.classification else {}
        return {"failed": self.failed, "blank": self.blank, **means, **right}

    def images_behind(self, figure: str, bound: float) -> list[str]:
        """Return in words the wrong images for which a bound of a figure is crossed."""
        return self.classification.images_behind(figure, bound) if self.classification else []

    def of(self, path: str, record: MapRecord) -> dict[str, float | None]:
        """Return the metrics of a map; none if it was not evaluated."""
        wanted = MapKey.of(record)
        for entry in self.images.get(path, ()):
            try:
                found = MapMetrics.model_validate(entry, strict=False)
            except ValidationError:
                continue
            if found.map == wanted:
                return found.metrics
        return {}


def read_evaluation(run: Path) -> Evaluation:
    """Read the evaluation.json of a run folder; without one, an evaluation of nothing. Raises UsageError if it is damaged."""
    path = run / EVALUATION
    try:
        return Evaluation.model_validate(from_json(read_regular(path)))
    except FileNotFoundError:
        return Evaluation()
    except (OSError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UsageError(f"'{path}' cannot be read ({why}); run `smoothcam evaluate` again, or remove it") from None
