"""What decides the result of every image of a run: model, settings and targets; it needs no TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.machine import gpus, processor
from cam_cli.methods import revisions
from cam_cli.models.labels import Labels, read_labels
from cam_cli.models.source import ModelSource, find_source
from cam_cli.plan.targets import Targets, read_targets
from cam_cli.results.files import to_json
from cam_cli.results.manifest import (
    DRAWING_VERSION,
    ENGINE_VERSION,
    ImageRecord,
    Manifest,
    ModelRecord,
    Prediction,
    TruthRecord,
)
from cam_cli.results.run_record import RunRecord, versions
from cam_cli.results.truth import NOT_TOLD, ImageTruth, Truths, judge, read_truths
from cam_cli.storage.location import Location


@dataclass(frozen=True)
class PlanInputs:
    """Everything that a plan follows from.

    source: the files of the model, hashed. key: a digest of the settings, these files and the versions; the same key gives
    the same plan. network_key: a digest of the network as it is opened, and of the versions, without settings such as the
    seed; the same key gives the same graph of a pass.
    """

    config: RunConfig
    root: Location
    source: ModelSource
    key: str
    network_key: str

    @classmethod
    def of(cls, config: RunConfig, root: Location) -> PlanInputs:
        """Find and hash the files of the model that the settings name; raises UsageError, ModelError or ConfigError."""
        source = find_source(config.model, config.layers, config.labels, config.weights)
        identity = source.identity()
        code = {"unsafe_lambda": config.unsafe_lambda, "versions": versions(), "engine": ENGINE_VERSION}
        parts: dict[str, Any] = {"settings": config.result_settings(), "source": identity, **code}
        if config.precision == "auto" or config.runtime != "tensorflow":
            parts["machine"] = [processor(), gpus(), config.device]  # which decide on the precision and the runtime
            parts["runtime"] = config.runtime
        opened = {key: value for key, value in config.model_settings().items() if key not in ("labels", "weights")}
        network = {
            "model": identity["model"] or identity["chosen"],
            "weights": identity["weights"],
            "card": source.card.model_dump_json(exclude={"labels"}) if source.card else None,
            "settings": opened,
            **code,
        }
        return cls(config, root, source, _digest(parts), _digest(network))

    def labels(self, classes: int) -> Labels:
        """Read the names of a model's classes; raises UsageError if their file cannot be read."""
        found = read_labels(self.source.labels) if self.source.labels else Labels()
        return Labels() if self.source.labels_beside and len(found.entries) != classes else found


@dataclass(frozen=True)
class Plan:
    """What a run explains, with everything decided that its settings left open.

    key: of the inputs that the plan follows from. classes: how many the model has. settings: those that decide a result,
    without the targets, as a manifest has them. remarks: what the user is told before the run starts. truths: the true classes
    of the images; None where nobody asked for them.
    """

    key: str
    model: ModelRecord
    classes: int
    settings: Mapping[str, Any]
    remarks: tuple[str, ...]
    targets: Targets
    truths: Truths | None = None
    _digests: dict[tuple[tuple[int, ...], ImageTruth], str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def precision(self) -> str:
        """What the network's products are computed in: `float32` or `bfloat16`."""
        return str(self.settings["precision"])

    @property
    def digest(self) -> str:
        """One sha256 over the model and the settings."""
        return digest_of(self.model.sha256, self.settings)

    def settings_for(self, targets: tuple[int, ...]) -> dict[str, Any]:
        """Return the settings as the manifest of an image with these targets has them."""
        return {**self.settings, "targets": list(targets)} if targets else dict(self.settings)

    def truth_of(self, relative: PurePosixPath) -> ImageTruth:
        """Return what is known of the true classes of an image, by its path relative to the root."""
        return NOT_TOLD if self.truths is None else self.truths.of(relative)

    def fingerprint(self, image_sha256: str | None, targets: tuple[int, ...], truth: ImageTruth = NOT_TOLD) -> str:
        """Return one sha256 over everything that decides the result of an image; None: an image that cannot be read."""
        asked = targets, truth
        if asked not in self._digests:
            self._digests[asked] = digest_of(self.model.sha256, self.settings_for(targets) | truth.settings())
        return hashlib.sha256(f"{image_sha256}\n{self._digests[asked]}".encode()).hexdigest()

    def manifest(
        self,
        image: ImageRecord,
        targets: tuple[int, ...],
        truth: ImageTruth = NOT_TOLD,
        true_classes: Sequence[TruthRecord] = (),
        predictions: tuple[Prediction, ...] = (),
        **fields: Any,
    ) -> Manifest:
        """Return the manifest of an image: what the plan says of any image, and the fields of this one.

        true_classes: the records of the classes of `truth`, with what the network says of them.
        """
        judged = judge(truth, true_classes, predictions, multi_label=self.model.multi_label)
        return Manifest(
            drawing_version=DRAWING_VERSION,
            fingerprint=self.fingerprint(image.sha256, targets, truth),
            image=image,
            model=self.model,
            settings=self.settings_for(targets),
            predictions=predictions,
            versions=versions(),
            **vars(judged),
            **fields,
        )


def plan_from(last_run: RunRecord | None, inputs: PlanInputs) -> Plan | None:
    """Return the plan that run.json keeps; None if these inputs may lead to another plan. Raises as `targets_for` does."""
    if last_run is None or last_run.plan is None or last_run.model is None or last_run.plan.key != inputs.key:
        return None
    classes = last_run.plan.classes
    targets, truths = targets_for(inputs, inputs.labels(classes), classes)
    return Plan(inputs.key, last_run.model, classes, last_run.settings, last_run.plan.remarks, targets, truths)


def targets_for(inputs: PlanInputs, labels: Labels, classes: int) -> tuple[Targets, Truths | None]:
    """Resolve the targets and the true classes that the settings name.

    Raises UsageError for an unknown class or a file that cannot be read.
    """
    config, root = inputs.config, inputs.root
    source = config.truth_source
    truths = None if source is None else read_truths(source, labels, classes, root.name)
    most_true = truths.most if truths else 0
    return read_targets(config.targets, config.targets_from, labels, classes, root, most_true), truths


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(parts).encode()).hexdigest()


def digest_of(model_sha256: str, settings: Mapping[str, Any]) -> str:
    """Return one sha256 over a model, the settings in any order, and the versions of the engine and its methods."""
    parts: dict[str, Any] = {"model": model_sha256, "settings": dict(settings), "engine": ENGINE_VERSION}
    if changed := revisions(settings.get("methods", ())):
        parts["revisions"] = changed
    return _digest(parts)
