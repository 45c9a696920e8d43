"""What a run is made of, without TensorFlow: a plan, an executor that does what it is told, and a reporter that listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cam_cli.decoding.image import stat_of
from cam_cli.errors import TooManyFailuresError
from cam_cli.executors.executor import Result, Task
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.models.labels import Labels
from cam_cli.pipeline.loop import Loop
from cam_cli.pipeline.recorder import Recorder
from cam_cli.pipeline.resume import Resume
from cam_cli.pipeline.stats import Stats
from cam_cli.plan.plan import Plan
from cam_cli.plan.targets import Targets
from cam_cli.results.index import Index
from cam_cli.results.manifest import Failure, ImageRecord, ModelRecord, Row
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.results.stores import result_store_at

Act = Callable[[Task], None]


def plan(by_path: dict[str, tuple[int, ...]] | None = None) -> Plan:
    """A plan for a model of five classes."""
    targets = Targets(Labels(), 5, "root", (-1,), by_path=by_path)
    return Plan("key", ModelRecord(name="m", sha256="0" * 64, input_size=(8, 8)), 5, {"seed": 0}, (), targets)


@dataclass
class Listener:
    """Keeps everything that a run reports."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    rows: list[tuple[Row, bool]] = field(default_factory=list)
    on_image: Callable[[Row], None] = lambda _: None

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def doing(self, what: str) -> None: ...

    def expect(self, total: int) -> None: ...

    def finish(self) -> None: ...

    def image(self, row: Row, *, skipped: bool) -> None:
        self.rows.append((row, skipped))
        self.on_image(row)


class ScriptedExecutor(AbstractContextManager["ScriptedExecutor"]):
    """Explains images as an executor must, with acts in between: it finishes what it has begun when the run is stopped.

    Args:
        acts: by the path of an image; called when it has been explained.
        failures: paths of images that fail.
        ahead: how many explained images wait before the first of them is yielded.
    """

    def __init__(
        self, run: Parts, acts: dict[str, Act] | None = None, failures: Iterable[str] = (), ahead: int = 0
    ) -> None:
        self._run = run
        self._acts = acts or {}
        self._failures = set(failures)
        self._ahead = ahead
        self.starts = 0
        self.explained: list[str] = []

    def __exit__(self, *_: object) -> None: ...

    def start(self, known: Plan | None) -> Plan:
        self.starts += 1
        return known or self._run.plan

    def explain(self, tasks: Iterable[Task]) -> Iterator[Result]:
        waiting: list[Result] = []
        taken = iter(tasks)
        try:
            while True:
                with self._run.interruption.interruptible():
                    task = next(taken, None)
                if task is None:
                    break
                waiting.append(self._explain(task))
                if len(waiting) > self._ahead:
                    yield waiting.pop(0)
        except (Interrupted, TooManyFailuresError):
            yield from waiting
            raise
        yield from waiting

    def _explain(self, task: Task) -> Result:
        path = str(task.image.relative)
        self.explained.append(path)
        if path in self._failures:
            return Result(task, failure=Failure(stage="decode", type="ImageError", message="cut off"))
        staged = self._run.store.stage()
        record = ImageRecord(path=path, sha256="1" * 64, width=1, height=1)
        manifest = self._run.plan.manifest(record, task.targets, status="ok")
        manifest.write(staged)
        source = stat_of(task.image.path)
        result = Result(task, source, "1" * 64, manifest=manifest, staged=staged)
        self._acts.get(path, lambda _: None)(task)
        return result


class Parts(AbstractContextManager["Parts"]):
    """The parts of one run into a folder; a context manager."""

    def __init__(self, out: Path, of: Plan | None = None, shard: Shard | None = None) -> None:
        self.out = out
        self.plan = of or plan()
        self.shard = shard or Shard()
        self.store: ResultStore = result_store_at(out, self.shard)
        self.listener = Listener()
        self.interruption = Interruption()
        self.stats = Stats()
        self._stack = ExitStack()

    def __enter__(self) -> Parts:
        self._stack.enter_context(self.store.open_for_writing(0, lambda: None))
        self.store.write_run_record(RunRecord(schema_version=1, root="in", settings=dict(self.plan.settings)))
        self.index = self._stack.enter_context(Index(self.out))
        self.rows = self._stack.enter_context(self.store.open_index())
        self.recorder = Recorder(
            self.store, self.index, self.rows, self.plan, self.listener, self.stats, self.interruption
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def loop(self, executor: ScriptedExecutor, most_failures: int | None = None, *, retry_failed: bool = False) -> Loop:
        resume = Resume(self.store, self.index, self.plan, retry_failed=retry_failed)
        start: Callable[[], Any] = lambda: executor.start(None)  # noqa: E731 - as the run makes it
        return Loop(
            executor, start, self.plan, self.shard, resume, self.recorder, self.stats, self.interruption, most_failures
        )


def images(folder: Path, *names: str) -> list[ImageFile]:
    """Image files, which are there but hold nothing that is decoded here."""
    found = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        found.append(ImageFile(path, PurePosixPath(name)))
    return found
