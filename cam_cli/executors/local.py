"""Images explained in this process: decoded ahead by other processes, and written by threads while the next are explained."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import TooManyFailuresError
from cam_cli.executors.executor import Ready, Result, Task
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.plan.plan import Plan, PlanInputs
from cam_cli.quiet import native_chatter_silenced
from cam_cli.reporter import Reporter
from cam_cli.results.store import ResultStore

_FEWEST_AHEAD = 2
"""So many images, or as many as a pass takes at first, are decoded ahead."""


class LocalExecutor:
    """The executor in this process; see `Executor`."""

    def __init__(
        self,
        inputs: PlanInputs,
        store: ResultStore,
        decoders: DecoderPool,
        reporter: Reporter,
        interruption: Interruption,
    ) -> None:
        self._inputs = inputs
        self._store = store
        self._decoders = decoders
        self._reporter = reporter
        self._interruption = interruption
        self._threads = ThreadPoolExecutor(store.writers, "writer")
        self._writing: deque[Future[Result]] = deque()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def start(self, known: Plan | None) -> Plan:  # noqa: ARG002 - a loaded model knows for itself
        """See `Executor`."""
        self._decoders.start()
        started = time.monotonic()
        with native_chatter_silenced():  # TensorFlow is imported here, after everything that can fail without it
            from cam_cli.executors.worker import Worker
            from cam_cli.executors.writer import Writer
        self._worker = Worker(self._inputs)
        plan = self._worker.plan
        self._writer = Writer(self._store, plan, self._worker.resolved.labels, self._inputs.config)
        self._reporter.detail(f"model loaded in {time.monotonic() - started:.1f} s")
        return plan

    def explain(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """See `Executor`."""
        batch: list[Ready] = []
        jobs = ((task, task.image.path, task.known_sha256) for task in tasks)
        ahead = max(_FEWEST_AHEAD, self._worker.images_in_a_pass)
        decoding = self._decoders.decode(jobs, self._worker.decode_settings, ahead)
        try:
            while True:
                with self._interruption.interruptible():
                    task, decoded = next(decoding, (None, None))
                if task is None or decoded is None:
                    break
                if decoded.image is None:
                    yield Result(task, decoded.source, decoded.sha256, failure=decoded.error)
                    continue
                batch.append(Ready(task, decoded, decoded.image))
                if self._worker.is_full(batch):
                    yield from self._explain(batch)
                    batch = []
            yield from self._explain(batch)
        except (Interrupted, TooManyFailuresError):
            yield from self._written(all_but=0)
            raise
        yield from self._written(all_but=0)

    def _explain(self, batch: Sequence[Ready]) -> Iterator[Result]:
        """Explain a batch and have its files written, while the one before it is waited for."""
        for explained in self._worker.explain(batch, self._reporter.warn) if batch else ():
            if isinstance(explained, Result):
                yield explained
            else:
                self._writing.append(self._threads.submit(self._writer.write, *explained))
        yield from self._written(all_but=len(batch))

    def _written(self, all_but: int) -> Iterator[Result]:
        """Yield, in order, the images whose files are written, and wait for all but the last few."""
        while self._writing and (len(self._writing) > all_but or self._writing[0].done()):
            yield self._writing.popleft().result()
