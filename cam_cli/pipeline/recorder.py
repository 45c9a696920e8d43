"""What becomes of an image, on the disk, in the index and before the reporter, in this order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cam_cli.decoding.image import Decoded
from cam_cli.errors import ImageError
from cam_cli.executors.executor import Files
from cam_cli.executors.writer import Writer
from cam_cli.images.find import ImageFile
from cam_cli.pipeline.stats import Stats
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, RowWriter
from cam_cli.results.manifest import Failure, ImageRecord, Manifest, Row, Stamp, files_of, without_index_fields
from cam_cli.results.store import ResultStore
from cam_cli.text import printable


class Recorder:
    """Records images: a folder whose manifest was written last, then a row in the index, then a word to the reporter."""

    def __init__(
        self, folder: ResultStore, index: Index, rows: RowWriter, writer: Writer, reporter: Reporter, stats: Stats
    ) -> None:
        self._folder = folder
        self._index = index
        self._rows = rows
        self._scribe = writer
        self._audience = reporter
        self._outcome = stats

    def explained(self, found: ImageFile, opened: Decoded, targets: tuple[int, ...], files: Files) -> None:
        """Record an image that was explained.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        earlier = self._made_before(found)
        try:
            try:
                done = files.written()
                modified = self._folder.publish(done.staged, found.relative, earlier)
            except FileNotFoundError:  # somebody has removed the staging folder
                done = files.again()
                modified = self._folder.publish(done.staged, found.relative, earlier)
        except ImageError as error:
            failure = Failure(stage=error.stage, type=type(error).__name__, message=str(error))
            self.failed(found, opened, targets, failure)
        except OSError as error:
            raise self._folder.stopped_by(error) from error
        else:
            self._finish(done.manifest, opened, modified)

    def failed(self, found: ImageFile, opened: Decoded, targets: tuple[int, ...], failure: Failure) -> None:
        """Record an image that could not be explained; where its place is taken, in the index alone.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        self._audience.warn(f"{printable(found.path)}: {failure.message}")
        record = ImageRecord(path=printable(found.relative), sha256=opened.sha256)
        manifest = self._scribe.manifest(record, targets, status="failed", error=failure)
        try:
            written: Stamp | None = self._put(self._folder.stage(), found, manifest)
        except ImageError as error:
            if str(error) != failure.message:
                self._audience.warn(f"{printable(found.path)}: {error}")
            written = None
        self._finish(manifest, opened, written)

    def unchanged(self, row: Row, opened: Decoded) -> None:
        """Record that a photo is what it was, under another time stamp.

        Raises:
            SmoothcamError: the output folder cannot be written to; what is finished stays.
        """
        self._append(row, opened)
        self.tell(row, skipped=True)

    def tell(self, row: Row, *, skipped: bool) -> None:
        """Count an image and tell the reporter."""
        self._outcome.count(row, skipped=skipped)
        self._audience.image(without_index_fields(row), skipped=skipped)

    def _put(self, staged: Path, found: ImageFile, manifest: Manifest) -> Stamp:
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

    def _made_before(self, found: ImageFile) -> list[str]:
        row = self._index.row(printable(found.relative))
        manifest = self._folder.manifest(self._folder.key(found.relative))
        return [name for known in (row, manifest and manifest.row()) if known for name in files_of(known)]

    def _finish(self, manifest: Manifest, opened: Decoded, written: Stamp | None) -> None:
        row = manifest.row()
        row[self._folder.stamp_name] = written
        self._append(row, opened)
        self.tell(row, skipped=False)

    def _append(self, row: Row, opened: Decoded) -> None:
        source: dict[str, int | str] | None = {**opened.source.record()} if opened.source else None
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        try:
            self._rows.append({**row, "source": source, "finished": now})
        except OSError as error:
            raise self._folder.stopped_by(error) from error
