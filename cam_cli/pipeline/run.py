"""`smoothcam explain` as one call: from paths and settings to a finished folder of results."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from cam_cli.config import RunConfig
from cam_cli.decoding.pool import DecoderPool, decoders_for
from cam_cli.errors import SmoothcamError
from cam_cli.executors.executor import Executor
from cam_cli.executors.local import LocalExecutor
from cam_cli.executors.ray.cluster import check_installed
from cam_cli.images.formats import left_out_text
from cam_cli.interruption import Interruption
from cam_cli.machine import cores
from cam_cli.pipeline.contact_sheet import write_sheet
from cam_cli.pipeline.discover import Discovery, discovery_for
from cam_cli.pipeline.few_images import FEW, image_lines
from cam_cli.pipeline.loop import Loop
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.early import check_early
from cam_cli.plan.plan import Plan, PlanInputs, plan_from
from cam_cli.render.figure import check_installed as check_matplotlib
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, hash64
from cam_cli.results.run_record import PlanRecord, RunRecord, versions
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.results.stores import result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable


def explain_run(
    paths: Sequence[Location],
    config: RunConfig,
    origin: Mapping[str, str],
    reporter: Reporter,
    interruption: Interruption,
    before_summary: Callable[[Stats], None] = lambda _: None,
) -> Stats:
    """Explain every image that `paths` and the lists in `config` name, and return the counts.

    Args:
        origin: where each setting came from, for the record.
        interruption: decides when a signal ends the run.
        before_summary: called when all images are done; what it tells comes before the run's last line.

    Raises:
        UsageError: something asked for does not exist. NoImagesError: nothing matched. ModelError: the model cannot be
            explained. RunLockedError: another run writes to the same folder. TooManyFailuresError: more than were allowed.
            SmoothcamError: the output folder cannot be written to. Interrupted: a signal came.
    """
    if config.on:
        check_installed()
    if "figure" in config.write:
        check_matplotlib()
    shard = Shard.parse(config.shard)
    discovery = discovery_for(paths, config)
    start_of_run, started, stats = datetime.now(UTC), time.monotonic(), Stats()

    def on_unreadable(path: Location, error: OSError) -> None:
        stats.unreadable_folders += 1
        reporter.warn(f"{printable(path)}: folder skipped: {error.strerror}")

    images = discovery.some_images(on_unreadable, stats.left_out)
    inputs = PlanInputs.of(config, discovery.root)
    check_early(inputs)
    store = result_store_at(config.output, shard)
    with ExitStack() as stack:
        in_use = f"'{printable(config.output)}' is in use; waiting up to {config.lock_wait:g} s"
        stack.enter_context(store.open_for_writing(config.lock_wait, lambda: reporter.say(in_use)))
        last_run = store.last_run()
        decoders = stack.enter_context(
            DecoderPool(config.workers or decoders_for(cores()), config.image_timeout, interruption.deferred)
        )
        executor = stack.enter_context(_executor(inputs, store, decoders, reporter, interruption))
        known = plan_from(last_run, inputs)

        @cache
        def start() -> Plan:  # when it is first needed: for the plan or for an image
            _count_in_background(discovery, shard, reporter)
            reporter.doing("loading the model")
            plan = executor.start(known)
            reporter.doing("")
            if known is not None and known.digest != plan.digest:
                raise SmoothcamError(
                    f"run.json in '{config.output}' does not describe this model any more, though nothing it was made from has "
                    "changed; choose another folder with -o"
                )
            return plan

        plan = known or start()
        stats.truth.multi_label = plan.model.multi_label
        record = RunRecord(
            root=printable(discovery.root),
            earlier_roots=_earlier_roots(last_run, printable(discovery.root)),
            cwd=printable(Path.cwd()),
            paths=tuple(printable(path) for path in paths),
            config=config.model_dump(mode="json"),
            origin=dict(origin),
            versions=versions(),
            shard=shard if shard.count > 1 else None,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_iso(start_of_run),
            state="running",
            model=plan.model,
            settings=dict(plan.settings),
            plan=PlanRecord(key=plan.key, classes=plan.classes, remarks=plan.remarks),
        )
        if difference := _difference(last_run, record):
            output = printable(config.output)
            reporter.say(f"{output}/ was made with {difference}; results of the same images are replaced")
        for remark in plan.remarks:
            reporter.say(remark)
        index = stack.enter_context(Index(stack.enter_context(store.index_files()), shard.owns))
        rows = stack.enter_context(store.open_index())
        store.write_run_record(record)
        recorder = Recorder(store, index, rows, plan, reporter, stats, interruption)
        resume = Resume(store, index, plan, config.retry_failed)
        most_failures = 0 if config.fail_fast else config.max_failures
        loop = Loop(executor, start, plan, shard, resume, recorder, stats, interruption, most_failures)
        state: Literal["stopped", "finished"] = "stopped"
        try:
            loop.run(images)
            state = "finished"
        finally:
            seconds = time.monotonic() - started
            try:
                with store.writing():
                    rows.sync()
                finished = _iso(start_of_run + timedelta(seconds=seconds))
                ended = {"state": state, "finished": finished, "totals": stats.totals()}
                store.write_run_record(record.model_copy(update=ended))
                if config.sheet and state == "finished":
                    reporter.say(write_sheet(store, discovery.root, stats, config, decoders))
            finally:
                reporter.finish()
                if stats.images <= FEW:
                    for line in image_lines(store, stats.first_rows, multi_label=stats.truth.multi_label):
                        reporter.say(line)
                if stats.left_out:
                    reporter.say(left_out_text(stats.left_out))
                if state == "finished":
                    before_summary(stats)
                tell = reporter.warn if stats.exit_code else reporter.say  # cron mails only what a quiet run says
                tell(f"{stats.summary(seconds)}; see {printable(config.output)}/")
    return stats


def _executor(
    inputs: PlanInputs, store: ResultStore, decoders: DecoderPool, reporter: Reporter, interruption: Interruption
) -> Executor:
    if inputs.config.on:
        from cam_cli.executors.ray.executor import RayExecutor

        return RayExecutor(inputs, store, reporter, interruption)
    return LocalExecutor(inputs, store, decoders, reporter, interruption)


def _count_in_background(discovery: Discovery, shard: Shard, reporter: Reporter) -> None:
    """Report how many images there will be, once they are counted; the run does not wait for it."""

    def count() -> None:
        try:
            images = discovery.images(lambda *_: None)
            reporter.expect(sum(shard.owns(hash64(printable(image.relative))) for image in images))
        except SmoothcamError:
            pass  # the run meets the same mistake, and tells it

    if discovery.repeatable:
        threading.Thread(target=count, name="count", daemon=True).start()


def _earlier_roots(last: RunRecord | None, root: str) -> tuple[str, ...]:
    """Return the roots of earlier runs into the same folder that are other ones."""
    roots = (*last.earlier_roots, last.root) if last else ()
    return tuple(one for one in dict.fromkeys(roots) if one and one != root)


def _difference(last: RunRecord | None, record: RunRecord) -> str | None:
    """Return in a few words how the last run into this folder differs from this one; None if it does not."""
    if last is None:
        return None
    now = RunRecord.from_json(record.to_json())
    words = {"root": "another root", "model": "another model", "settings": "other settings"}
    return " and ".join(text for name, text in words.items() if getattr(last, name) != getattr(now, name)) or None


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
