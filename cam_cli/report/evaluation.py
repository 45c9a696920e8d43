"""What `smoothcam evaluate` found out about a run, looked up map by map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cam_cli.errors import UsageError
from cam_cli.results.files import read_regular
from cam_cli.results.manifest import MapRecord, SelectionRecord


class _Which(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    layer: str
    method: str
    target: int
    selection: SelectionRecord


class Total(BaseModel):
    """A metric's mean over the images, with its 95% interval; as in the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layer: str
    method: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    images: int


class Survival(BaseModel):
    """What a method's maps keep of themselves while the network is randomised, stage by stage; as in the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layer: str
    method: str
    stages: tuple[float | None, ...]
    survives: bool


class Sanity(BaseModel):
    """The check by a randomised network. stages: the lowest layer randomised at each; as in the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stages: tuple[str, ...]
    survivals: tuple[Survival, ...]


class _Header(BaseModel):
    what: dict[str, Any] = {}
    images: dict[str, list[dict[str, Any]]] = Field({}, description="checked when an image is looked up")
    totals: tuple[Total, ...] = ()
    sanity: Sanity | None = None


class Evaluation:
    """The metrics of every map of a run; of a run that was not evaluated, none."""

    def __init__(
        self,
        images: Mapping[str, list[dict[str, Any]]] | None = None,
        totals: tuple[Total, ...] = (),
        what: Mapping[str, Any] | None = None,
        sanity: Sanity | None = None,
    ) -> None:
        self._images = images or {}
        self.totals = totals
        self.sanity = sanity
        self.what = what or {}

    def of(self, path: str, record: MapRecord) -> dict[str, float | None]:
        """Return a map's metrics by name, finite or None; nothing where the map was not evaluated."""
        wanted = _Which(
            layer=record.layer, method=record.method, target=record.target.index, selection=record.selection
        )
        for entry in self._images.get(path, ()):
            try:
                found = _Which.model_validate(entry["map"], strict=False)
                metrics = entry["metrics"].items()
            except (KeyError, AttributeError, ValidationError):
                continue
            if found == wanted:
                return {str(name): finite(value) for name, value in metrics}
        return {}


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation.json; one that is not there is an evaluation of nothing.

    Raises:
        UsageError: it is there and cannot be understood.
    """
    try:
        header = _Header.model_validate(from_json(read_regular(path)))
    except FileNotFoundError:
        return Evaluation()
    except (OSError, ValueError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UsageError(f"'{path}' cannot be read ({why}); run `smoothcam evaluate` again, or remove it") from None
    return Evaluation(header.images, header.totals, header.what, header.sanity)


def finite(value: object) -> float | None:
    """Return a number that JSON has, and None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
