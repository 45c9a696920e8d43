"""The true class of an image: read from its folder or from a file, and compared with what the network predicts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, cast

from cam_cli.errors import UsageError
from cam_cli.models.labels import Labels
from cam_cli.results.manifest import Prediction, TruthFields, TruthRecord, TruthRow
from cam_cli.text import printable

TruthSource = Literal["folder"] | Path
"""Where the true classes are: the names of the folders, or a CSV file with columns path and label."""

THRESHOLD = 0.5
"""A network whose classes have a probability each predicts those of at least this probability."""


@dataclass(frozen=True)
class ImageTruth:
    """What is known of the true classes of an image.

    classes: indices, in the order of the file. unknown: what the folder or the file says where it names no class of the model;
    `` where the file has no label. told: False where nobody asked for the truth.
    """

    classes: tuple[int, ...] = ()
    unknown: str | None = None
    told: bool = True

    def settings(self) -> dict[str, object]:
        """Return what the fingerprint of the image has of this; nothing where nobody asked for the truth."""
        known: dict[str, object] = {"truth": list(self.classes)} if self.told else {}
        return known | ({} if self.unknown is None else {"unknown_truth": self.unknown})


NOT_TOLD = ImageTruth(told=False)


@dataclass(frozen=True)
class Judged:
    """The truth of an image beside what the network predicts, under the names that a manifest and a row have."""

    truth: TruthRecord | None = None
    also_true: tuple[TruthRecord, ...] = ()
    unknown_truth: str | None = None
    correct: bool | None = None

    def fields(self) -> TruthFields:
        """Return this as a row has it."""
        rows = [cast("TruthRow", one.model_dump(mode="json")) for one in self.records]
        return {
            "truth": next(iter(rows), None),
            "also_true": rows[1:],
            "unknown_truth": self.unknown_truth,
            "correct": self.correct,
        }

    @property
    def records(self) -> tuple[TruthRecord, ...]:
        """All true classes that are known."""
        return (*([self.truth] if self.truth else []), *self.also_true)


@dataclass(frozen=True)
class Truths:
    """The true classes of the images of a run.

    labels, classes: of the model. root_name: stands for the folder of the images that lie in no other one. by_path: by the path
    relative to the root; None: the folder of an image names its class.
    """

    labels: Labels
    classes: int
    root_name: str
    by_path: Mapping[str, ImageTruth] | None = None
    _of_folder: dict[str, ImageTruth] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def most(self) -> int:
        """How many true classes an image has at the most."""
        if self.by_path is None:
            return 1
        return max((len(truth.classes) for truth in self.by_path.values()), default=0)

    def of(self, relative: PurePosixPath) -> ImageTruth:
        """Return the truth of an image by its path relative to the root."""
        if self.by_path is not None:
            return self.by_path.get(str(relative), _NO_LABEL)
        folder = relative.parent.name or self.root_name
        if folder not in self._of_folder:
            self._of_folder[folder] = _truth_of([folder], self.labels, self.classes)
        return self._of_folder[folder]

    def records(self, truth: ImageTruth) -> tuple[TruthRecord, ...]:
        """Return the records of the true classes; what the network says of them is not known yet."""
        return tuple(truth_record(index, self.labels) for index in truth.classes)


_NO_LABEL = ImageTruth(unknown="")


def truth_record(index: int, labels: Labels, rank: int | None = None, probability: float | None = None) -> TruthRecord:
    """Return the record of a true class."""
    label = labels[index]
    return TruthRecord(index=index, label=label.name, wnid=label.wnid, rank=rank, probability=probability)


def read_truths(source: TruthSource, labels: Labels, classes: int, root_name: str) -> Truths:
    """Read the true classes of a run.

    A class is named by its WordNet id, index or name, in a folder's name also with `_` for a blank. An image has a row in the
    file for each of its classes; an empty label says that no class of a multi-label model is true.

    Raises UsageError if the file cannot be read, with its name and line.
    """
    by_path = None if source == "folder" else _read_table(source, labels, classes)
    return Truths(labels, classes, root_name, by_path)


def _read_table(path: Path, labels: Labels, classes: int) -> dict[str, ImageTruth]:
    texts: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{path}:1: the first line must name the columns path and label")
            for row in reader:
                if row["label"] is None:
                    raise UsageError(f"{path}:{reader.line_num}: the row has no label; write path,label")
                image = str(PurePosixPath(row["path"]))
                texts[image] = (*texts.get(image, ()), row["label"].strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"truth '{path}' cannot be read: {error}") from None
    known = {several: _truth_of(several, labels, classes) for several in set(texts.values())}
    return {image: known[several] for image, several in texts.items()}


def _truth_of(texts: Sequence[str], labels: Labels, classes: int) -> ImageTruth:
    found = {text: labels.find(text, classes) for text in texts if text}
    unknown = [printable(text) for text, index in found.items() if index is None]
    known = tuple(dict.fromkeys(index for index in found.values() if index is not None))
    return ImageTruth(known, ", ".join(unknown) if unknown else None)


def judge(
    truth: ImageTruth, records: Sequence[TruthRecord], predictions: Sequence[Prediction], *, multi_label: bool
) -> Judged:
    """Compare the true classes of an image with the predicted ones.

    One label: the image is right if the most likely class is a true one. Multi-label: if the classes of at least `THRESHOLD`
    are exactly the true ones. Where a true class is unknown, an image is right or nothing is said, but it is never wrong.

    Args:
        truth: what is known.
        records: of its classes, with rank and probability as far as they are known.
        predictions: the most likely first; empty for an image that failed.
        multi_label: every class has a probability of its own.
    """
    unknown = truth.unknown
    correct: bool | None = None
    if not truth.told or not predictions:
        pass
    elif multi_label:
        if unknown is None:
            correct = set(predicted_classes(predictions)) == set(truth.classes)
    elif truth.classes:
        correct = predictions[0].index in truth.classes or (None if unknown is not None else False)
    elif unknown is None:
        unknown = ""  # one class is true, and the file does not say which
    return Judged(next(iter(records), None), tuple(records[1:]), unknown, correct)


def predicted_classes(predictions: Iterable[Prediction]) -> tuple[int, ...]:
    """Return what a multi-label network predicts: the classes of at least `THRESHOLD`."""
    return tuple(one.index for one in predictions if one.probability >= THRESHOLD)
