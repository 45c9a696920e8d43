"""How right a run's network is, as evaluation.json has it: classes, confusions, calibration, and labels probably wrong."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from cam_cli.metrics.classification import Judgement, Share
from cam_cli.metrics.several_labels import LabelCount
from cam_cli.results.manifest import Row, TargetRecord
from cam_cli.results.reader import ImageResult
from cam_cli.results.run_record import ShareRecord
from cam_cli.results.tally import TruthTally, WrongImage, images_behind, judgement_of, predicted_rows, truth_rows

MOST_DOUBTFUL = 200
MOST_CONFUSED = 200
"""So many labels and pairs of classes are recorded."""
MOST_EXAMPLES = 3

Further = TypeVar("Further")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ClassRecord(_Record):
    """The images whose true class is `target`: how many, and the share that is right with its 95% interval (Wilson)."""

    target: TargetRecord
    images: int
    right: int
    accuracy: float
    low: float
    high: float


class ConfusionRecord(_Record):
    """Images of the class `truth` that are taken for `predicted`; `examples` are the paths of some."""

    truth: TargetRecord
    predicted: TargetRecord
    images: int
    examples: tuple[str, ...]


class DoubtfulLabel(_Record):
    """An image whose label is probably wrong: Northcutt et al. 2021, "Confident Learning".

    probability: of the predicted class. self_confidence: of the label; None where the run did not record it, as the label is
    not among the most likely classes. normalized_margin: 0..0.5, 0 where the network is sure of another class.
    """

    path: str
    label: TargetRecord
    predicted: TargetRecord
    probability: float
    self_confidence: float | None
    normalized_margin: float


class LabelRecord(_Record):
    """One label of a multi-label network: in how many images it is true, predicted, and both."""

    target: TargetRecord
    true: int
    predicted: int
    both: int
    label_precision: ShareRecord | None
    label_recall: ShareRecord | None


class ClassificationRecord(_Record):
    """How right the network is on the images whose true class is known.

    unknown: images whose label names no class. top1, top5: see `run_record.Totals`. classes: the least accurate first.
    confused: the most frequent first. wrong: some of each class, those with the most confidence first. doubtful: the most
    doubtful first. With several labels an image is right if all of them are, and label_precision, label_recall and labels stand
    for classes, confused, doubtful, confidently_wrong and calibration_error.
    """

    multi_label: bool = False
    right: int
    wrong: int
    unknown: int = 0
    text: str = ""
    top1: ShareRecord | None = None
    top5: ShareRecord | None = None
    confidently_wrong: int | None = None
    calibration_error: float | None = None
    classes: tuple[ClassRecord, ...] = ()
    confused: tuple[ConfusionRecord, ...] = ()
    wrong_images: tuple[WrongImage, ...] = ()
    doubtful: tuple[DoubtfulLabel, ...] = ()
    label_precision: ShareRecord | None = None
    label_recall: ShareRecord | None = None
    labels: tuple[LabelRecord, ...] = ()

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound."""
        sure, known = self.confidently_wrong, self.right + self.wrong
        found: dict[str, float | None] = {
            "accuracy": self.top1.share if self.top1 else None,
            "class_accuracy": self.classes[0].accuracy if self.classes else None,
            "confidently_wrong": None if sure is None else sure / known,
            "calibration_error": self.calibration_error,
            "label_precision": self.label_precision.share if self.label_precision else None,
            "label_recall": self.label_recall.share if self.label_recall else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def images_behind(self, figure: str, bound: float) -> list[str]:
        """Return in words the wrong images for which a bound of a figure is crossed."""
        by_class = {one.target.index: one.accuracy for one in self.classes}
        return [*images_behind(figure, bound, self.wrong_images, by_class)]


class TruthCollector:
    """Counts right and wrong images as they come by."""

    def __init__(self, *, multi_label: bool) -> None:
        self._tally = TruthTally(multi_label=multi_label)
        self._targets: dict[int, TargetRecord] = {}
        self._examples: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        self._doubtful: list[DoubtfulLabel] = []

    def seen(self, images: Iterable[tuple[ImageResult, Further]]) -> Iterator[tuple[ImageResult, Further]]:
        """Yield the images, and count each."""
        for image, further in images:
            self.add(image.manifest.row())
            yield image, further

    def add(self, row: Row) -> None:
        """Count one image by its row."""
        self._tally.add(row)
        if row.get("correct") is None:
            return
        rows: list[Any] = [*truth_rows(row), *predicted_rows(row, multi_label=self._tally.multi_label)]
        for one in rows:
            if one["index"] not in self._targets:
                self._targets[one["index"]] = TargetRecord(index=one["index"], label=one["label"], wnid=one.get("wnid"))
        judgement = None if self._tally.multi_label else judgement_of(row)
        if judgement is not None and not judgement.right:
            examples = self._examples[judgement.truth, judgement.predicted]
            if len(examples) < MOST_EXAMPLES:
                examples.append(judgement.path)
            insort(self._doubtful, self._doubt(judgement), key=_doubt_order)
            del self._doubtful[MOST_DOUBTFUL:]

    def record(self) -> ClassificationRecord | None:
        """Return what was found; None if nobody said what is true."""
        tally = self._tally
        if not (tally.known or tally.unknown):
            return None
        common: dict[str, Any] = {
            "multi_label": tally.multi_label,
            "right": tally.right,
            "wrong": tally.wrong,
            "unknown": tally.unknown,
            "text": str(tally),
            "top1": _share(tally.top1),
            "top5": _share(tally.top5),
            "wrong_images": tuple(tally.wrong_images()),
        }
        if tally.multi_label:
            return ClassificationRecord(**common, **self._several_labels())
        found = tally.classification()
        if found is None:
            return ClassificationRecord(**common)
        return ClassificationRecord(
            **common,
            confidently_wrong=found.confidently_wrong,
            calibration_error=found.calibration_error,
            classes=tuple(
                ClassRecord(
                    target=self._targets[index],
                    images=one.count,
                    right=one.hits,
                    accuracy=one.value,
                    low=one.low,
                    high=one.high,
                )
                for index, one in found.by_class
            ),
            confused=tuple(
                ConfusionRecord(
                    truth=self._targets[pair[0]],
                    predicted=self._targets[pair[1]],
                    images=images,
                    examples=tuple(self._examples[pair]),
                )
                for pair, images in found.confused[:MOST_CONFUSED]
            ),
            doubtful=tuple(self._doubtful),
        )

    def _several_labels(self) -> dict[str, Any]:
        labels, total = self._tally.labels, self._tally.labels.total
        return {
            "label_precision": _share(total.precision),
            "label_recall": _share(total.found),
            "labels": tuple(_label(self._targets[index], count) for index, count in labels.by_class().items()),
        }

    def _doubt(self, one: Judgement) -> DoubtfulLabel:
        margin = one.normalized_margin
        return DoubtfulLabel(
            path=one.path,
            label=self._targets[one.truth],
            predicted=self._targets[one.predicted],
            probability=one.confidence,
            self_confidence=one.self_confidence,
            normalized_margin=(1 - one.rival_probability) / 2 if margin is None else margin,
        )


def _doubt_order(one: DoubtfulLabel) -> tuple[float, str]:
    return one.normalized_margin, one.path


def _share(one: Share | None) -> ShareRecord | None:
    return None if one is None else ShareRecord.of(one)


def _label(target: TargetRecord, count: LabelCount) -> LabelRecord:
    return LabelRecord(
        target=target,
        true=count.true,
        predicted=count.predicted,
        both=count.both,
        label_precision=_share(count.precision),
        label_recall=_share(count.found),
    )
