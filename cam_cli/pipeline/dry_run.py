"""What a run would do, told without loading a model or writing a byte."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cam_cli.config import RunConfig
from cam_cli.images.formats import left_out_text
from cam_cli.pipeline.discover import discovery_for
from cam_cli.pipeline.resume import FAILED, TOUCHED, Resume, Verdict
from cam_cli.plan.early import check_early
from cam_cli.plan.plan import PlanInputs, plan_from
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, hash64
from cam_cli.results.shard import Shard
from cam_cli.results.stores import result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable

Action = Literal["explain", "check", "skip", "collide"]


@dataclass(frozen=True)
class Planned:
    """What would become of an image: `explain`, `check` its bytes first, `skip`, or `collide` with other files; and why."""

    path: str
    action: Action
    reason: str


def dry_run(paths: Sequence[Location], config: RunConfig, reporter: Reporter) -> Iterator[Planned]:
    """Yield what `explain_run` would do, in the order of the run, and report the totals at the end; raises the same errors."""
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    shard = Shard.parse(config.shard)
    discovery = discovery_for(paths, config)
    images = discovery.some_images(
        lambda path, error: reporter.warn(f"{printable(path)}: folder skipped: {error.strerror}"), left_out
    )
    inputs = PlanInputs.of(config, discovery.root)
    check_early(inputs)
    store = result_store_at(config.output, shard)
    store.check()
    with store.index_files() as files, Index(files, shard.owns) as index:
        plan = plan_from(store.last_run(), inputs)
        resume = Resume(store, index, plan, config.retry_failed)
        for image in images:
            path = printable(image.relative)
            if not shard.owns(hash64(path)):
                counts["other shards"] += 1
                continue
            verdict = resume.judge(image)
            obstacle = store.obstacle(image.relative)
            planned = Planned(path, "collide", obstacle) if obstacle else _planned(path, verdict)
            counts[planned.action] += 1
            yield planned
    if left_out:
        reporter.say(left_out_text(left_out))
    words = {"check": "to check", "skip": "to skip", "collide": "in the way of other files"}
    words["other shards"] = "left to other shards"
    parts = [
        f"{counts['explain']} to explain",
        *(f"{counts[key]} {text}" for key, text in words.items() if counts[key]),
    ]
    reporter.say(f"{', '.join(parts)}; nothing was written")


def _planned(path: str, verdict: Verdict) -> Planned:
    if verdict.reason == TOUCHED:
        return Planned(path, "check", verdict.reason)
    if verdict.reason is not None:
        return Planned(path, "explain", verdict.reason)
    failed = verdict.row is not None and verdict.row["status"] == "failed"
    return Planned(path, "skip", f"{FAILED}; --retry-failed tries it again" if failed else "finished")
