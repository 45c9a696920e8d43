"""Images explained in this process: decoded ahead by other processes, and written by threads while the next are explained."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from typing_extensions import override

from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import TooManyFailuresError
from cam_cli.executors.executor import Executor, Ready, Result, Task
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.plan.plan import Plan, PlanInputs
from cam_cli.quiet import native_chatter_silenced
from cam_cli.reporter import Reporter
from cam_cli.results.store import ResultStore

_FEWEST_AHEAD = 2
"""So many images, or as many as a pass takes at first, are decoded ahead."""


@dataclass
class LocalExecutor(Executor):
    """The executor in this process; see `Executor`."""

    inputs: PlanInputs
    store: ResultStore
    decoders: DecoderPool
    reporter: Reporter
    interruption: Interruption
    _writing: deque[Future[Result]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.store.writers, "writer")

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    @override
    def start(self, known: Plan | None) -> Plan:
        self.decoders.start()
        started = time.monotonic()
        with native_chatter_silenced():
            from cam_cli.executors.worker import Worker
            from cam_cli.executors.writer import Writer
        self._worker = Worker(self.inputs, self.reporter.say)
        resolved = self._worker.resolved
        self._writer = Writer(self.store, resolved.plan, resolved.labels, self.inputs.config)
        self.reporter.detail(f"model loaded in {time.monotonic() - started:.1f} s")
        return resolved.plan

    @override
    def explain(self, tasks: Iterable[Task]) -> Iterator[Result]:
        batch: list[Ready] = []
        ahead = max(_FEWEST_AHEAD, self._worker.images_in_a_pass)
        decoding = self._worker.decode(self.decoders, tasks, ahead)
        try:
            while True:
                with self.interruption.interruptible():
                    decoded = next(decoding, None)
                if decoded is None:
                    break
                if isinstance(decoded, Result):
                    yield decoded
                    continue
                batch.append(decoded)
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
        for explained in self._worker.explain(batch, self.reporter.warn) if batch else ():
            if isinstance(explained, Result):
                yield explained
            else:
                self._writing.append(self._threads.submit(self._writer.write, *explained))
        yield from self._written(all_but=len(batch))

    def _written(self, all_but: int) -> Iterator[Result]:
        """Yield, in order, the images whose files are written, and wait for all but the last few."""
        while self._writing and (len(self._writing) > all_but or self._writing[0].done()):
            yield self._writing.popleft().result()
