"""What one or several run folders amount to: images, failures, maps and classes, and which shards are finished."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, get_args

from cam_cli.errors import UsageError
from cam_cli.results.index import Index
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore, result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable

Kind = TypeVar("Kind", tuple[str, str], tuple[int, str])
State = Literal["finished", "stopped", "running", "unknown", "missing"]
MOST_CLASSES = 10
MOST_EXAMPLES = 3
_RUN = re.compile(r"run(\.(?P<index>[1-9][0-9]{0,6})-of-(?P<count>[1-9][0-9]{0,6}))?\.json")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class FailureCount:
    """Images that failed in one way; `examples` are the paths of some."""

    stage: str
    type: str
    images: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class MapCount:
    """Maps of one layer and method, by what became of them."""

    layer: str
    method: str
    ok: int
    blank: int
    nonfinite: int


@dataclass(frozen=True)
class ClassCount:
    """Images that a class is the most likely for."""

    index: int
    label: str
    images: int


@dataclass(frozen=True)
class ShardRun:
    """The last run of a shard, as its record says.

    shard: its number, from 1. folder: where the record lies. state: `running` may as well be killed; `unknown` where the record
    cannot be read. started: long ago where it does not say. images: met; seconds: taken; both null where it does not say.
    """

    shard: int
    folder: str
    state: State
    started: datetime
    images: int | None
    seconds: float | None
    unreadable_folders: int


@dataclass(frozen=True)
class Division:
    """A dataset cut into `count` shards (1: a run of the whole), with the last run of each that has a record, in their order.

    current: some folder was last run so; where not, another division has taken its place.
    """

    count: int
    runs: tuple[ShardRun, ...]
    current: bool

    def shards(self, state: State) -> list[int]:
        """Return the numbers, from 1, of the shards in a state; `missing` are those without a record."""
        if state == "missing":
            return sorted({*range(1, self.count + 1)} - {run.shard for run in self.runs})
        return [run.shard for run in self.runs if run.state == state]

    @property
    def complete(self) -> bool:
        """Whether every shard is finished."""
        return len(self.shards("finished")) == self.count

    def record(self) -> dict[str, Any]:
        """Return this as `Summary.record` has it."""
        fields = ("shard", "folder", "state", "images", "seconds")
        return {
            "count": self.count,
            "current": self.current,
            "runs": [{name: getattr(run, name) for name in fields} for run in self.runs],
            **{state: self.shards(state) for state in get_args(State)},
        }


@dataclass(frozen=True)
class Summary:
    """What runs amount to.

    ok, failed: images. failures: the most frequent first. maps: by layer and method. classes: the ten most frequent. divisions:
    the current ones first. unreadable_lines: of the index, passed over.
    """

    ok: int
    failed: int
    failures: tuple[FailureCount, ...]
    maps: tuple[MapCount, ...]
    classes: tuple[ClassCount, ...]
    divisions: tuple[Division, ...]
    unreadable_lines: int

    @property
    def current(self) -> tuple[Division, ...]:
        """How the folders were last run: one division, unless they hold several datasets or half of two divisions."""
        return tuple(division for division in self.divisions if division.current)

    @property
    def complete(self) -> bool:
        """Whether every shard is finished."""
        return all(division.complete for division in self.current)

    @property
    def unreadable_folders(self) -> int:
        """Most folders that a run could not read; every shard meets the same ones."""
        return max(run.unreadable_folders for division in self.current for run in division.runs)

    @property
    def rows_missing(self) -> int:
        """By how many images the runs' own counts exceed the index's, as when an index file was not copied."""
        met = sum(run.images or 0 for division in self.current for run in division.runs)
        return max(0, met - self.ok - self.failed)

    @property
    def exit_code(self) -> int:
        """0 when all is complete and nothing failed, else 3."""
        return 0 if self.complete and not self.failed and not self.unreadable_folders else 3

    def record(self) -> dict[str, Any]:
        """Return this as `smoothcam summarize --format json` prints it."""
        return {
            "complete": self.complete,
            "images": {"ok": self.ok, "failed": self.failed},
            "failures": [asdict(entry) for entry in self.failures],
            "maps": [asdict(entry) for entry in self.maps],
            "classes": [asdict(entry) for entry in self.classes],
            "divisions": [entry.record() for entry in self.divisions],
            "unreadable_folders": self.unreadable_folders,
            "unreadable_lines": self.unreadable_lines,
            "rows_missing": self.rows_missing,
        }


def summarize(folders: Sequence[Location]) -> Summary:
    """Add up runs and shards; of several results for one image the latest counts, whichever folder it lies in.

    Raises:
        UsageError: one is no run folder. SmoothcamError: an index cannot be read.
    """
    outputs = [(printable(folder), result_store_at(folder, Shard())) for folder in folders]
    divisions = _divisions(outputs)
    states: Counter[str] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    examples: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    maps: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    classes: Counter[tuple[int, str]] = Counter()
    with ExitStack() as stack:
        index = stack.enter_context(Index([stack.enter_context(output.index_files()) for _, output in outputs]))
        for row in index.rows():
            states[row["status"]] += 1
            if error := row["error"]:
                kind = (error["stage"], error["type"])
                failures[kind] += 1
                if len(examples[kind]) < MOST_EXAMPLES:
                    examples[kind].append(row["path"])
            for entry in row["maps"]:
                maps[entry["layer"], entry["method"]][entry["state"]] += 1
            for best in row["predictions"][:1]:
                classes[best["index"], best["label"]] += 1
    return Summary(
        ok=states["ok"],
        failed=states["failed"],
        failures=tuple(FailureCount(*kind, n, tuple(examples[kind])) for kind, n in _by_frequency(failures)),
        maps=tuple(MapCount(*kind, of["ok"], of["blank"], of["nonfinite"]) for kind, of in sorted(maps.items())),
        classes=tuple(ClassCount(*kind, n) for kind, n in _by_frequency(classes)[:MOST_CLASSES]),
        divisions=divisions,
        unreadable_lines=index.skipped_lines,
    )


def _by_frequency(counts: Counter[Kind]) -> list[tuple[Kind, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _divisions(outputs: Sequence[tuple[str, ResultStore]]) -> tuple[Division, ...]:
    """Return the shards of all folders by their division, while the run of a whole stands for itself in each folder."""
    runs: defaultdict[tuple[int, str], dict[int, ShardRun]] = defaultdict(dict)
    current = set()
    for folder, output in outputs:
        latest: tuple[datetime, tuple[int, str]] | None = None
        for count, run in _runs_in(folder, output):
            division = (count, run.folder if count == 1 else "")
            earlier = runs[division].get(run.shard)
            if earlier is None or run.started >= earlier.started:
                runs[division][run.shard] = run
            if latest is None or (run.started, division) >= latest:
                latest = (run.started, division)
        if latest is None:
            raise UsageError(f"'{folder}' is no run folder: it holds no run.json")
        current.add(latest[1])
    found = [
        Division(key[0], tuple(of[shard] for shard in sorted(of)), key in current) for key, of in sorted(runs.items())
    ]
    return tuple(sorted(found, key=lambda division: not division.current))


def _runs_in(folder: str, output: ResultStore) -> Iterator[tuple[int, ShardRun]]:
    """Yield the runs of which a folder has a record, each with the number of shards of its division.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        records = list(output.run_records())
    except OSError as error:
        raise UsageError(f"'{folder}' is no run folder: {error.strerror}") from None
    for name, record in records:
        if match := _RUN.fullmatch(name):
            yield int(match["count"] or 1), _run(folder, record, int(match["index"] or 1))


def _run(folder: str, record: RunRecord | None, shard: int) -> ShardRun:
    record = record or RunRecord()
    totals = record.totals
    return ShardRun(
        shard,
        folder,
        record.state or "unknown",
        record.start or _LONG_AGO,
        totals.images if totals else None,
        record.seconds,
        totals.unreadable_folders if totals else 0,
    )
