"""Ways of looking at the images of a run: maps are collected at a small common size, and grouped class by class."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cam_cli.evaluate.records import ClassStrategies, MapMetrics, Strategy, StrategyAnalysis
from cam_cli.metrics.strategies import (
    FEWEST,
    SIDE,
    SIGNIFICANT,
    Array,
    Grouping,
    Labels,
    grouped,
    p_value,
    roots_of,
)
from cam_cli.render.upsample import upsample
from cam_cli.results.manifest import MapRecord, TargetRecord
from cam_cli.results.reader import ImageResult

_SHOWN = 6
_MOST = 300
"""Of a class with more images, so many are grouped; each of the others joins the group of the nearest one."""
_FINE = 4
_LEVELS = 255

Key = tuple[str, str]
"""Layer and method."""


@dataclass
class Maps:
    """The maps of one layer and method, one an image: `energy` has 8 bits a cell, the peak of a map is 255."""

    energy: bytearray = field(default_factory=bytearray)
    paths: list[str] = field(default_factory=list)
    hashes: list[str | None] = field(default_factory=list)
    correct: list[bool | None] = field(default_factory=list)
    classes: array[int] = field(default_factory=lambda: array("q"))
    blank: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def roots(self, rows: NDArray[np.intp]) -> Array:
        """Return `roots_of` some of the maps."""
        return roots_of(np.frombuffer(bytes(self.energy), np.uint8).reshape(-1, SIDE * SIDE)[rows])


MapOf = tuple[str, str, int, str]
"""Layer, method, class index and path."""


@dataclass(frozen=True)
class Looked:
    """What the maps of all images tell of each. numbers: of `Strategy`. metrics: those of `CLASS_METRICS` that are known."""

    analyses: tuple[StrategyAnalysis, ...]
    numbers: Mapping[MapOf, int]
    metrics: Mapping[MapOf, Mapping[str, float]]

    def completed(self, path: str, maps: Sequence[MapMetrics]) -> list[MapMetrics]:
        """Return what was measured of an image's maps, with what is known of them here."""
        done = []
        for one in maps:
            key = (one.map.layer, one.map.method, one.map.target, path)
            told = self.metrics.get(key) if one.map.selection.is_whole else None
            if told is not None:
                metrics = {**one.metrics, **told}
                one = MapMetrics(map=one.map, metrics=metrics, strategy=self.numbers.get(key))
            done.append(one)
        return done


class Collection:
    """The maps of a run that tell how its classes are looked at.

    An image counts once for a layer and method: by the map of its predicted class, or by its first one. Copies of an image file
    count as one when groups are told.
    """

    def __init__(self) -> None:
        self._maps: dict[Key, Maps] = defaultdict(Maps)
        self._targets: dict[int, TargetRecord] = {}

    def add(self, image: ImageResult, values: Sequence[NDArray[np.float32] | None]) -> None:
        """Take up the maps of an image; values: as they were saved, in the order of the manifest."""
        predicted = next((best.index for best in image.manifest.predictions), None)
        chosen: dict[Key, int] = {}
        for number, record in enumerate(image.manifest.maps):
            if record.selection.is_whole:
                key = (record.layer, record.method)
                if key not in chosen or (
                    record.target.index == predicted != image.manifest.maps[chosen[key]].target.index
                ):
                    chosen[key] = number
        for key, number in chosen.items():
            record, grid, maps = image.manifest.maps[number], values[number], self._maps[key]
            self._targets.setdefault(record.target.index, record.target)
            energy = small(grid, record) if grid is not None and record.state == "ok" else None
            if energy is None:
                maps.blank[record.target.index] += record.state == "blank"
                continue
            maps.energy += energy.tobytes()
            maps.paths.append(image.path)
            maps.hashes.append(image.manifest.image.sha256)
            maps.correct.append(image.manifest.correct)
            maps.classes.append(record.target.index)

    def looked(self, *, group: bool) -> Looked:
        """Compare the maps of each class that has enough images; `group`: also group them, and those of all classes."""
        analyses: list[StrategyAnalysis] = []
        numbers: dict[MapOf, int] = {}
        metrics: dict[MapOf, dict[str, float]] = defaultdict(dict)
        for (layer, method), maps in self._maps.items():
            of_class = np.array(maps.classes, np.intp)
            known, counts = np.unique(of_class, return_counts=True)
            found: list[ClassStrategies] = []
            for index in known[counts >= FEWEST].tolist():
                rows = np.flatnonzero(of_class == index)
                keys = [(layer, method, index, maps.paths[row]) for row in rows.tolist()]
                for key, reversal in zip(keys, _reversals(maps.roots(rows) ** 2), strict=True):
                    metrics[key]["class_reversal"] = reversal
                if group:
                    looked = _Class(maps, rows)
                    found.append(looked.record(self._targets[index], maps.blank.get(index, 0)))
                    numbers.update(zip(keys, looked.labels.tolist(), strict=True))
                    for key, far in zip(keys, looked.far().tolist(), strict=True):
                        metrics[key]["strategy_distance"] = far
            if group:
                found.sort(key=lambda one: (not one.flagged, -max(way.gap or 0 for way in one.strategies)))
                several = len(known) > 1 and len(of_class) >= FEWEST
                together = _Class(maps, np.arange(len(of_class)), 2) if several else None
                analyses.append(
                    StrategyAnalysis(
                        layer=layer,
                        method=method,
                        fewest=FEWEST,
                        left_out=int(np.count_nonzero(counts < FEWEST)),
                        classes=tuple(found),
                        together=together and together.record(None, sum(maps.blank.values())),
                    )
                )
        return Looked(tuple(analyses), numbers, metrics)


