"""Everything but the photo that decides an image's result, and the fingerprint that tells results apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cam_cli.plan.targets import Targets
from cam_cli.results.files import to_json
from cam_cli.results.manifest import ENGINE_VERSION, ModelRecord


@dataclass(frozen=True)
class Recipe:
    """A model, the settings and the targets.

    classes: how many the model has. settings: those that decide a result, all but the targets, as they stand in a manifest.
    """

    model: ModelRecord
    classes: int
    settings: Mapping[str, Any]
    targets: Targets
    _digests: dict[tuple[int, ...], str] = field(default_factory=dict, repr=False, compare=False)

    def targets_of(self, relative: PurePosixPath) -> tuple[int, ...]:
        """Return an image's targets, as class indices or -r for rank r.

        Raises:
            ImageError: stage `target`; they cannot be told.
        """
        return self.targets.of(relative)

    def settings_for(self, targets: tuple[int, ...]) -> dict[str, Any]:
        """Return the settings as an image with these targets records them; none are known of one that failed before."""
        return {**self.settings, "targets": list(targets)} if targets else dict(self.settings)

    def fingerprint(self, image_sha256: str | None, targets: tuple[int, ...]) -> str:
        """Return one sha256 over everything that decides an image's result; of a photo that cannot be read, over the rest."""
        if targets not in self._digests:
            self._digests[targets] = digest_of(self.model.sha256, self.settings_for(targets))
        return hashlib.sha256(f"{image_sha256}\n{self._digests[targets]}".encode()).hexdigest()


def digest_of(model_sha256: str, settings: Mapping[str, Any]) -> str:
    """Return one sha256 over a model and the settings, whatever their order, and over the engine's version."""
    parts = {"model": model_sha256, "settings": dict(settings), "engine": ENGINE_VERSION}
    return hashlib.sha256(to_json(parts).encode()).hexdigest()
