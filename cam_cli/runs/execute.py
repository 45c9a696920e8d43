"""One run: walk the images, explain those that are not finished, and leave a record of every one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cam_cli.errors import ImageError, SmoothcamError, TooManyFailuresError
from cam_cli.images.find import Found
from cam_cli.runs.audience import Audience
from cam_cli.runs.decoders import Decoders
from cam_cli.runs.files import printable
from cam_cli.runs.index import path_hash
from cam_cli.runs.interruption import Interrupted, Interruption
from cam_cli.runs.manifest import Failure, Manifest
from cam_cli.runs.outcome import Outcome
from cam_cli.runs.prepare import Opened, Prepared, source_of
from cam_cli.runs.recipe import Recipe
from cam_cli.runs.recorder import Explained, Recorder
from cam_cli.runs.resume import Resume, Verdict
from cam_cli.runs.shard import Shard

if TYPE_CHECKING:
    from cam_cli.runs.studio import Studio

_MOST_NOTES = 10
_LONGEST_MESSAGE = 500

_WAITING = 2
"""So many images, or as many as a pass takes, may wait, decoded, for the engine."""


@dataclass(frozen=True)
class Task:
    """An image that is to be done, with its targets."""

    found: Found
    verdict: Verdict
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Ready:
    """An image that the engine can take."""

    task: Task
    opened: Opened
    image: Prepared


class Execution:
    """Carries out a run; every image ends as a record, and no image stops another.

    Args:
        open_studio: loads the model; called when the first image needs it. most_failures: the run stops after one more than
            these; None: never.
    """

    def __init__(
        self,
        open_studio: Callable[[], Studio],
        recipe: Recipe,
        resume: Resume,
        recorder: Recorder,
        decoders: Decoders,
        shard: Shard,
        audience: Audience,
        outcome: Outcome,
        interruption: Interruption,
        most_failures: int | None,
    ) -> None:
        self._open_studio = open_studio
        self._recipe = recipe
        self._resume = resume
        self._recorder = recorder
        self._decoders = decoders
        self._shard = shard
        self._audience = audience
        self._outcome = outcome
        self._interruption = interruption
        self._most_failures = most_failures
        self._notes = 0
        self._writing: deque[tuple[Explained, Path, Future[Manifest]]] = deque()

    def run(self, images: Iterable[Found]) -> None:
        """Explain every image that is not finished.

        Raises:
            SmoothcamError: the run as a whole cannot go on. TooManyFailuresError: it may not. Interrupted: a signal came.
        """
        tasks = self._tasks(images)
        first = next(tasks, None)
        if first is None:
            return
        self._decoders.start()
        studio = self._open_studio()
        jobs = ((task, task.found.path, task.verdict.known) for task in chain([first], tasks))
        opened = self._decoders.opened(jobs, studio.preparation, max(_WAITING, studio.images_in_a_pass))
        with ThreadPoolExecutor(self._recorder.writers, "writer") as writer:
            try:
                for batch in self._batches(opened, studio):
                    with self._interruption.held_back():
                        self._explain(studio, batch, writer)
                        self._publish(all_but=len(batch))
                        self._stop_at_too_many_failures()
            except (Interrupted, TooManyFailuresError):
                with self._interruption.held_back():
                    self._publish(all_but=0)
                raise
            with self._interruption.held_back():
                self._publish(all_but=0)
                self._stop_at_too_many_failures()

    def _batches(self, opened: Iterable[tuple[Task, Opened]], studio: Studio) -> Iterator[list[Ready]]:
        batch: list[Ready] = []
        for ready in self._ready(opened):
            batch.append(ready)
            if len(batch) >= studio.images_in_a_pass:
                yield batch
                batch = []
        if batch:
            yield batch

    def _tasks(self, images: Iterable[Found]) -> Iterator[Task]:
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
                    self._fail(Task(found, verdict, ()), Opened(None, None), error)
            else:
                yield Task(found, verdict, targets)

    def _ready(self, results: Iterable[tuple[Task, Opened]]) -> Iterator[Ready]:
        for task, opened in results:
            if opened.image is not None:
                self._tell_notes(task.found, opened.image.notes)
                yield Ready(task, opened, opened.image)
                continue
            with self._interruption.held_back():
                if opened.error is not None:
                    self._record_failure(task, opened, opened.error)
                elif task.verdict.row is not None:
                    self._recorder.unchanged(task.verdict.row, opened)

    def _tell_notes(self, found: Found, notes: Sequence[str]) -> None:
        """Tell what a person should know of a photo; of a dataset's, the first few, as each manifest has its own."""
        for note in notes:
            self._notes += 1
            tell = self._audience.say if self._notes <= _MOST_NOTES else self._audience.detail
            tell(f"{printable(found.path)}: {note}")
            if self._notes == _MOST_NOTES:
                self._audience.say(
                    "further notes of this kind are told with --verbose only, and stand in the manifests"
                )

    def _explain(self, studio: Studio, batch: Sequence[Ready], writer: Executor) -> None:
        """Explain a batch, and have its files written while the next one is explained.

        If it fails as a whole, its images are explained one by one, so that none pays for a neighbour.
        """
        started = time.perf_counter()
        rows, halvings = studio.rows_in_a_pass, studio.halvings
        try:
            explanations = studio.explain([(ready.image, ready.task.targets) for ready in batch])
        except SmoothcamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is this batch's failure, not the run's
            if len(batch) == 1:
                self._fail(batch[0].task, batch[0].opened, error)
            else:
                for ready in batch:
                    self._explain(studio, [ready], writer)
            return
        if studio.halvings > halvings:
            self._audience.warn(f"out of memory: passes of {studio.rows_in_a_pass} rows instead of {rows} from here on")
        share = (time.perf_counter() - started) / len(batch)
        for ready, explanation in zip(batch, explanations, strict=True):
            write = partial(studio.write, explanation, ready.image)
            work = Explained(ready.task.found, ready.opened, ready.image, ready.task.targets, share, write)
            staged = self._recorder.stage()
            self._writing.append((work, staged, writer.submit(self._recorder.write, work, staged)))

    def _publish(self, all_but: int) -> None:
        """Bring to their places, in order, the images whose files are written, and wait for all but the last few."""
        while self._writing and (len(self._writing) > all_but or self._writing[0][2].done()):
            work, staged, written = self._writing.popleft()
            self._recorder.explained(work, staged, written.result)

    def _fail(self, task: Task, opened: Opened, error: Exception) -> None:
        stage = error.stage if isinstance(error, ImageError) else "explain"
        message = str(error) if isinstance(error, ImageError) else _gist(error)
        self._record_failure(task, opened, Failure(stage=stage, type=type(error).__name__, message=message))

    def _record_failure(self, task: Task, opened: Opened, failure: Failure) -> None:
        known = opened if opened.source else replace(opened, source=source_of(task.found.path))
        self._recorder.failed(task.found, known, task.targets, failure)
        self._stop_at_too_many_failures()

    def _stop_at_too_many_failures(self) -> None:
        tried = self._outcome.failed - self._outcome.failed_before
        if self._most_failures is not None and tried > self._most_failures:
            raise TooManyFailuresError(
                f"stopped: {tried} images failed, and {self._most_failures} were allowed; what is finished stays, and the same "
                "command goes on from there"
            )


def _gist(error: Exception) -> str:
    """Return in one line what an error says, without the stack that TensorFlow puts into its messages."""
    lines = [line.strip() for line in str(error).splitlines()]
    stack = [number for number, line in enumerate(lines) if line.startswith('File "')]
    words = " ".join(" ".join(lines[stack[-1] + 1 if stack else 0 :]).split())
    return words[:_LONGEST_MESSAGE] or type(error).__name__
