"""Two runs over the same images, side by side: what the network says, where it looks, and what went wrong since."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cam_cli.errors import UsageError
from cam_cli.evaluate.bootstrap import Interval, interval
from cam_cli.metrics.comparison import compare_maps
from cam_cli.render.size import picture_size
from cam_cli.results.manifest import Manifest, MapRecord, TargetRecord
from cam_cli.results.reader import ImageResult, RunReader

CANVAS = 64
"""Maps of different grids are compared on the image, its longer side at so many pixels."""

_KINDS = {
    "broke": "broke",
    "newly_failed": "newly failed",
    "newly_blank": "newly blank",
    "prediction_changed": "other class",
}
"""What may have happened to an image, the worst first, and how people are told."""

_VERDICTS = {"wrong_in_both": "wrong in both", "fixed": "fixed"}
"""The same, of images that did not become worse."""

MOST_NAMED = 10
"""So many images are named beside a bound that is crossed."""

State = Literal["ok", "blank", "nonfinite", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class MapPair(_Record):
    """One map in both runs; `layer` is the later one's. The metrics are those of `compare_maps`; None if one cannot be told."""

    layer: str
    layer_before: str
    method: str
    target_before: TargetRecord
    target_after: TargetRecord
    state_before: State
    state_after: State
    files_before: str | None
    files_after: str | None
    correlation: float | None = None
    overlap: float | None = None
    shift: float | None = None


class ImageChange(_Record):
    """One image in both runs; states are `ok` or `failed`.

    same_image: its bytes are the same. newly_failed: it could be explained before and cannot now. newly_blank: a map that
    was ok is blank or not finite now. prediction_changed: the most likely class is another one. correlation: the lowest of
    its maps. truth: the true classes. correct_before, correct_after: whether it is right; None where that is not known. broke:
    it was right and is wrong. fixed: it was wrong and is right.
    """

    path: str
    same_image: bool = Field(serialization_alias="same_photo")
    state_before: State
    state_after: State
    predicted_before: TargetRecord | None
    predicted_after: TargetRecord | None
    maps: tuple[MapPair, ...]
    newly_failed: bool
    newly_blank: bool
    prediction_changed: bool
    correlation: float | None
    truth: tuple[TargetRecord, ...] = ()
    correct_before: bool | None = None
    correct_after: bool | None = None
    broke: bool = False
    fixed: bool = False
    wrong_in_both: bool = False

    def changes(self) -> list[str]:
        """Return what became of the image, in words for people, the worst first."""
        return [words for kind, words in (_KINDS | _VERDICTS).items() if getattr(self, kind)]

    def __str__(self) -> str:
        """Return, for people: `a.jpg: hen before, ostrich now, but it is hen`."""
        said = [one.label if one else "nothing" for one in (self.predicted_before, self.predicted_after)]
        truth = " and ".join(one.label for one in self.truth)
        return f"{self.path}: {said[0]} before, {said[1]} now" + (f", but it is {truth}" if truth else "")


class Totals(_Record):
    """How many images there are of each kind, and means over the images, of each its worst map; None without such maps.

    known: the images of which it is known in both runs whether they are right.
    """

    images: int
    prediction_changed: int
    newly_blank: int
    newly_failed: int
    known: int = 0
    broke: int = 0
    fixed: int = 0
    wrong_in_both: int = 0
    correlation: Interval | None
    overlap: Interval | None
    shift: Interval | None

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound: shares of the common images, and means."""
        means = {"map_correlation": self.correlation, "map_overlap": self.overlap, "centre_shift": self.shift}
        return {
            "changed_predictions": self.prediction_changed / self.images,
            "new_blank": self.newly_blank / self.images,
            "new_failed": self.newly_failed / self.images,
            **({"broke": self.broke / self.known} if self.known else {}),
            **{name: value.mean for name, value in means.items() if value is not None},
        }


class Comparison(_Record):
    """The changes of the images that both runs have, worst first, and the paths that one run has alone."""

    totals: Totals
    images: tuple[ImageChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Return how many images there are of each kind, in words for people."""
        truth = {
            "broke: right in A, wrong in B": self.totals.broke,
            "fixed: wrong in A, right in B": self.totals.fixed,
            "wrong in both": self.totals.wrong_in_both,
        }
        return {
            "images in both": self.totals.images,
            "only in A": len(self.only_before),
            "only in B": len(self.only_after),
            **(truth if self.totals.known else {}),
            "changed predictions": self.totals.prediction_changed,
            "newly blank": self.totals.newly_blank,
            "newly failed": self.totals.newly_failed,
        }

    def images_behind(self, figure: str, _bound: float) -> Iterator[str]:
        """Yield in words the first images for which a bound of a figure is crossed."""
        kinds = {"changed_predictions": "prediction_changed", "new_blank": "newly_blank", "new_failed": "newly_failed"}
        kind = kinds.get(figure, figure)
        behind = [image for image in self.images if getattr(image, kind, None) is True]
        yield from map(str, behind[:MOST_NAMED])
        if len(behind) > MOST_NAMED:
            yield f"and {len(behind) - MOST_NAMED:,} more"


