"""Images explained in this process: opened ahead by decoder processes, and written by a thread behind the engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cam_cli.config import RunConfig
from cam_cli.decoding.image import Decoded
from cam_cli.decoding.pool import DecoderPool
from cam_cli.executors.batch import Ready, explained
from cam_cli.executors.executor import Files, Result, Settle, Task, Written
from cam_cli.executors.writer import Explained, Writer
from cam_cli.interruption import Interruption
from cam_cli.plan.recall import Recollection, recollection_of
from cam_cli.quiet import native_chatter_silenced
from cam_cli.reporter import Reporter
from cam_cli.results.manifest import Failure
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.executors.worker import Worker

_WAITING = 2
"""So many images, or as many as a pass takes, may wait, decoded, for the engine."""


@dataclass(frozen=True)
class _Writing:
    """An explained image whose files a thread is at."""

    task: Task
    work: Explained
    future: Future[Written]


class LocalExecutor:
    """The executor in this process; see `Executor`."""

    def __init__(
        self,
        config: RunConfig,
        root: Location,
        folder: ResultStore,
        decoders: DecoderPool,
        reporter: Reporter,
        interruption: Interruption,
    ) -> None:
        self._config = config
        self._root = root
        self._folder = folder
        self._decoders = decoders
        self._audience = reporter
        self._interruption = interruption
        self._writer = ThreadPoolExecutor(folder.writers, "writer")
        self._writing: deque[_Writing] = deque()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()

    def open(self, known: Recollection | None) -> Recollection:  # noqa: ARG002 - an open model knows for itself
        """See `Executor`."""
        self._decoders.start()
        started = time.monotonic()
        with native_chatter_silenced():  # TensorFlow starts here, after all that can fail without it
            from cam_cli.executors.worker import Worker
        self._studio = Worker(self._config, self._root)
        self._scribe = Writer(self._folder, self._studio.plan.recipe)
        self._audience.detail(f"model loaded in {time.monotonic() - started:.1f} s")
        return recollection_of(self._studio.plan, self._config)

    def work(self, tasks: Iterable[Task], settle: Settle) -> None:
        """See `Executor`."""
        worker = self._studio
        jobs = ((task, task.found.path, task.verdict.known) for task in tasks)
        opened = self._decoders.opened(jobs, worker.decode_settings, max(_WAITING, worker.images_in_a_pass))
        for batch in self._batches(opened, worker, settle):
            with self._interruption.held_back():
                self._explain(worker, batch, settle)
                self._settle(settle, all_but=len(batch))
        with self._interruption.held_back():
            self.finish(settle)

    def finish(self, settle: Settle) -> None:
        """See `Executor`."""
        self._settle(settle, all_but=0)

    def _batches(
        self, results: Iterable[tuple[Task, Decoded]], worker: Worker, settle: Settle
    ) -> Iterator[list[tuple[Task, Ready]]]:
        """Yield the images to explain, as many as a pass takes, and settle on the way those that cannot or need not be."""
        batch: list[tuple[Task, Ready]] = []
        for task, opened in results:
            if opened.image is None:
                with self._interruption.held_back():
                    settle(Result(task, opened, failure=opened.error))
                continue
            batch.append((task, Ready(task.found, task.targets, opened, opened.image)))
            if len(batch) >= worker.images_in_a_pass:
                yield batch
                batch = []
        if batch:
            yield batch

    def _explain(self, worker: Worker, batch: Sequence[tuple[Task, Ready]], settle: Settle) -> None:
        """Explain a batch, and have its files written while the next one is explained."""
        results = explained(worker, [ready for _, ready in batch], self._audience.warn)
        for (task, ready), work in zip(batch, results, strict=True):
            if isinstance(work, Failure):
                settle(Result(task, ready.opened, ready.image.notes, failure=work))
            else:
                self._writing.append(_Writing(task, work, self._writer.submit(self._scribe.write, work)))

    def _settle(self, settle: Settle, all_but: int) -> None:
        """Settle, in order, the images whose files are written, and wait for all but the last few."""
        while self._writing and (len(self._writing) > all_but or self._writing[0].future.done()):
            writing = self._writing.popleft()
            work = writing.work
            files = Files(writing.future.result, partial(self._scribe.write, work))
            settle(Result(writing.task, work.opened, work.image.notes, files=files))
