"""Which classes each image is explained for: the same for all, by its folder's name, or out of a file."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cam_cli.errors import ImageError, UsageError
from cam_cli.models.labels import Labels
from cam_cli.storage.location import Location

FOLDER = "folder"


@dataclass(frozen=True)
class Targets:
    """Class indices, or -r for the class of rank r, for every image of a run.

    common: those of all images. by_folder: also the class that an image's folder is named for. by_path: further classes of
    single images, by their path relative to the root; None where there is no such file.
    """

    labels: Labels
    classes: int
    root_name: str
    common: tuple[int, ...]
    by_folder: bool = False
    by_path: Mapping[str, tuple[int, ...]] | None = None

    @property
    def count(self) -> int:
        """How many targets an image has at the most."""
        further = max(map(len, (self.by_path or {}).values()), default=0)
        return len(self.common) + self.by_folder + further

    def of(self, relative: PurePosixPath) -> tuple[int, ...]:
        """Return an image's targets, the common ones first; raises ImageError if its folder or the file has none for it."""
        targets = self.common
        if self.by_folder:
            targets += self._of_folder(relative.parent.name or self.root_name)
        if self.by_path is not None:
            if str(relative) not in self.by_path:
                raise ImageError("the file of targets has no row for it; add one", stage="target")
            targets += self.by_path[str(relative)]
        return tuple(dict.fromkeys(targets))

    def _of_folder(self, folder: str) -> tuple[int, ...]:
        for name in (folder, folder.replace("_", " ")):
            with suppress(UsageError):
                if len(indices := self.labels.resolve(name, self.classes)) == 1:
                    return indices
        raise ImageError(f"its folder '{folder}' is named for no class of the model", stage="target")


def read_targets(texts: Sequence[str], table: Path | None, labels: Labels, classes: int, root: Location) -> Targets:
    """Resolve what a run was asked to explain.

    Args:
        texts: what a person may write for a class (see `Labels.resolve`), or `folder`.
        table: CSV file with columns `path`, relative to the root, and `target`; an image may have several rows.

    Raises UsageError if there is no such class, or the table cannot be read, with file and line.
    """
    common = [index for text in texts if text != FOLDER for index in labels.resolve(text, classes)]
    by_path = _read_table(table, labels, classes) if table else None
    return Targets(labels, classes, root.name, tuple(dict.fromkeys(common)), FOLDER in texts, by_path)


def _read_table(path: Path, labels: Labels, classes: int) -> dict[str, tuple[int, ...]]:
    targets: dict[str, tuple[int, ...]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"path", "target"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{path}:1: the first line must name the columns path and target")
            for row in reader:
                image = str(PurePosixPath(row["path"] or ""))
                try:
                    targets[image] = targets.get(image, ()) + labels.resolve(row["target"] or "", classes)
                except UsageError as error:
                    raise UsageError(f"{path}:{reader.line_num}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"targets '{path}' cannot be read: {error}") from None
    return targets