def compare(before: RunReader, after: RunReader) -> Comparison:
    """Compare two runs image by image; images are the same if their paths below each run's root are.

    Maps belong together if their layer, method, class and selection are the same. Of the others, in their order, those belong
    together whose method and selection are the same, as with two models or with predictions that changed. Classes are the same
    if their indices are, where both runs are of one model file; else if their WordNet ids or names are. Where only one run
    knows what is true, that goes for both.

    Raises UsageError if the runs have no image in common.
    """
    earlier = {image.path: image for image in before.images()}
    changes, only_after = [], []
    for image in after.images():
        known = earlier.pop(image.path, None)
        if known is None:
            only_after.append(image.path)
        else:
            changes.append(_change(known, image))
    if not changes:
        raise UsageError(
            f"'{before.folder}' and '{after.folder}' have no image in common: images are matched by their path below each "
            "run's root; give both runs the same --root"
        )
    changes.sort(key=lambda change: (1.0 if change.correlation is None else change.correlation, change.path))
    changes.sort(key=lambda change: [not getattr(change, kind) for kind in _KINDS])
    pairs = [[pair for pair in change.maps if pair.correlation is not None] for change in changes]
    worst = [min(found, key=lambda pair: pair.correlation or 0) for found in pairs if found]
    told = {
        m: [v for pair in worst if (v := getattr(pair, m)) is not None] for m in ("correlation", "overlap", "shift")
    }
    totals = Totals(
        images=len(changes),
        **{kind: sum(getattr(change, kind) for change in changes) for kind in (*_KINDS, *_VERDICTS)},
        known=sum(change.correct_before is not None and change.correct_after is not None for change in changes),
        **{metric: interval(values) if values else None for metric, values in told.items()},
    )
    return Comparison(
        totals=totals, images=tuple(changes), only_before=tuple(sorted(earlier)), only_after=tuple(only_after)
    )


def same_class(one: TargetRecord, other: TargetRecord, *, same_model: bool = False) -> bool:
    """Return True if two classes are one, also if two models number them differently."""
    if same_model:
        return one.index == other.index
    if one.wnid and other.wnid:
        return one.wnid == other.wnid
    return one.label == other.label if one.label and other.label else one.index == other.index


def _change(before: ImageResult, after: ImageResult) -> ImageChange:
    matched = matched_maps(before.manifest.maps, after.manifest.maps)
    maps = tuple(_pair(before, one, after, other) for one, other in matched)
    was, now = (next(iter(image.manifest.predictions), None) for image in (before, after))
    same_model = before.manifest.model.sha256 == after.manifest.model.sha256
    right_before, right_after = _verdicts(before.manifest, after.manifest, same_model=same_model)
    return ImageChange(
        path=after.path,
        same_image=before.manifest.image.sha256 == after.manifest.image.sha256,
        state_before=before.manifest.status,
        state_after=after.manifest.status,
        predicted_before=was,
        predicted_after=now,
        maps=maps,
        newly_failed=before.manifest.status == "ok" and after.manifest.status == "failed",
        newly_blank=any(pair.state_before == "ok" and pair.state_after != "ok" for pair in maps),
        prediction_changed=was is not None and now is not None and not same_class(was, now, same_model=same_model),
        correlation=min((pair.correlation for pair in maps if pair.correlation is not None), default=None),
        truth=_truth(after.manifest) or _truth(before.manifest),
        correct_before=right_before,
        correct_after=right_after,
        broke=right_before is True and right_after is False,
        fixed=right_before is False and right_after is True,
        wrong_in_both=right_before is False and right_after is False,
    )


def _truth(manifest: Manifest) -> tuple[TargetRecord, ...]:
    """Return the true classes of an image, without what the network says of them."""
    return tuple(
        TargetRecord(index=one.index, label=one.label, wnid=one.wnid)
        for one in (manifest.truth, *manifest.also_true)
        if one is not None
    )


def _verdicts(before: Manifest, after: Manifest, *, same_model: bool) -> tuple[bool | None, bool | None]:
    """Return whether an image is right in each run; where one run does not know what is true, the other's truth counts."""

    def verdict(of: Manifest, other: Manifest) -> bool | None:
        told = of.correct is not None or of.truth is not None or of.unknown_truth is not None
        if told or other.truth is None or not of.predictions or of.model.multi_label or other.unknown_truth is not None:
            return of.correct
        return any(same_class(of.predictions[0], one, same_model=same_model) for one in _truth(other))

    return verdict(before, after), verdict(after, before)


def matched_maps(before: Sequence[MapRecord], after: Sequence[MapRecord]) -> Iterator[tuple[MapRecord, MapRecord]]:
    """Yield the maps of an image in two runs that belong together, see `compare`."""
    left, unmatched = list(before), list(after)
    for key in (attrgetter("layer", "target.index", "method", "selection"), attrgetter("method", "selection")):
        for other in [*unmatched]:
            alike = next((one for one in left if key(one) == key(other)), None)
            if alike is not None:
                left.remove(alike)
                unmatched.remove(other)
                yield alike, other


def _pair(before: ImageResult, one: MapRecord, after: ImageResult, other: MapRecord) -> MapPair:
    a, b = _on_canvas(before, one), _on_canvas(after, other)
    metrics = compare_maps(a, b) if a is not None and b is not None and a.shape == b.shape else {}
    return MapPair(
        layer=other.layer,
        layer_before=one.layer,
        method=other.method,
        target_before=one.target,
        target_after=other.target,
        state_before=one.state,
        state_after=other.state,
        files_before=one.files.overlay,
        files_after=other.files.overlay,
        **metrics,
    )


def _on_canvas(image: ImageResult, record: MapRecord) -> NDArray[np.float32] | None:
    values = image.values(record) if record.state == "ok" else None
    width, height = image.size
    if values is None or not width:
        return None
    return image.upsampled(np.maximum(values, 0), record, picture_size(width, height, CANVAS, enlarge=True))
