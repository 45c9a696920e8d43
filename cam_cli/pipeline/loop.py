"""The loop of a run: every image that is not finished is explained, and every one ends as a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from cam_cli.errors import ImageError, TooManyFailuresError
from cam_cli.executors.executor import Executor, Result, Task, failure_of
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interruption
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import TOUCHED, Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.plan import Plan
from cam_cli.results.index import path_hash
from cam_cli.results.shard import Shard
from cam_cli.text import printable


class Loop:
    """Explains images and records what becomes of each; no image stops another.

    Args:
        start: starts the executor; called when the first image needs it.
        most_failures: the run stops after one more than these; None: never.
    """

    def __init__(
        self,
        executor: Executor,
        start: Callable[[], object],
        plan: Plan,
        shard: Shard,
        resume: Resume,
        recorder: Recorder,
        stats: Stats,
        interruption: Interruption,
        most_failures: int | None,
    ) -> None:
        self._executor = executor
        self._start = start
        self._plan = plan
        self._shard = shard
        self._resume = resume
        self._recorder = recorder
        self._stats = stats
        self._interruption = interruption
        self._most_failures = most_failures

    def run(self, images: Iterable[ImageFile]) -> None:
        """Explain every image that is not finished.

        Raises:
            SmoothcamError: the run as a whole cannot go on. TooManyFailuresError: it may not. Interrupted: a signal came.
        """
        with self._interruption.deferred():
            with self._interruption.interruptible():
                tasks = self._tasks(images)
                first = next(tasks, None)
                if first is None:
                    return
                self._start()
            explain = self._executor.explain
            lost = [result.task for result in explain(chain([first], tasks)) if not self._record(result)]
            for result in explain(lost):  # somebody removed the staging folder with their files
                if not self._record(result):
                    raise self._recorder.stopped_by_loss(result)

    def _tasks(self, images: Iterable[ImageFile]) -> Iterator[Task]:
        """Yield what is to be explained, and record what is finished or fails without being read."""
        for image in images:
            path = printable(image.relative)
            if not self._shard.owns(path_hash(path)):
                self._stats.outside_shard += 1
                continue
            self._stats.meet(path)
            verdict = self._resume.judge(image)
            if verdict.reason is None and verdict.row is not None:
                with self._interruption.deferred():
                    self._recorder.tell(verdict.row, skipped=True)
                continue
            try:
                targets = self._plan.targets_of(image.relative)
            except ImageError as error:
                with self._interruption.deferred():
                    self._record(Result(Task(image, ()), failure=failure_of(error)))
            else:
                yield Task(image, targets, verdict.row if verdict.reason == TOUCHED else None)

    def _record(self, result: Result) -> bool:
        """Record a result; return False if its files were removed before they could be published."""
        recorded = self._recorder.record(result)
        tried = self._stats.failed - self._stats.failed_before
        if self._most_failures is not None and tried > self._most_failures:
            self._interruption.stop(
                TooManyFailuresError(
                    f"stopped: {tried} images failed, and {self._most_failures} were allowed; what is finished stays, and the "
                    "same command goes on from there"
                )
            )
        return recorded
