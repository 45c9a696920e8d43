"""What one or several run folders add up to: images, failures, maps and classes, and which shards are finished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, get_args

from cam_cli.errors import ExitCode, UsageError
from cam_cli.images.formats import left_out_text
from cam_cli.results.index import Index
from cam_cli.results.manifest import Row
from cam_cli.results.run_record import RunRecord, ShareRecord
from cam_cli.results.run_truth import RunTruth, truth_of_run
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.results.stores import result_store_at
from cam_cli.results.tally import TruthTally
from cam_cli.results.truth import TruthSource
from cam_cli.storage.location import Location
from cam_cli.text import printable

Kind = TypeVar("Kind", tuple[str, str], tuple[int, str])
State = Literal["finished", "stopped", "running", "unknown", "missing"]
MOST_CLASSES = 10
MOST_EXAMPLES = 3
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class FailureCount:
    """Images that failed at one stage with one type of error; `examples` are the paths of some."""

    stage: str
    type: str
    images: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class MapCount:
    """Maps of one layer and method, by their state."""

    layer: str
    method: str
    ok: int
    blank: int
    nonfinite: int


@dataclass(frozen=True)
class ClassCount:
    """Images for which a class is the most likely one."""

    index: int
    label: str
    images: int


@dataclass(frozen=True)
class TruthCount:
    """Images by whether the network is right; see `run_record.Totals`. text: the same in words."""

    right: int
    wrong: int
    unknown: int
    top1: dict[str, float] | None
    top5: dict[str, float] | None
    text: str

    @classmethod
    def of(cls, tally: TruthTally) -> TruthCount | None:
        """Return what was counted; None if it was nothing."""
        if not (tally.known or tally.unknown):
            return None
        top1, top5 = (ShareRecord.of(one).model_dump() if one else None for one in (tally.top1, tally.top5))
        return cls(tally.right, tally.wrong, tally.unknown, top1, top5, str(tally))


@dataclass(frozen=True)
class ShardRun:
    """The last run of a shard: its number, from 1, and the folder and the state of its record.

    A `running` one may as well have been killed; `unknown`: the record cannot be read. images, seconds: None if unknown.
    """

    shard: int
    folder: str
    state: State
    images: int | None
    seconds: float | None

    @classmethod
    def of(cls, shard: int, folder: str, record: RunRecord) -> ShardRun:
        """Return what the record of a run says."""
        images = record.totals.images if record.totals else None
        return cls(shard, folder, record.state or "unknown", images, record.seconds)


@dataclass(frozen=True)
class Division:
    """A dataset cut into `count` shards (1: a run of the whole), with the last run of each that has a record, in order.

    current: some folder was last run so; if not, it was run in another division since.
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


@dataclass(frozen=True)
class Summary:
    """What runs add up to.

    ok, failed: images. failures: the most frequent first. maps: by layer and method. classes: the ten most frequent. truth: how
    many images are right; None where nobody said what is true. divisions: the current ones first. unreadable_folders: the most
    that a run could not read, as every shard meets the same ones.
    unreadable_lines: of the index. rows_missing: images that the runs counted and the index does not have, as when an index
    file was not copied. left_out: files that look like images and that no run took from its folders, by ending.
    """

    ok: int
    failed: int
    failures: tuple[FailureCount, ...]
    maps: tuple[MapCount, ...]
    classes: tuple[ClassCount, ...]
    truth: TruthCount | None
    divisions: tuple[Division, ...]
    unreadable_folders: int
    unreadable_lines: int
    rows_missing: int
    left_out: dict[str, int]

    @property
    def current(self) -> tuple[Division, ...]:
        """How the folders were last run: one division, unless they hold several datasets or half of two divisions."""
        return tuple(division for division in self.divisions if division.current)

    @property
    def left_out_text(self) -> str:
        """What a user is told of `left_out`; empty if there are none."""
        return left_out_text(self.left_out) if self.left_out else ""

    @property
    def complete(self) -> bool:
        """Whether every shard of the current divisions is finished."""
        return all(division.complete for division in self.current)

    @property
    def exit_code(self) -> ExitCode:
        """How the runs went: all is complete and nothing failed, or not."""
        done = self.complete and not self.failed and not self.unreadable_folders
        return ExitCode.DONE if done else ExitCode.SOME_FAILED

    def record(self) -> dict[str, Any]:
        """Return this as `smoothcam summarize --format json` prints it."""
        record = asdict(self) | {"complete": self.complete, "images": {"ok": self.ok, "failed": self.failed}}
        record["divisions"] = [
            asdict(division) | {state: division.shards(state) for state in get_args(State)}
            for division in self.divisions
        ]
        del record["ok"], record["failed"]
        if self.truth is not None:
            del record["truth"]["text"]
        return record


