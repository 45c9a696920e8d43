"""The record of a run, as run.json holds it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import from_json

from cam_cli.metrics.classification import Share
from cam_cli.results.files import to_json
from cam_cli.results.manifest import ModelRecord
from cam_cli.results.shard import Shard
from cam_cli.version import __version__

_READING = {"reading": True}
_ONLY_AT_THE_END = ("finished", "totals")
_IN_EVERY_VERSION = {"schema_version", "root", "settings"}


class _Record(BaseModel):
    """A frozen record; when it is read, a field that is missing or has a wrong value takes its default."""

    model_config = ConfigDict(frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _default_if_wrong(cls, value: Any, check: Callable[[Any], Any], info: ValidationInfo) -> Any:
        try:
            return check(value)
        except ValidationError:
            if info.context is not _READING or info.field_name is None:
                raise
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)


class ShareRecord(_Record):
    """A share of `images` images, 0..1, with the ends of its 95% interval (Wilson 1927)."""

    share: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, share: Share) -> ShareRecord:
        """Return the record of a share."""
        return cls(share=share.value, low=share.low, high=share.high, images=share.count)


class Totals(_Record):
    """What became of the images of a run.

    right, wrong: images whose true class is known. unknown_truth: images whose folder or file names no class of the model.
    top1, top5: the shares of the known ones whose true class is the most likely one, or one of the five most likely; None
    without known ones, and top5 for a model of few classes or of several labels.

    outside_shard: images that belong to other shards. skipped: finished before. maps, blank_maps, nonfinite_maps: of all images
    that are not failed. unreadable_folders: folders that could not be listed. left_out: files that look like images and were
    left out of folders, by ending.
    """

    images: int = 0
    outside_shard: int = 0
    explained: int = 0
    skipped: int = 0
    failed: int = 0
    unreadable_folders: int = 0
    left_out: dict[str, int] = {}
    maps: int = 0
    blank_maps: int = 0
    nonfinite_maps: int = 0
    right: int = 0
    wrong: int = 0
    unknown_truth: int = 0
    top1: ShareRecord | None = None
    top5: ShareRecord | None = None
    exit_code: int = 0


class PlanRecord(_Record):
    """What was found out about the model, for the next run; `key` is of the inputs, `remarks` are what the user was told."""

    key: str = ""
    classes: int = 0
    remarks: tuple[str, ...] = ()


class RunRecord(_Record):
    """`run.json`: how a run was started, and how it ended.

    root: the folder that paths of images are relative to, and paths: what was asked for, both as `printable` writes them.
    earlier_roots: those of earlier runs into the same folder; if there are any, each image's own one counts.
    cwd: the working directory. config: every setting; origin: where each came from. versions: of the packages that compute.
    shard: None for a run of all images. started, finished: ISO 8601. model, settings: what decides the results, as in every
    manifest. finished and totals are None while the run goes on.
    """

    schema_version: int = 1
    root: str = ""
    earlier_roots: tuple[str, ...] = ()
    cwd: str = "."
    paths: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    origin: dict[str, str] = {}
    versions: dict[str, str] = {}
    shard: Shard | None = None
    host: str = ""
    pid: int = 0
    started: str = ""
    finished: str | None = None
    state: Literal["running", "stopped", "finished"] | None = None
    model: ModelRecord | None = None
    settings: dict[str, Any] = {}
    plan: PlanRecord | None = None
    totals: Totals | None = None

    @classmethod
    def from_json(cls, data: bytes) -> RunRecord:
        """Read a run.json, also of another version; raises ValueError if it is not a JSON object."""
        value = from_json(data)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        return cls.model_validate(value, context=_READING)

    def to_json(self) -> bytes:
        """Return the bytes of run.json."""
        absent = {name for name in _ONLY_AT_THE_END if getattr(self, name) is None}
        absent |= set() if self.earlier_roots else {"earlier_roots"}
        return f"{to_json(self.model_dump(exclude=absent), indent=1)}\n".encode()

    @property
    def is_of_a_run(self) -> bool:
        """Whether a run wrote it, and not another tool that calls its file run.json too."""
        return self.model_fields_set >= _IN_EVERY_VERSION

    @property
    def start(self) -> datetime | None:
        """When the run started; None where that is unknown."""
        return _time(self.started)

    @property
    def seconds(self) -> float | None:
        """How long the run took; None where that is unknown."""
        start, end = self.start, _time(self.finished)
        return (end - start).total_seconds() if start and end else None


def _time(text: str | None) -> datetime | None:
    with suppress(ValueError):
        time = datetime.fromisoformat(text or "")
        return time if time.tzinfo else None
    return None


@cache
def versions() -> dict[str, str]:
    """Return the versions of smoothcam, Python and the packages that compute, without importing them."""
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy", "pillow")}
    with suppress(PackageNotFoundError):
        packages["openvino"] = version("openvino")
    return {"smoothcam": __version__, "python": platform.python_version(), **packages}
