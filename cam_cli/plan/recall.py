"""What the last run found out about its model and settings, so that the same run again need not load the model to know it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cam_cli.config import RunConfig
from cam_cli.models.labels import Labels, read_labels
from cam_cli.models.source import find_source
from cam_cli.plan.recipe import Recipe, digest_of
from cam_cli.plan.targets import read_targets
from cam_cli.results.files import to_json
from cam_cli.results.manifest import ENGINE_VERSION, ModelRecord
from cam_cli.results.run_record import RunRecord, versions
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.plan.plan import Plan


@dataclass(frozen=True)
class Recollection:
    """What a plan found out, as run.json keeps it.

    key: of all that the rest follows from (see `recall_key`). model, classes, settings: see `Recipe`. remarks: what the plan
    told the person.
    """

    key: str
    model: ModelRecord
    classes: int
    settings: Mapping[str, Any]
    remarks: tuple[str, ...]

    @property
    def digest(self) -> str:
        """One sha256 over the model and the settings."""
        return digest_of(self.model.sha256, self.settings)


def recollection_of(plan: Plan, config: RunConfig) -> Recollection:
    """Return what a plan found out."""
    recipe = plan.recipe
    return Recollection(recall_key(config), recipe.model, recipe.classes, recipe.settings, plan.remarks)


def recall_key(config: RunConfig) -> str:
    """Return a digest of everything that a plan is made from: the settings, the files of the model, the versions.

    Raises:
        UsageError: no bundled model has the layers. ModelError, ConfigError: a model's card is wrong.
    """
    source = find_source(config.model, config.layers, config.labels, config.weights)
    parts: dict[str, Any] = {
        "settings": config.result_settings(),
        "unsafe_lambda": config.unsafe_lambda,
        "source": source.identity(),
        "versions": versions(),
        "engine": ENGINE_VERSION,
    }
    if config.precision == "auto":
        parts["machine"] = _processor()  # which decides on the precision
    return hashlib.sha256(to_json(parts).encode()).hexdigest()


def recall(last_run: RunRecord | None, key: str) -> Recollection | None:
    """Return what the last run into this folder found out, if a plan would find the same; None if it might not."""
    if last_run is None or last_run.model is None or last_run.plan is None or last_run.plan.key != key:
        return None
    plan = last_run.plan
    return Recollection(key, last_run.model, plan.classes, last_run.settings, plan.remarks)


def recipe_of(found: Recollection, config: RunConfig, root: Location) -> Recipe:
    """Return the recipe that a plan would make.

    Raises:
        UsageError: the labels or targets cannot be read, or a target is no class of the model.
    """
    labels = find_source(config.model, config.layers, config.labels, config.weights).labels
    known = read_labels(labels) if labels else Labels()
    targets = read_targets(config.targets, config.targets_from, known, found.classes, root)
    return Recipe(found.model, found.classes, found.settings, targets)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
