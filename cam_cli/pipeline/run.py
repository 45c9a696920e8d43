"""`smoothcam explain` as one call: from paths and settings to a finished run folder."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cam_cli.config import RunConfig
from cam_cli.decoding.pool import DecoderPool, cores, decoders_for
from cam_cli.errors import SmoothcamError
from cam_cli.executors.executor import Executor
from cam_cli.executors.local import LocalExecutor
from cam_cli.executors.ray.cluster import check_installed
from cam_cli.executors.ray.executor import RayExecutor
from cam_cli.executors.writer import Writer
from cam_cli.interruption import Interruption
from cam_cli.pipeline.contact_sheet import write_sheet
from cam_cli.pipeline.discover import Discovery, discovery_for
from cam_cli.pipeline.execute import Execution
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.recall import Recollection, recall, recall_key, recipe_of
from cam_cli.reporter import Reporter
from cam_cli.results.index import Index, path_hash
from cam_cli.results.run_record import PlanRecord, RunRecord, versions
from cam_cli.results.shard import Shard
from cam_cli.results.store import result_store_at
from cam_cli.storage.location import Location
from cam_cli.text import printable


def explain_run(
    paths: Sequence[Location],
    config: RunConfig,
    origin: Mapping[str, str],
    reporter: Reporter,
    interruption: Interruption,
) -> Stats:
    """Explain every image that `paths` and the lists in `config` name, and return the counts.

    Args:
        paths: files, folders and globs. origin: where each setting came from, for the record. interruption: decides when a
            signal ends the run.

    Raises:
        UsageError: something asked for does not exist. NoImagesError: nothing matched. ModelError: the model cannot be
            explained. RunLockedError: another run is at work there. TooManyFailuresError: more than were allowed.
            SmoothcamError: the output folder cannot be written to. Interrupted: a signal came.
    """
    if config.on:
        check_installed()
    started = time.monotonic()
    stats = Stats()
    shard = Shard.parse(config.shard)
    search = discovery_for(paths, config)

    def unreadable(path: Location, error: OSError) -> None:
        stats.unreadable_folders += 1
        reporter.warn(f"{printable(path)}: folder skipped: {error.strerror}")

    images = search.some_images(unreadable)
    folder = result_store_at(config.output, shard)
    with ExitStack() as stack:
        stack.enter_context(
            folder.open_for_writing(
                config.lock_wait,
                waiting=lambda: reporter.say(
                    f"'{printable(config.output)}' is in use; waiting up to {config.lock_wait:g} s"
                ),
            )
        )
        last = folder.last_run()
        decoders = stack.enter_context(DecoderPool(config.workers or decoders_for(cores()), config.image_timeout))
        executor: Executor = (
            RayExecutor(config, search.root, folder, reporter, interruption)
            if config.on
            else LocalExecutor(config, search.root, folder, decoders, reporter, interruption)
        )
        stack.enter_context(executor)
        run = _Run(config, search, shard, reporter, executor, recall(last, recall_key(config)))
        recollection = run.recollection
        record = RunRecord(
            root=printable(search.root),
            cwd=printable(Path.cwd()),
            paths=tuple(printable(path) for path in paths),
            config=config.model_dump(mode="json"),
            origin=dict(origin),
            versions=versions(),
            shard=shard if shard.count > 1 else None,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
            state="running",
            model=recollection.model,
            settings=dict(recollection.settings),
            plan=PlanRecord(key=recollection.key, classes=recollection.classes, remarks=recollection.remarks),
        )
        if difference := _difference(last, record):
            reporter.say(
                f"{printable(config.output)}/ was made with {difference}; results of the same images are replaced"
            )
        for remark in recollection.remarks:
            reporter.say(remark)
        index = stack.enter_context(Index(stack.enter_context(folder.index_files()), shard.owns))
        rows = stack.enter_context(folder.open_index())
        folder.write_run_record(record)
        recipe = recipe_of(recollection, config, search.root)
        execution = Execution(
            run.open_executor,
            recipe,
            Resume(folder, index, recipe, retry_failed=config.retry_failed),
            Recorder(folder, index, rows, Writer(folder, recipe), reporter, stats),
            shard,
            reporter,
            stats,
            interruption,
            0 if config.fail_fast else config.max_failures,
        )
        state: Literal["stopped", "finished"] = "stopped"
        try:
            execution.run(images)
            state = "finished"
        finally:
            tell = reporter.warn if stats.exit_code else reporter.say  # cron mails only what a quiet run says
            tell(f"{stats.summary(time.monotonic() - started)}; see {printable(config.output)}/")
            try:
                rows.sync()
            except OSError as error:
                raise folder.stopped_by(error) from error
            folder.write_run_record(
                record.model_copy(update={"state": state, "finished": _now(), "totals": stats.totals()})
            )
        if config.sheet:
            reporter.say(write_sheet(folder, search.root, stats.first_rows, stats.images, decoders, config.max_pixels))
    return stats


class _Run:
    """The executor of a run, opened when it is first needed, and what is known of the model before."""

    def __init__(
        self,
        config: RunConfig,
        search: Discovery,
        shard: Shard,
        reporter: Reporter,
        executor: Executor,
        recalled: Recollection | None,
    ) -> None:
        self._config = config
        self._search = search
        self._shard = shard
        self._audience = reporter
        self._workshop = executor
        self._recalled = recalled
        self._found: Recollection | None = None

    @property
    def recollection(self) -> Recollection:
        """What the plan found out, this run's or the last one's."""
        return self._recalled or self._opened()

    def open_executor(self) -> Executor:
        """Return the executor, its model loaded.

        Raises:
            UsageError, ModelError: it cannot be explained so. SmoothcamError: it is not what the last run's record says.
        """
        self._opened()
        return self._workshop

    def _opened(self) -> Recollection:
        if self._found is None:
            _count_in_background(self._search, self._shard, self._audience)
            self._found = found = self._workshop.open(self._recalled)
            if self._recalled is not None and self._recalled.digest != found.digest:
                raise SmoothcamError(
                    f"run.json in '{self._config.output}' does not describe this model any more, though nothing it was "
                    "made from has changed; choose another folder with -o"
                )
        return self._found


def _count_in_background(search: Discovery, shard: Shard, reporter: Reporter) -> None:
    """Tell the reporter how many images there will be, once they are counted.

    The run does not wait for it, and one that finds nothing to do is over before it would be known.
    """

    def count() -> None:
        try:
            images = search.images(lambda *_: None)
            reporter.expect(sum(shard.owns(path_hash(printable(found.relative))) for found in images))
        except SmoothcamError:
            pass  # the run meets the same mistake, and tells it

    if search.repeatable:
        threading.Thread(target=count, name="count", daemon=True).start()


def _difference(last: RunRecord | None, record: RunRecord) -> str | None:
    """Return in a few words how the last run into this folder differs from this one; None if it does not."""
    now = RunRecord.from_json(record.to_json())
    words = {"root": "another root", "model": "another model", "settings": "other settings"}
    return (
        " and ".join(text for name, text in words.items() if last and getattr(last, name) != getattr(now, name)) or None
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
