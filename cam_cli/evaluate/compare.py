"""Two runs over the same photos, side by side: what the network says, where it looks, and what went wrong since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import UsageError
from cam_cli.evaluate.bootstrap import Interval, interval
from cam_cli.evaluate.signals import centre_of_attention
from cam_cli.render.size import picture_size
from cam_cli.results.manifest import Manifest, MapRecord, TargetRecord
from cam_cli.results.reader import ImageResult, RunReader

CANVAS = 64
"""Maps of different grids are compared on the photo, its longer side at so many pixels."""

State = Literal["ok", "blank", "nonfinite", "failed"]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class MapPair:
    """One map in both runs; `layer` is the later one's.

    correlation: Pearson, over the pixels that both networks saw; None where a map is constant or empty. overlap:
    intersection over union of where each map reaches half of its peak. shift: distance between the centres of attention, as a
    share of the photo's diagonal.
    """

    layer: str
    layer_before: str
    method: str
    target_before: TargetRecord
    target_after: TargetRecord
    state_before: State
    state_after: State
    files_before: str | None
    files_after: str | None
    correlation: float | None
    overlap: float | None
    shift: float | None


@dataclass(frozen=True)
class ImageChange:
    """One photo in both runs; states are `ok` or `failed`. same_photo: its bytes are the same."""

    path: str
    same_photo: bool
    state_before: State
    state_after: State
    predicted_before: TargetRecord | None
    predicted_after: TargetRecord | None
    maps: tuple[MapPair, ...]

    @property
    def newly_failed(self) -> bool:
        """Whether it could be explained before and cannot now."""
        return self.state_before == "ok" and self.state_after == "failed"

    @property
    def newly_blank(self) -> bool:
        """Whether a map that showed something is blank or not finite now."""
        return any(pair.state_before == "ok" and pair.state_after != "ok" for pair in self.maps)

    @property
    def prediction_changed(self) -> bool:
        """Whether the most likely class is another one."""
        before, after = self.predicted_before, self.predicted_after
        return before is not None and after is not None and not same_class(before, after)

    @property
    def correlation(self) -> float | None:
        """The lowest correlation of its maps."""
        return min((pair.correlation for pair in self.maps if pair.correlation is not None), default=None)

    @property
    def badness(self) -> tuple[bool, bool, bool, float]:
        """What images are sorted by, worst last."""
        low = 1.0 if self.correlation is None else self.correlation
        return self.newly_failed, self.newly_blank, self.prediction_changed, -low

    def record(self) -> dict[str, Any]:
        """Return this as JSON has it."""
        record = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("predicted_before", "predicted_after", "maps")
        }
        for name in ("predicted_before", "predicted_after"):
            record[name] = _class_record(getattr(self, name))
        record["maps"] = [
            asdict(pair) | {name: _class_record(getattr(pair, name)) for name in ("target_before", "target_after")}
            for pair in self.maps
        ]
        flags = ("newly_failed", "newly_blank", "prediction_changed", "correlation")
        return record | {name: getattr(self, name) for name in flags}


@dataclass(frozen=True)
class Comparison:
    """What became of the photos that both runs have, worst first.

    only_before, only_after: paths that one run has alone. correlation, overlap, shift: means over the images, of each its worst
    map, with bootstrap intervals; None where there is nothing to compare.
    """

    images: tuple[ImageChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    correlation: Interval | None
    overlap: Interval | None
    shift: Interval | None

    def count(self, what: str) -> int:
        """Return how many images have a property of `ImageChange`, such as `newly_failed`."""
        return sum(bool(getattr(image, what)) for image in self.images)

    def share(self, what: str) -> float:
        """Return the share of the common images that have it."""
        return self.count(what) / len(self.images)

    def counts(self) -> dict[str, int]:
        """Return how many images there are of each kind, in words for people."""
        return {
            "images in both": len(self.images),
            "only in A": len(self.only_before),
            "only in B": len(self.only_after),
            "changed predictions": self.count("prediction_changed"),
            "newly blank": self.count("newly_blank"),
            "newly failed": self.count("newly_failed"),
        }

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound: shares of the common images, and means."""
        shares = {"changed_predictions": "prediction_changed", "new_blank": "newly_blank", "new_failed": "newly_failed"}
        found = {name: self.share(what) for name, what in shares.items()}
        means = {"map_correlation": self.correlation, "map_overlap": self.overlap, "centre_shift": self.shift}
        return found | {name: value.mean for name, value in means.items() if value is not None}

    def record(self) -> dict[str, Any]:
        """Return this as JSON has it."""
        counts = {name: self.count(name) for name in ("prediction_changed", "newly_blank", "newly_failed")}
        means = {
            name: getattr(self, name) and asdict(getattr(self, name)) for name in ("correlation", "overlap", "shift")
        }
        return {
            "totals": {"images": len(self.images), **counts, **means},
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "images": [image.record() for image in self.images],
        }


