"""The count of what became of the images; it is what the command's exit code and last lines are made from."""

from collections import Counter
from dataclasses import dataclass, field

from cam_cli.errors import ExitCode
from cam_cli.results.manifest import Row
from cam_cli.results.run_record import ShareRecord, Totals
from cam_cli.results.tally import TruthTally

MOST_ROWS = 60
"""So many of a run's first images, and of those that it got wrong, are kept for its contact sheet."""


@dataclass
class Stats:
    """Counts of one run, added to as it goes on; `failed_before` is the part of `failed` that was not tried again.

    left_out: files that look like images and are left out of folders, by ending. truth: whether the network is right.
    wrong_rows: of the first images counted on which it is wrong.
    """

    explained: int = 0
    skipped: int = 0
    failed: int = 0
    failed_before: int = 0
    outside_shard: int = 0
    maps: int = 0
    blank_maps: int = 0
    nonfinite_maps: int = 0
    unreadable_folders: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    wrong_rows: list[Row] = field(default_factory=list)
    truth: TruthTally = field(default_factory=TruthTally)
    _first: dict[str, Row | None] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of images met."""
        return self.explained + self.skipped + self.failed

    @property
    def exit_code(self) -> ExitCode:
        """How the run went: all done, some images failed or folders could not be read, or no image was met."""
        if self.images == 0 and not self.outside_shard:
            return ExitCode.NO_IMAGES
        return ExitCode.SOME_FAILED if self.failed or self.unreadable_folders else ExitCode.DONE

    def figures(self) -> dict[str, float]:
        """Return what an audit can bound: the shares of failed images and of blank maps, and how often the network is right."""
        shares = {"failed": self.failed / self.images} if self.images else {}
        blank = {"blank": self.blank_maps / self.maps} if self.maps else {}
        return shares | blank | self.truth.figures()

    @property
    def first_rows(self) -> list[Row]:
        """The rows of the first images met, in the order they were met, whatever the order they were done in."""
        return [row for row in self._first.values() if row is not None]

    def meet(self, path: str) -> None:
        """Take note of an image, by its path as its row will have it, that will be counted later."""
        if len(self._first) < MOST_ROWS:
            self._first.setdefault(path, None)

    def count(self, row: Row, *, skipped: bool = False) -> None:
        """Count one image by its row (see `Manifest.row`)."""
        if row["path"] in self._first:
            self._first[row["path"]] = row
        if row["status"] == "failed":
            self.failed += 1
            self.failed_before += skipped
            return
        self.truth.add(row)
        if row.get("correct") is False and len(self.wrong_rows) < MOST_ROWS:
            self.wrong_rows.append(row)
        self.skipped += skipped
        self.explained += not skipped
        states = [entry["state"] for entry in row["maps"]]
        self.maps += len(states)
        self.blank_maps += states.count("blank")
        self.nonfinite_maps += states.count("nonfinite")

    def totals(self) -> Totals:
        """Return the counts as they stand in run.json."""
        top1, top5 = (ShareRecord.of(one) if one else None for one in (self.truth.top1, self.truth.top5))
        counted = {name: getattr(self, name) for name in Totals.model_fields if hasattr(self, name)}
        known = {"right": self.truth.right, "wrong": self.truth.wrong, "unknown_truth": self.truth.unknown}
        return Totals(**counted, **known, top1=top1, top5=top5)

    def summary(self, seconds: float) -> str:
        """Return one line for the person who ran it."""
        parts = [f"{self.explained} explained"]
        parts += [f"{self.skipped} already done"] if self.skipped else []
        tried = self.failed - self.failed_before
        parts += [f"{tried} failed"] if tried else []
        parts += [f"{self.failed_before} failed before (--retry-failed tries again)"] if self.failed_before else []
        parts += [str(self.truth)] if str(self.truth) else []
        parts += [f"{self.outside_shard} left to other shards"] if self.outside_shard else []
        parts += [f"{self.unreadable_folders} folders could not be read"] if self.unreadable_folders else []
        states = {"blank": self.blank_maps, "nonfinite": self.nonfinite_maps}
        parts += [f"{n} {state} map{'s' if n > 1 else ''}" for state, n in states.items() if n]
        rate = f", {self.explained / seconds:.1f} images/s" if self.explained and seconds > 0 else ""
        return f"{', '.join(parts)} in {seconds:.1f} s{rate}"