def summarize(
    folders: Sequence[Location], truth: TruthSource | None = None, on_row: Callable[[Row], None] = lambda _: None
) -> Summary:
    """Add up runs and shards; of several results for one image the latest counts, whichever folder it is in.

    Args:
        folders: of the runs.
        truth: where the true classes are, instead of what the runs knew of them.
        on_row: called with the row of each image, in the order of the index files.

    Raises UsageError if one is no run folder or the truth cannot be read, and SmoothcamError if an index cannot be read.
    """
    stores = [(printable(folder), result_store_at(folder, Shard())) for folder in folders]
    divisions, records = _divisions(stores)
    totals = [record.totals for record in records if record.totals]
    states: Counter[str] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    examples: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    maps: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    classes: Counter[tuple[int, str]] = Counter()
    tally = TruthTally(multi_label=any(record.model and record.model.multi_label for record in records))
    laid = _truth_over(truth, records, folders[0]) if truth is not None else None
    with ExitStack() as stack:
        index = stack.enter_context(Index([stack.enter_context(store.index_files()) for _, store in stores]))
        for found in index.rows():
            row = laid.over_row(found) if laid else found
            on_row(row)
            tally.add(row)
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
        truth=TruthCount.of(tally),
        divisions=divisions,
        unreadable_folders=max((total.unreadable_folders for total in totals), default=0),
        unreadable_lines=index.skipped_lines,
        rows_missing=max(0, sum(total.images for total in totals) - states.total()),
        left_out=_left_out(records),
    )


def _truth_over(source: TruthSource, records: Sequence[RunRecord], folder: Location) -> RunTruth:
    if len({record.settings.get("labels") for record in records}) > 1:
        raise UsageError("--truth goes with runs whose models have the same classes; summarize the others apart")
    return truth_of_run(source, records[0], folder)


def _left_out(records: Sequence[RunRecord]) -> dict[str, int]:
    """Return the files that were left out, by ending; all shards of a division meet the same ones."""
    counts: Counter[str] = Counter()
    of_shards: Counter[str] = Counter()
    for record in records:
        found = Counter(record.totals.left_out if record.totals else {})
        if record.shard is None:
            counts += found
        else:
            of_shards |= found
    return dict(sorted((counts + of_shards).items()))


def _by_frequency(counts: Counter[Kind]) -> list[tuple[Kind, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _divisions(stores: Sequence[tuple[str, ResultStore]]) -> tuple[tuple[Division, ...], list[RunRecord]]:
    """Return the divisions, the current ones first, and the records of the current ones.

    The shards of all folders are taken together; a run of the whole stands for itself in each folder.
    """
    runs: defaultdict[tuple[int, str], dict[int, tuple[str, RunRecord]]] = defaultdict(dict)
    current = set()
    for folder, store in stores:
        latest: list[tuple[datetime, tuple[int, str]]] = []
        try:
            for shard, record in store.run_records():
                key = (shard.count, folder if shard.count == 1 else "")
                start = record.start or _LONG_AGO
                _, earlier = runs[key].get(shard.index, (folder, record))
                if start >= (earlier.start or _LONG_AGO):
                    runs[key][shard.index] = folder, record
                latest.append((start, key))
        except OSError as error:
            raise UsageError(f"'{folder}' is no run folder: {error.strerror}") from None
        if not latest:
            raise UsageError(f"'{folder}' is no run folder: it holds no run.json")
        current.add(max(latest)[1])
    divisions = tuple(
        Division(key[0], tuple(ShardRun.of(shard, *run) for shard, run in sorted(runs[key].items())), key in current)
        for key in sorted(runs, key=lambda key: (key not in current, key))
    )
    return divisions, [record for key in current for _, record in runs[key].values()]
