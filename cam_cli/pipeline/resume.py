"""Whether an image is finished, told from the index and a few file stats, without reading the image or its manifest."""

from contextlib import suppress
from dataclasses import dataclass

from cam_cli.decoding.image import stat_of
from cam_cli.errors import ImageError
from cam_cli.images.find import ImageFile
from cam_cli.plan.plan import Plan
from cam_cli.results.index import Index
from cam_cli.results.manifest import Row, Stamp, files_of
from cam_cli.results.store import ResultStore
from cam_cli.results.truth import NOT_TOLD
from cam_cli.text import printable

NEW = "new"
OTHERWISE = "made with other settings"
INCOMPLETE = "files are missing"
FAILED = "failed before"
TOUCHED = "image may have changed"


@dataclass(frozen=True)
class Verdict:
    """What is to be done about an image, and the row of its last result, if it has one.

    reason: why it is to be explained; `TOUCHED`: only if its bytes have changed; None: it is finished.
    """

    reason: str | None
    row: Row | None = None


@dataclass(frozen=True)
class Resume:
    """Judges images against what lies in the run folder.

    A finished image is one whose row in the index belongs to the manifest on the disk, whose fingerprint is this run's, whose
    files exist, and whose image file has the size and times it had. If that is in doubt, the manifest and the bytes of the
    image decide. A failed image counts as finished unless `retry_failed`.
    """

    store: ResultStore
    index: Index
    plan: Plan | None
    retry_failed: bool

    def judge(self, image: ImageFile) -> Verdict:
        """Return the verdict on one image; without a plan every earlier result counts as made with other settings."""
        key = self.store.key(image.relative)
        path = printable(image.relative)
        row: Row | None = self.index.row(path)
        written = self.store.stamp(key)
        if row is None or written is None or row.get(self.store.stamp_name) != written:
            row = self._read(key, path, written) if written is not None else self._without_folder(row)
        if row is None:
            return Verdict(NEW)
        targets: tuple[int, ...] = ()
        truth = self.plan.truth_of(image.relative) if self.plan else NOT_TOLD
        with suppress(ImageError):
            targets = self.plan.targets.of(image.relative, truth) if self.plan else ()
        if self.plan is None or row["fingerprint"] != self.plan.fingerprint(row["sha256"], targets, truth):
            return Verdict(OTHERWISE, row)
        if row["status"] == "failed":
            if self.retry_failed:
                return Verdict(FAILED, row)
        elif not self.store.holds(key, files_of(row)):
            return Verdict(INCOMPLETE, row)
        source = stat_of(image.path)
        if row.get("source") != (source and source.record()):
            return Verdict(TOUCHED, row)
        return Verdict(None, row)

    def _read(self, key: str, path: str, written: Stamp) -> Row | None:
        manifest = self.store.manifest(key)
        if manifest is None or manifest.image.path != path:
            return None
        row = manifest.row()
        row[self.store.stamp_name] = written
        return row

    def _without_folder(self, row: Row | None) -> Row | None:
        """Return the row of an image that failed because no manifest could be written for it."""
        failed = row is not None and row["status"] == "failed" and row.get(self.store.stamp_name) is None
        return row if failed else None
