"""One run: walk the images, explain those that are not finished, and leave a record of every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from cam_cli.decoding.image import Decoded, source_of
from cam_cli.errors import ImageError, TooManyFailuresError
from cam_cli.executors.batch import failure_of
from cam_cli.executors.executor import Executor, Result, Task
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.recipe import Recipe
from cam_cli.reporter import Reporter
from cam_cli.results.index import path_hash
from cam_cli.results.manifest import Failure
from cam_cli.results.shard import Shard
from cam_cli.text import printable

_MOST_NOTES = 10


class Execution:
    """Carries out a run; every image ends as a record, and no image stops another.

    Args:
        open_executor: returns it, its model loaded; called when the first image needs it. most_failures: the run stops after
            one more than these; None: never.
    """

    def __init__(
        self,
        open_executor: Callable[[], Executor],
        recipe: Recipe,
        resume: Resume,
        recorder: Recorder,
        shard: Shard,
        reporter: Reporter,
        stats: Stats,
        interruption: Interruption,
        most_failures: int | None,
    ) -> None:
        self._open_workshop = open_executor
        self._recipe = recipe
        self._resume = resume
        self._recorder = recorder
        self._shard = shard
        self._audience = reporter
        self._outcome = stats
        self._interruption = interruption
        self._most_failures = most_failures
        self._ending = False
        self._notes = 0

    def run(self, images: Iterable[ImageFile]) -> None:
        """Explain every image that is not finished.

        Raises:
            SmoothcamError: the run as a whole cannot go on. TooManyFailuresError: it may not. Interrupted: a signal came.
        """
        tasks = self._tasks(images)
        first = next(tasks, None)
        if first is None:
            return
        executor = self._open_workshop()
        try:
            executor.work(chain([first], tasks), self._settle)
        except (Interrupted, TooManyFailuresError):
            self._ending = True
            with self._interruption.held_back():
                executor.finish(self._settle)
            raise

    def _tasks(self, images: Iterable[ImageFile]) -> Iterator[Task]:
        """Yield what is to be done, and settle on the way what is finished or needs no photo to fail."""
        for found in images:
            if not self._shard.owns(path_hash(printable(found.relative))):
                self._outcome.outside_shard += 1
                continue
            self._outcome.meet(printable(found.relative))
            verdict = self._resume.judge(found)
            if verdict.reason is None and verdict.row is not None:
                self._recorder.tell(verdict.row, skipped=True)
                continue
            try:
                targets = self._recipe.targets_of(found.relative)
            except ImageError as error:
                with self._interruption.held_back():
                    self._record_failure(Task(found, verdict, ()), Decoded(None, None), failure_of(error))
            else:
                yield Task(found, verdict, targets)

    def _settle(self, result: Result) -> None:
        """Record a result; see `Settle`."""
        task, opened = result.task, result.opened
        self._tell_notes(task.found, result.notes)
        if result.files is not None:
            self._recorder.explained(task.found, opened, task.targets, result.files)
            self._stop_at_too_many_failures()
        elif result.failure is not None:
            self._record_failure(task, opened, result.failure)
        elif task.verdict.row is not None:
            self._recorder.unchanged(task.verdict.row, opened)

    def _tell_notes(self, found: ImageFile, notes: Sequence[str]) -> None:
        """Tell what a person should know of a photo; of a dataset's, the first few, as each manifest has its own."""
        for note in notes:
            self._notes += 1
            tell = self._audience.say if self._notes <= _MOST_NOTES else self._audience.detail
            tell(f"{printable(found.path)}: {note}")
            if self._notes == _MOST_NOTES:
                self._audience.say(
                    "further notes of this kind are told with --verbose only, and stand in the manifests"
                )

    def _record_failure(self, task: Task, opened: Decoded, failure: Failure) -> None:
        known = opened if opened.source else replace(opened, source=source_of(task.found.path))
        self._recorder.failed(task.found, known, task.targets, failure)
        self._stop_at_too_many_failures()

    def _stop_at_too_many_failures(self) -> None:
        tried = self._outcome.failed - self._outcome.failed_before
        if self._most_failures is not None and tried > self._most_failures and not self._ending:
            raise TooManyFailuresError(
                f"stopped: {tried} images failed, and {self._most_failures} were allowed; what is finished stays, and the same "
                "command goes on from there"
            )
