"""The loop of a run: every image that is not finished is explained, and every one ends as a record."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from cam_cli.errors import ImageError, TooManyFailuresError
from cam_cli.executors.executor import Executor, Result, Task, failure_of
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interruption
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import TOUCHED, Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.plan import Plan
from cam_cli.results.index import hash64
from cam_cli.results.shard import Shard
from cam_cli.text import printable


@dataclass(frozen=True)
class Loop:
    """Explains images and records what becomes of each; no image stops another.

    start: starts the executor; called when the first image needs it. most_failures: the run stops after one more; None: never.
    """

    executor: Executor
    start: Callable[[], object]
    plan: Plan
    shard: Shard
    resume: Resume
    recorder: Recorder
    stats: Stats
    interruption: Interruption
    most_failures: int | None

    def run(self, images: Iterable[ImageFile]) -> None:
        """Explain every image that is not finished; raises what ends a run: a SmoothcamError, or Interrupted after a signal."""
        with self.interruption.deferred():
            with self.interruption.interruptible():
                tasks = self._tasks(images)
                first = next(tasks, None)
                if first is None:
                    return
                self.start()
            explained = self.executor.explain(chain([first], tasks))
            lost = [result.task for result in explained if not self._record(result)]
            for result in self.executor.explain(lost):  # somebody removed the staging folder with their files
                if not self._record(result):
                    raise self.recorder.store.stopped_by(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _tasks(self, images: Iterable[ImageFile]) -> Iterator[Task]:
        """Yield what is to be explained, and record what is finished or fails without being read."""
        for image in images:
            path = printable(image.relative)
            if not self.shard.owns(hash64(path)):
                self.stats.outside_shard += 1
                continue
            self.stats.meet(path)
            verdict = self.resume.judge(image)
            if verdict.reason is None and verdict.row is not None:
                with self.interruption.deferred():
                    self.recorder.tell(verdict.row, skipped=True)
                continue
            truth = self.plan.truth_of(image.relative)
            try:
                targets = self.plan.targets.of(image.relative, truth)
            except ImageError as error:
                with self.interruption.deferred():
                    self._record(Result(Task(image, (), truth=truth), failure=failure_of(error)))
            else:
                yield Task(image, targets, verdict.row if verdict.reason == TOUCHED else None, truth)

    def _record(self, result: Result) -> bool:
        recorded = self.recorder.record(result)
        tried = self.stats.failed - self.stats.failed_before
        if self.most_failures is not None and tried > self.most_failures:
            self.interruption.stop(
                TooManyFailuresError(
                    f"stopped: {tried} images failed, and {self.most_failures} were allowed; what is finished stays, and the "
                    "same command goes on from there"
                )
            )
        return recorded