def compare(before: RunReader, after: RunReader) -> Comparison:
    """Compare two runs photo by photo; photos are the same if their paths below each run's root are.

    Maps belong together where layer, method, class and selection agree; of those left, in their order, where method and
    selection do, as with two models or with predictions that changed.

    Raises:
        UsageError: the runs have no photo in common.
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
            f"'{before.folder}' and '{after.folder}' have no photo in common: photos are matched by their path below each "
            "run's root; give both runs the same --root"
        )
    changes.sort(key=lambda change: change.path)
    changes.sort(key=lambda change: change.badness, reverse=True)
    pairs = [[pair for pair in change.maps if pair.correlation is not None] for change in changes]
    worst = [min(found, key=lambda pair: pair.correlation or 0) for found in pairs if found]
    return Comparison(
        tuple(changes),
        tuple(sorted(earlier)),
        tuple(only_after),
        *(_mean([getattr(pair, name) for pair in worst]) for name in ("correlation", "overlap", "shift")),
    )


def same_class(one: TargetRecord, other: TargetRecord) -> bool:
    """Say whether two classes are one, also where two models number them differently."""
    if one.wnid and other.wnid:
        return one.wnid == other.wnid
    return one.label == other.label if one.label and other.label else one.index == other.index


def _change(before: ImageResult, after: ImageResult) -> ImageChange:
    return ImageChange(
        path=after.path,
        same_photo=before.manifest.image.sha256 == after.manifest.image.sha256,
        state_before=before.manifest.status,
        state_after=after.manifest.status,
        predicted_before=_predicted(before.manifest),
        predicted_after=_predicted(after.manifest),
        maps=tuple(
            _pair(before, one, after, other) for one, other in _matched(before.manifest.maps, after.manifest.maps)
        ),
    )


def _predicted(manifest: Manifest) -> TargetRecord | None:
    return manifest.predictions[0] if manifest.predictions else None


def _matched(before: Sequence[MapRecord], after: Sequence[MapRecord]) -> Iterator[tuple[MapRecord, MapRecord]]:
    left = list(before)
    unmatched = []
    for other in after:
        exact = next((one for one in left if _key(one) == _key(other)), None)
        if exact is None:
            unmatched.append(other)
        else:
            left.remove(exact)
            yield exact, other
    for other in unmatched:
        alike = next((one for one in left if _key(one)[2:] == _key(other)[2:]), None)
        if alike is not None:
            left.remove(alike)
            yield alike, other


def _key(record: MapRecord) -> tuple[object, ...]:
    return record.layer, record.target.index, record.method, json.dumps(record.selection.model_dump(), sort_keys=True)


def _pair(before: ImageResult, one: MapRecord, after: ImageResult, other: MapRecord) -> MapPair:
    a, b = _drawn(before, one), _drawn(after, other)
    figures: tuple[float | None, ...] = (None, None, None)
    if a is not None and b is not None and a.shape == b.shape:
        seen = np.isfinite(a) & np.isfinite(b)
        figures = _correlation(a[seen], b[seen]), _overlap(a, b), _shift(a, b)
    return MapPair(
        other.layer,
        one.layer,
        other.method,
        one.target,
        other.target,
        one.state,
        other.state,
        one.files.overlay,
        other.files.overlay,
        *figures,
    )


def _drawn(image: ImageResult, record: MapRecord) -> Array | None:
    values = image.values(record) if record.state == "ok" else None
    width, height = image.size
    if values is None or not width:
        return None
    return image.upsampled(np.maximum(values, 0), picture_size(width, height, CANVAS, enlarge=True))


def _correlation(a: Array, b: Array) -> float | None:
    if not a.size:
        return None
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / norm, -1, 1)) if norm > 0 else None


def _overlap(a: Array, b: Array) -> float:
    lit_a, lit_b = (np.nan_to_num(values) >= np.nanmax(values) / 2 for values in (a, b))
    return float((lit_a & lit_b).sum() / (lit_a | lit_b).sum())


def _shift(a: Array, b: Array) -> float | None:
    one, other = centre_of_attention(a), centre_of_attention(b)
    if one is None or other is None:
        return None
    height, width = a.shape
    return float(np.hypot((one[0] - other[0]) * width, (one[1] - other[1]) * height) / np.hypot(width, height))


def _mean(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return interval(known) if known else None


def _class_record(target: TargetRecord | None) -> dict[str, Any] | None:
    return None if target is None else {"index": target.index, "label": target.label, "wnid": target.wnid}
