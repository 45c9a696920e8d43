"""What is kept of every image: its folder of results, then a row in the index, then a word to the user."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cam_cli.decoding.image import FileStat, stat_of
from cam_cli.errors import ImageError
from cam_cli.executors.executor import Result, failure_of
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.plan import Plan
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, RowWriter
from cam_cli.results.manifest import Failure, ImageRecord, Manifest, Row, Stamp, files_of, without_index_fields
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Stat
from cam_cli.text import printable

_MOST_NOTES = 10


@dataclass
class Recorder:
    """Publishes the results of images, adds their rows to the index, counts them and reports them."""

    store: ResultStore
    index: Index
    rows: RowWriter
    plan: Plan
    reporter: Reporter
    stats: Stats
    interruption: Interruption
    _notes: int = field(default=0, init=False)

    def record(self, result: Result) -> bool:
        """Record what became of an image; return False if its staged files are gone, so that it must be done again."""
        self._tell_notes(result)
        if result.manifest is not None and result.staged is not None:
            return self._record_explained(result, result.manifest, result.staged)
        if result.failure is not None:
            self._record_failed(result, result.failure)
        elif (row := result.task.known) is not None:  # the image has the bytes it had, under another time stamp
            self._append(row, result.source)
            self.tell(row, skipped=True)
        return True

    def tell(self, row: Row, *, skipped: bool) -> None:
        """Count an image and report it."""
        self.stats.count(row, skipped=skipped)
        try:
            self.reporter.image(without_index_fields(row), skipped=skipped)
        except Interrupted as reason:
            self.interruption.stop(reason)

    def _record_explained(self, result: Result, manifest: Manifest, staged: Path) -> bool:
        try:
            stamp = self.store.publish(staged, result.task.image.relative, self._made_before(result.task.image))
        except FileNotFoundError:
            return False
        except ImageError as error:
            self._record_failed(result, failure_of(error))
        except OSError as error:
            raise self.store.stopped_by(error) from error
        else:
            self._finish(manifest, result.source, stamp)
        return True

    def _record_failed(self, result: Result, failure: Failure) -> None:
        """Record a failure as a manifest; where the folder of the image cannot be made, in the index alone."""
        image = result.task.image
        self.reporter.warn(f"{printable(image.path)}: {failure.message}")
        record = ImageRecord(path=printable(image.relative), root=printable(image.root), sha256=result.sha256)
        task = result.task
        known = self.plan.truths.records(task.truth) if self.plan.truths else ()
        manifest = self.plan.manifest(record, task.targets, task.truth, known, status="failed", error=failure)
        stamp: Stamp | None = None
        try:
            staged = self.store.stage()
            try:
                manifest.write(staged)
            except OSError as error:
                raise self.store.refused(error) from error
            stamp = self.store.publish(staged, image.relative, self._made_before(image))
        except FileNotFoundError as error:
            raise self.store.stopped_by(error) from error
        except ImageError as error:
            if str(error) != failure.message:
                self.reporter.warn(f"{printable(image.path)}: {error}")
        self._finish(manifest, result.source or stat_of(image.path), stamp)

    def _made_before(self, image: ImageFile) -> list[str]:
        """Return the names of the files that earlier runs made for an image."""
        row = self.index.row(printable(image.relative))
        manifest = self.store.manifest(self.store.key(image.relative))
        return [name for known in (row, manifest and manifest.row()) if known for name in files_of(known)]

    def _finish(self, manifest: Manifest, source: FileStat | Stat | None, stamp: Stamp | None) -> None:
        row = manifest.row()
        row[self.store.stamp_name] = stamp
        self._append(row, source)
        self.tell(row, skipped=False)

    def _append(self, row: Row, source: FileStat | Stat | None) -> None:
        stat: dict[str, int | str] | None = {**source.record()} if source else None
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        with self.store.writing():
            self.rows.append({**row, "source": stat, "finished": now})

    def _tell_notes(self, result: Result) -> None:
        """Report what a user should know about an image; after the first few, in detail only."""
        for note in result.notes:
            self._notes += 1
            tell = self.reporter.say if self._notes <= _MOST_NOTES else self.reporter.detail
            tell(f"{printable(result.task.image.path)}: {note}")
            if self._notes == _MOST_NOTES:
                self.reporter.say("further notes of this kind are told with --verbose only, and stand in the manifests")
