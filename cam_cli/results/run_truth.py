"""True classes laid over a run that is finished: its images are judged without being explained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.models.labels import Labels, read_labels
from cam_cli.models.source import find_source
from cam_cli.results.manifest import Manifest, Prediction, Row, TruthRecord
from cam_cli.results.run_record import RunRecord
from cam_cli.results.truth import Judged, Truths, TruthSource, judge, read_truths, truth_record
from cam_cli.storage.location import location
from cam_cli.text import from_printable, shown


@dataclass(frozen=True)
class RunTruth:
    """The true classes of the images of a finished run; multi_label: every class has a probability of its own."""

    truths: Truths
    multi_label: bool

    def over_manifest(self, manifest: Manifest) -> Manifest:
        """Return a manifest with this truth instead of its own.

        Rank and probability are None where the true class is not among the recorded predictions.
        """
        before = [*([manifest.truth] if manifest.truth else []), *manifest.also_true]
        judged = self._judged(manifest.image.path, manifest.predictions, before)
        return manifest.model_copy(update=vars(judged))

    def over_row(self, row: Row) -> Row:
        """Return a row with this truth instead of its own, as `over_manifest` does."""
        own = row.get("truth")
        before = [TruthRecord.model_validate(one) for one in [*([own] if own else []), *row.get("also_true", [])]]
        found = tuple(map(Prediction.model_validate, row["predictions"]))
        judged = self._judged(row["path"], found, before)
        return {**row, **judged.fields()}

    def _judged(self, path: str, predictions: tuple[Prediction, ...], before: Sequence[TruthRecord]) -> Judged:
        truth = self.truths.of(from_printable(path))
        known = {one.index: (one.rank, one.probability) for one in before}
        known |= {one.index: (rank, one.probability) for rank, one in enumerate(predictions, 1)}
        records = [truth_record(index, self.truths.labels, *known.get(index, (None, None))) for index in truth.classes]
        return judge(truth, records, predictions, multi_label=self.multi_label)


def truth_of_run(source: TruthSource, record: RunRecord, folder: Any) -> RunTruth:
    """Read the true classes of the images of a finished run.

    Args:
        source: where they are.
        record: of the run.
        folder: of the run, for messages.

    Raises:
        UsageError: the file cannot be read, or the names of the model's classes are not there any more.
    """
    labels = class_names_of(record, folder)
    classes = record.plan.classes if record.plan else len(labels.entries)
    truths = read_truths(source, labels, classes, location(record.root).name)
    return RunTruth(truths, bool(record.model and record.model.multi_label))


def class_names_of(record: RunRecord, folder: Any) -> Labels:
    """Return the names of the classes that the model of a run has, out of the file that the run took them from.

    Raises UsageError if that file is not there any more, or has other names now.
    """
    wanted = record.settings.get("labels")
    if wanted is None:
        return Labels()
    started_in = Path(from_printable(record.cwd))
    for base in (Path(), started_in):
        with suppress(SmoothcamError, OSError, ValueError):
            labels = _labels_from(record.config, base)
            if labels is not None and labels.digest() == wanted:
                return labels
    raise UsageError(
        f"the class names of {shown(folder)} are not to be found: its model or its --labels FILE is not where the run "
        f"had it, or has changed; put it back below {shown(started_in)}"
    )


def _labels_from(config: Mapping[str, Any], base: Path) -> Labels | None:
    """Return the class names that a run's settings lead to, with relative paths starting at `base`."""
    if named := config.get("labels"):
        return read_labels(base / named)
    model = config.get("model")
    path = None if model is None else base / model
    name = str(path) if path is not None and path.exists() else model
    source = find_source(name, config.get("layers") or ("auto",))
    return read_labels(source.labels) if source.labels else None