def _reversals(shares: Array) -> list[float]:
    """Return minus the correlation of each map (n, cells) with the mean of the others, -1..1; 0 if one of them is even."""
    found = []
    for own, others in zip(shares, shares.sum(axis=0) - shares, strict=True):
        even = np.ptp(own) == 0 or np.ptp(others) == 0
        found.append(0.0 if even else -float(np.corrcoef(own, others)[0, 1]))
    return found


class _Class:
    """Some of the maps, in `fewest` groups or more. labels: the group of each."""

    def __init__(self, maps: Maps, rows: NDArray[np.intp], fewest: int = 1) -> None:
        self._maps, self._rows = maps, rows
        self._roots = maps.roots(rows)
        first_of: dict[str | int, int] = {}
        for at, row in enumerate(rows.tolist()):
            first_of.setdefault(maps.hashes[row] or at, at)
        single = np.array([*first_of.values()], np.intp)
        sample = single[np.linspace(0, len(single) - 1, min(_MOST, len(single))).round().astype(np.intp)]
        self._grouping: Grouping | None = grouped(self._roots[sample], fewest) if len(sample) >= FEWEST else None
        self._p_value = p_value(self._roots[sample], self._grouping) if self._grouping else None
        self.labels = self._of_all(sample)
        groups = range(int(self.labels.max()) + 1)
        self._means = np.stack([(self._roots[self.labels == group] ** 2).mean(axis=0) for group in groups])
        self._own = np.clip((self._roots * np.sqrt(self._means)[self.labels]).sum(axis=1), 0, 1)

    def _of_all(self, sample: NDArray[np.intp]) -> Labels:
        if self._grouping is None:
            return np.zeros(len(self._rows), np.intp)
        labels = self._grouping.labels
        if len(sample) == len(self._rows):
            return labels
        nearest = [int((self._roots[sample] @ one).argmax()) for one in self._roots]
        return np.asarray(labels[nearest], np.intp)

    def far(self) -> Array:
        """Return how far each map is from the nearest mean map of a group, as a multiple of the median distance."""
        alike = np.clip(self._roots @ np.sqrt(self._means).T, 0, 1)
        far = np.sqrt(1 - alike.max(axis=1))
        return np.asarray(far / (float(np.median(far)) or 1.0), np.float64)

    def record(self, target: TargetRecord | None, blank: int) -> ClassStrategies:
        """Return what was found."""
        grouping = self._grouping
        flagged = self._p_value is not None and self._p_value <= SIGNIFICANT
        margins = grouping.margins if grouping else (0.0,)
        odd = grouping.most_apart if grouping and flagged else None
        ways = tuple(self._strategy(group, margins[group], odd == group) for group in range(len(margins)))
        right, wrong = self._right_and_wrong(self._rows)
        return ClassStrategies(
            target=target,
            images=len(self._rows),
            blank=blank,
            right=right,
            wrong=wrong,
            accuracy=_accuracy(right, wrong),
            eigenvalues=tuple(_rounded(grouping.eigenvalues)) if grouping else (),
            eigengap=grouping.eigengap if grouping else 0.0,
            p_value=self._p_value,
            flagged=flagged,
            mean_map=_picture((self._roots**2).mean(axis=0)),
            strategies=ways,
        )

    def _strategy(self, group: int, gap: float, odd: bool) -> Strategy:
        members = np.flatnonzero(self.labels == group)
        order = members[np.argsort(-self._own[members], kind="stable")]
        right, wrong = self._right_and_wrong(self._rows[members])
        paths = [self._maps.paths[row] for row in self._rows[order]]
        return Strategy(
            number=group,
            size=len(members),
            right=right,
            wrong=wrong,
            accuracy=_accuracy(right, wrong),
            mean_map=_picture(self._means[group]),
            likeness=float(self._own[members].mean()),
            gap=gap if len(self._means) > 1 else None,
            odd=odd,
            typical=tuple(paths[:_SHOWN]),
            outlying=tuple(paths[: -_SHOWN - 1 : -1]),
        )

    def _right_and_wrong(self, rows: Iterable[int]) -> tuple[int, int]:
        known = [self._maps.correct[row] for row in rows]
        return known.count(True), known.count(False)


def small(values: NDArray[np.float32], record: MapRecord) -> NDArray[np.uint8] | None:
    """Return the energy of a map over the network's input at the small common size, 0..255; None if it has none.

    values: (h, w). The result is (`SIDE`, `SIDE`). Where the network does not look, there is no energy.
    """
    fine = SIDE * max(_FINE, -(-max(values.shape) // SIDE))
    heat = np.where(np.isfinite(values) & (values > 0), values, np.float32(0))
    laid = upsample(heat, (0, 0, fine, fine), (fine, fine), *([record.window] if record.window else []))
    cells = np.nan_to_num(laid).reshape(SIDE, fine // SIDE, SIDE, fine // SIDE).mean(axis=(1, 3))
    peak = float(cells.max())
    return np.rint(cells * (_LEVELS / peak)).astype(np.uint8) if peak > 0 else None


def _accuracy(right: int, wrong: int) -> float | None:
    return right / (right + wrong) if right + wrong else None


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _picture(cells: Array) -> tuple[tuple[float, ...], ...]:
    shares = np.round(cells / cells.max(), 3).reshape(SIDE, SIDE)
    return tuple(tuple(row) for row in shares.tolist())
