"""`smoothcam explain` as one call: from paths and settings to a finished run folder."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cam_cli.config import RunConfig
from cam_cli.errors import SmoothcamError
from cam_cli.quiet import native_chatter_silenced
from cam_cli.runs.audience import Audience
from cam_cli.runs.decoders import Decoders
from cam_cli.runs.execute import Execution
from cam_cli.runs.files import printable, to_json
from cam_cli.runs.index import Index, path_hash
from cam_cli.runs.interruption import Interruption
from cam_cli.runs.outcome import Outcome
from cam_cli.runs.output import output_at
from cam_cli.runs.recall import Recollection, recall, recall_key, recipe_of
from cam_cli.runs.recipe import digest_of
from cam_cli.runs.recorder import Recorder
from cam_cli.runs.resume import Resume
from cam_cli.runs.search import Search, search_for
from cam_cli.runs.shard import Shard
from cam_cli.runs.sheet import write_sheet
from cam_cli.runs.versions import versions
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.runs.studio import Studio


def explain_run(
    paths: Sequence[Location],
    config: RunConfig,
    origin: Mapping[str, str],
    audience: Audience,
    interruption: Interruption,
) -> Outcome:
    """Explain every image that `paths` and the lists in `config` name, and return the counts.

    Args:
        paths: files, folders and globs. origin: where each setting came from, for the record. interruption: decides when a
            signal ends the run.

    Raises:
        UsageError: something asked for does not exist. NoImagesError: nothing matched. ModelError: the model cannot be
            explained. RunLockedError: another run is at work there. TooManyFailuresError: more than were allowed.
            SmoothcamError: the output folder cannot be written to. Interrupted: a signal came.
    """
    started = time.monotonic()
    outcome = Outcome()
    shard = Shard.parse(config.shard)
    search = search_for(paths, config)

    def unreadable(path: Location, error: OSError) -> None:
        outcome.unreadable_folders += 1
        audience.warn(f"{printable(path)}: folder skipped: {error.strerror}")

    images = search.some_images(unreadable)
    folder = output_at(config.output, shard)
    folder.make()
    with ExitStack() as stack:
        stack.enter_context(
            folder.locked(
                config.lock_wait,
                waiting=lambda: audience.say(
                    f"'{printable(config.output)}' is in use; waiting up to {config.lock_wait:g} s"
                ),
                holder=lambda: _holder(folder.last_run()),
            )
        )
        stack.enter_context(folder.staging())
        last = folder.last_run()
        run = _Run(config, search, shard, audience, recall(last, recall_key(config)))
        decoders = stack.enter_context(Decoders(config.workers or _workers(), config.image_timeout))
        if run.recalled is None:
            decoders.start()
            run.open_studio()
        record = {
            "schema_version": 1,
            "root": printable(search.root),
            "cwd": printable(Path.cwd()),
            "paths": [printable(path) for path in paths],
            "config": config.model_dump(mode="json"),
            "origin": dict(origin),
            "versions": versions(),
            "shard": shard.record(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _now(),
            **run.recollection.record(),
        }
        if difference := _difference(last, record):
            audience.say(
                f"{printable(config.output)}/ was made with {difference}; results of the same images are replaced"
            )
        for remark in run.recollection.remarks:
            audience.say(remark)
        index = stack.enter_context(Index(stack.enter_context(folder.index_files()), shard.owns))
        rows = stack.enter_context(folder.open_rows())
        folder.describe(record | {"state": "running"})
        recipe = recipe_of(run.recollection, config, search.root)
        execution = Execution(
            run.open_studio,
            recipe,
            Resume(folder, index, recipe, retry_failed=config.retry_failed),
            Recorder(folder, index, rows, recipe, audience, outcome),
            decoders,
            shard,
            audience,
            outcome,
            interruption,
            0 if config.fail_fast else config.max_failures,
        )
        state = "stopped"
        try:
            execution.run(images)
            state = "finished"
        finally:
            tell = audience.warn if outcome.exit_code else audience.say  # cron mails only what a quiet run says
            tell(f"{outcome.summary(time.monotonic() - started)}; see {printable(config.output)}/")
            try:
                rows.sync()
            except OSError as error:
                raise folder.stopped_by(error) from error
            folder.describe(record | {"state": state, "finished": _now(), "totals": outcome.totals()})
        if config.sheet:
            audience.say(
                write_sheet(folder, search.root, outcome.first_rows, outcome.images, decoders, config.max_pixels)
            )
    return outcome


class _Run:
    """The model of a run, opened when it is first needed, and what is known of it before."""

    def __init__(
        self, config: RunConfig, search: Search, shard: Shard, audience: Audience, recalled: Recollection | None
    ) -> None:
        self._config = config
        self._search = search
        self._shard = shard
        self._audience = audience
        self.recalled = recalled
        self._studio: Studio | None = None

    @property
    def recollection(self) -> Recollection:
        """What the plan found out, this run's or the last one's."""
        if self.recalled is not None:
            return self.recalled
        plan = self.open_studio().plan
        recipe = plan.recipe
        key = recall_key(self._config)
        return Recollection(key, recipe.model, recipe.classes, recipe.settings, plan.remarks)

    def open_studio(self) -> Studio:
        """Load the model, once.

        Raises:
            UsageError, ModelError: it cannot be explained so. SmoothcamError: it is not what the last run's record says.
        """
        if self._studio is None:
            _count_in_background(self._search, self._shard, self._audience)
            started = time.monotonic()
            with native_chatter_silenced():  # TensorFlow starts here, after all that can fail without it
                from cam_cli.runs.studio import Studio
            self._studio = Studio(self._config, self._search.root)
            self._audience.detail(f"model loaded in {time.monotonic() - started:.1f} s")
            recipe = self._studio.plan.recipe
            found = self.recalled
            if found and digest_of(found.model.sha256, found.settings) != digest_of(
                recipe.model.sha256, recipe.settings
            ):
                raise SmoothcamError(
                    f"run.json in '{self._config.output}' does not describe this model any more, though nothing it was "
                    "made from has changed; choose another folder with -o"
                )
        return self._studio


def _count_in_background(search: Search, shard: Shard, audience: Audience) -> None:
    """Tell the audience how many images there will be, once they are counted.

    The run does not wait for it, and one that finds nothing to do is over before it would be known.
    """

    def count() -> None:
        try:
            images = search.images(lambda *_: None)
            audience.expect(sum(shard.owns(path_hash(printable(found.relative))) for found in images))
        except SmoothcamError:
            pass  # the run meets the same mistake, and tells it

    if search.repeatable:
        threading.Thread(target=count, name="count", daemon=True).start()


def _workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def _holder(run: Mapping[str, Any]) -> str:
    if run.get("state") != "running":
        return ""
    return f" (process {run.get('pid')} on {run.get('host')}, since {run.get('started')})"


def _difference(last: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """Say in a few words how the last run into this folder differs from this one, where it does."""
    now = json.loads(to_json(record))
    words = {"root": "another root", "model": "another model", "settings": "other settings"}
    return " and ".join(text for name, text in words.items() if name in last and last[name] != now[name]) or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
