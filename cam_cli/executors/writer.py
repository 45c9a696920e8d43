"""The files of an explained image: its maps in a staging folder, and the manifest that is written last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_cli.decoding.image import Decoded, DecodedImage
from cam_cli.executors.executor import Written
from cam_cli.images.find import ImageFile
from cam_cli.plan.recipe import Recipe
from cam_cli.results.manifest import ImageRecord, Manifest
from cam_cli.results.run_record import versions
from cam_cli.results.store import ResultStore
from cam_cli.text import printable


@dataclass(frozen=True)
class Explained:
    """An image that the engine is done with.

    seconds: its share of the engine's time. write: writes the files of its maps into the folder it is given, and returns what
    the manifest says of them.
    """

    found: ImageFile
    opened: Decoded
    image: DecodedImage
    targets: tuple[int, ...]
    seconds: float
    write: Callable[[Path], dict[str, Any]]


class Writer:
    """Writes images' files and manifests; for any thread, and any process that has the run folder before it."""

    def __init__(self, folder: ResultStore, recipe: Recipe) -> None:
        self._folder = folder
        self._recipe = recipe
        self._versions = versions()

    def write(self, work: Explained) -> Written:
        """Write all files of an explained image into a new staging folder, the manifest last, and send them.

        Raises:
            OSError: a file cannot be written. ImageError, SmoothcamError: it cannot be sent, or no file could be.
        """
        staged = self._folder.stage()
        started = time.perf_counter()
        results = work.write(staged)
        image = work.image
        timing = {"read": work.opened.seconds, "explain": work.seconds, "write": time.perf_counter() - started}
        manifest = self.manifest(
            ImageRecord(
                path=printable(work.found.relative),
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                notes=image.notes,
            ),
            work.targets,
            status="ok",
            timing={step: round(value, 6) for step, value in timing.items()},
            **results,
        )
        manifest.write(staged)
        self._folder.send(staged, work.found.relative)
        return Written(staged, manifest)

    def manifest(self, image: ImageRecord, targets: tuple[int, ...], **fields: Any) -> Manifest:
        """Return an image's manifest: what this run knows of any image, and the fields that are this one's own."""
        return Manifest(
            fingerprint=self._recipe.fingerprint(image.sha256, targets),
            image=image,
            model=self._recipe.model,
            settings=self._recipe.settings_for(targets),
            versions=self._versions,
            **fields,
        )
