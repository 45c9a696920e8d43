"""Which classes each image is explained for: the same for all, by its folder's name, or out of a file."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cam_cli.errors import ImageError, UsageError
from cam_cli.models.labels import Labels
from cam_cli.results.truth import NOT_TOLD, ImageTruth
from cam_cli.storage.location import Location

FOLDER = "folder"
TRUTH = "truth"


@dataclass(frozen=True)
class Targets:
    """Class indices, or -r for the class of rank r, for every image of a run.

    common: those of all images. by_folder: also the class that an image's folder is named for. most_true: also the true
    classes, of which an image has at the most so many; 0: no true class. by_path: further classes of
    single images, by their path relative to the root; None where there is no such file.
    """

    labels: Labels
    classes: int
    root_name: str
    common: tuple[int, ...]
    by_folder: bool = False
    most_true: int = 0
    by_path: Mapping[str, tuple[int, ...]] | None = None

    @property
    def count(self) -> int:
        """How many targets an image has at the most."""
        further = max(map(len, (self.by_path or {}).values()), default=0)
        return len(self.common) + self.by_folder + self.most_true + further

    def of(self, relative: PurePosixPath, truth: ImageTruth = NOT_TOLD) -> tuple[int, ...]:
        """Return an image's targets, the common ones first, then the true classes.

        Raises ImageError if its folder or the file has none for it, or none is left because its true class is not known.
        """
        targets = self.common + (truth.classes if self.most_true else ())
        if self.by_folder:
            targets += self._of_folder(relative.parent.name or self.root_name)
        if self.by_path is not None:
            if str(relative) not in self.by_path:
                raise ImageError("the file of targets has no row for it; add one", stage="target")
            targets += self.by_path[str(relative)]
        if not targets:
            said = f"'{truth.unknown}' is no class of the model" if truth.unknown else "no label is given"
            raise ImageError(f"its true class is not known: {said}", stage="target")
        return tuple(dict.fromkeys(targets))

    def _of_folder(self, folder: str) -> tuple[int, ...]:
        index = self.labels.find(folder, self.classes)
        if index is None:
            raise ImageError(f"its folder '{folder}' is named for no class of the model", stage="target")
        return (index,)


def read_targets(
    texts: Sequence[str],
    table: Path | None,
    labels: Labels,
    classes: int,
    root: Location,
    most_true: int = 0,
) -> Targets:
    """Resolve what a run was asked to explain.

    Args:
        texts: what a person may write for a class (see `Labels.resolve`), or `folder` or `truth`.
        table: CSV file with columns `path`, relative to the root, and `target`; an image may have several rows.
        most_true: how many true classes an image has at the most.

    Raises UsageError if there is no such class, or the table cannot be read, with file and line.
    """
    common = [index for text in texts if text not in (FOLDER, TRUTH) for index in labels.resolve(text, classes)]
    by_path = _read_table(table, labels, classes) if table else None
    most_true = most_true if TRUTH in texts else 0
    return Targets(labels, classes, root.name, tuple(dict.fromkeys(common)), FOLDER in texts, most_true, by_path)


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
