"""What becomes of an image, on the disk, in the index and before the audience, in this order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cam_cli.errors import ImageError
from cam_cli.images.find import Found
from cam_cli.runs.audience import Audience
from cam_cli.runs.files import printable
from cam_cli.runs.index import Index
from cam_cli.runs.manifest import Failure, ImageRecord, Manifest, files_of
from cam_cli.runs.outcome import Outcome
from cam_cli.runs.output import Output, Rows, Stamp
from cam_cli.runs.prepare import Opened, Prepared
from cam_cli.runs.recipe import Recipe
from cam_cli.runs.versions import versions


@dataclass(frozen=True)
class Explained:
    """An image that the engine is done with.

    seconds: its share of the engine's time. write: writes the files of its maps into the folder it is given, and returns what
    the manifest says of them.
    """

    found: Found
    opened: Opened
    image: Prepared
    targets: tuple[int, ...]
    seconds: float
    write: Callable[[Path], dict[str, Any]]


class Recorder:
    """Records images: a folder whose manifest was written last, then a row in the index, then a word to the audience."""

    def __init__(
        self, folder: Output, index: Index, rows: Rows, recipe: Recipe, audience: Audience, outcome: Outcome
    ) -> None:
        self._folder = folder
        self._index = index
        self._rows = rows
        self._recipe = recipe
        self._audience = audience
        self._outcome = outcome
        self._versions = versions()

    @property
    def writers(self) -> int:
        """How many threads may `write` side by side."""
        return self._folder.writers

    def stage(self) -> Path:
        """Return an empty folder for an image's files.

        Raises:
            SmoothcamError: the output folder cannot be written to.
        """
        return self._folder.stage()

    def write(self, work: Explained, staged: Path) -> Manifest:
        """Write all files of an explained image into a staged folder, the manifest last, and send them; for any thread.

        Raises:
            OSError: a file cannot be written. ImageError, SmoothcamError: it cannot be sent.
        """
        started = time.perf_counter()
        results = work.write(staged)
        image = work.image
        timing = {"read": work.opened.seconds, "explain": work.seconds, "write": time.perf_counter() - started}
        manifest = self._manifest(
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
        return manifest

    def explained(self, work: Explained, staged: Path, manifest: Callable[[], Manifest]) -> None:
        """Record an image that was explained.

        Args:
            manifest: returns what `write` did, or raises what it raised.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        earlier = self._made_before(work.found)
        try:
            try:
                written = manifest()
                modified = self._folder.publish(staged, work.found.relative, earlier)
            except FileNotFoundError:  # somebody has removed the staging folder
                staged = self.stage()
                written = self.write(work, staged)
                modified = self._folder.publish(staged, work.found.relative, earlier)
        except ImageError as error:
            failure = Failure(stage=error.stage, type=type(error).__name__, message=str(error))
            self.failed(work.found, work.opened, work.targets, failure)
        except OSError as error:
            raise self._folder.stopped_by(error) from error
        else:
            self._finish(written, work.opened, modified)

    def failed(self, found: Found, opened: Opened, targets: tuple[int, ...], failure: Failure) -> None:
        """Record an image that could not be explained; where its place is taken, in the index alone.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        self._audience.warn(f"{printable(found.path)}: {failure.message}")
        record = ImageRecord(path=printable(found.relative), sha256=opened.sha256)
        manifest = self._manifest(record, targets, status="failed", error=failure)
        try:
            written: Stamp | None = self._put(self._folder.stage(), found, manifest)
        except ImageError as error:
            if str(error) != failure.message:
                self._audience.warn(f"{printable(found.path)}: {error}")
            written = None
        self._finish(manifest, opened, written)

    def unchanged(self, row: dict[str, Any], opened: Opened) -> None:
        """Record that a photo is what it was, under another time stamp.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        self._append({**row, "source": opened.source and opened.source.record()})
        self.tell(row, skipped=True)

    def tell(self, row: dict[str, Any], *, skipped: bool) -> None:
        """Count an image and tell the audience."""
        self._outcome.count(row, skipped=skipped)
        self._audience.image({key: value for key, value in row.items() if key not in _INDEX_ONLY}, skipped=skipped)

    def _put(self, staged: Path, found: Found, manifest: Manifest) -> Stamp:
        """Bring a staged image to its place.

        Raises:
            ImageError: it cannot be written. SmoothcamError: nor could any other.
        """
        try:
            manifest.write(staged)
        except OSError as error:
            raise self._folder.refused(error) from error
        try:
            return self._folder.publish(staged, found.relative, self._made_before(found))
        except FileNotFoundError as error:
            raise self._folder.stopped_by(error) from error

    def _made_before(self, found: Found) -> list[str]:
        row = self._index.row(printable(found.relative))
        manifest = self._folder.manifest(self._folder.place(found.relative))
        return [name for known in (row, manifest and manifest.row()) if known for name in files_of(known)]

    def _finish(self, manifest: Manifest, opened: Opened, written: Stamp | None) -> None:
        row = manifest.row()
        self._append({**row, "source": opened.source and opened.source.record(), self._folder.stamp_name: written})
        self.tell(row, skipped=False)

    def _append(self, row: dict[str, Any]) -> None:
        try:
            self._rows.append({**row, "finished": datetime.now(UTC).isoformat(timespec="microseconds")})
        except OSError as error:
            raise self._folder.stopped_by(error) from error

    def _manifest(self, image: ImageRecord, targets: tuple[int, ...], **fields: Any) -> Manifest:
        return Manifest(
            fingerprint=self._recipe.fingerprint(image.sha256, targets),
            image=image,
            model=self._recipe.model,
            settings=self._recipe.settings_for(targets),
            versions=self._versions,
            **fields,
        )


_INDEX_ONLY = ("source", "manifest_mtime_ns", "manifest_tag", "finished")
"""What a row of the index has beyond a row of `--json`."""
