"""What a run would do, told without loading a model or writing a byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cam_cli.config import RunConfig
from cam_cli.pipeline.discover import discovery_for
from cam_cli.pipeline.resume import FAILED, TOUCHED, Resume, Verdict
from cam_cli.plan.plan import PlanInputs, plan_from
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, path_hash
from cam_cli.results.shard import Shard
from cam_cli.results.store import result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable

Action = Literal["explain", "check", "skip", "collide"]


@dataclass(frozen=True)
class Planned:
    """What would become of one image.

    action: `explain`; `check` its bytes, and explain it if they have changed; `skip`; or `collide`: its folder in the output is
    taken. reason: in a few words.
    """

    path: str
    action: Action
    reason: str


@dataclass
class DryRun:
    """Tells, image by image, what `explain_run` with the same arguments would do.

    Raises:
        UsageError, NoImagesError: as `explain_run` does.
    """

    paths: Sequence[Location]
    config: RunConfig
    reporter: Reporter
    counts: Counter[str] = field(default_factory=Counter)
    outside_shard: int = 0

    def images(self) -> Iterator[Planned]:
        """Yield what would be done, in the order of the run."""
        config = self.config
        shard = Shard.parse(config.shard)
        discovery = discovery_for(self.paths, config)

        def unreadable(path: Location, error: OSError) -> None:
            self.reporter.warn(f"{printable(path)}: folder skipped: {error.strerror}")

        images = discovery.some_images(unreadable)
        store = result_store_at(config.output, shard)
        store.check()
        with store.index_files() as files, Index(files, shard.owns) as index:
            plan = plan_from(store.last_run(), PlanInputs.of(config, discovery.root))
            resume = Resume(store, index, plan, config.retry_failed)
            for image in images:
                path = printable(image.relative)
                if not shard.owns(path_hash(path)):
                    self.outside_shard += 1
                    continue
                verdict = resume.judge(image)
                obstacle = store.obstacle(image.relative)
                planned = Planned(path, "collide", obstacle) if obstacle else _planned(path, verdict)
                self.counts[planned.action] += 1
                yield planned

    def summary(self) -> str:
        """Return one line of totals."""
        parts = [f"{self.counts['explain']} to explain"]
        for action, words in (("check", "to check"), ("skip", "to skip"), ("collide", "in the way of other files")):
            parts += [f"{self.counts[action]} {words}"] if self.counts[action] else []
        parts += [f"{self.outside_shard} left to other shards"] if self.outside_shard else []
        return f"{', '.join(parts)}; nothing was written"


def _planned(path: str, verdict: Verdict) -> Planned:
    if verdict.reason == TOUCHED:
        return Planned(path, "check", verdict.reason)
    if verdict.reason is not None:
        return Planned(path, "explain", verdict.reason)
    failed = verdict.row is not None and verdict.row["status"] == "failed"
    return Planned(path, "skip", f"{FAILED}; --retry-failed tries it again" if failed else "finished")
