"""The executor in this process: what it takes at a time, what it finishes when it is stopped, and what it holds in memory."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from cam_cli.config import RunConfig
from cam_cli.decoding.pool import DecoderPool
from cam_cli.executors import worker as worker_module
from cam_cli.executors.executor import Result, Task
from cam_cli.executors.local import LocalExecutor
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.plan.plan import PlanInputs
from cam_cli.results.shard import Shard
from cam_cli.results.stores import result_store_at


class Silent:
    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def doing(self, what: str) -> None: ...

    def expect(self, total: int) -> None: ...

    def image(self, row: object, *, skipped: bool) -> None: ...


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


@pytest.fixture
def executor(model_file: Path, tmp_path: Path, interruption: Interruption) -> Iterator[LocalExecutor]:
    config = RunConfig(model=str(model_file), layers=("conv2",), write=("raw",), output=tmp_path / "out", workers=1)
    store = result_store_at(tmp_path / "out", Shard())
    with ExitStack() as stack:
        stack.enter_context(store.open_for_writing(0, lambda: None))
        decoders = stack.enter_context(DecoderPool(1, 60))
        inputs = PlanInputs.of(config, tmp_path)
        found = LocalExecutor(inputs, store, decoders, Silent(), interruption)
        stack.enter_context(found)
        found.start(None)
        yield found


def tasks(folder: Path, count: int, broken: tuple[int, ...] = ()) -> list[Task]:
    folder.mkdir()
    draw = np.random.default_rng(1)
    found = []
    for number in range(count):
        path = folder / f"{number:02}.png"
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
        if number in broken:
            path.write_text("no image")
        found.append(Task(ImageFile(path, PurePosixPath(path.name)), (-1,)))
    return found


def names(results: list[Result]) -> list[str]:
    return sorted(str(result.task.image.relative) for result in results)


def test_every_task_has_one_result_with_its_files_or_its_failure(executor: LocalExecutor, tmp_path: Path) -> None:
    asked = tasks(tmp_path / "in", 15, broken=(3, 11))
    results = list(executor.explain(asked))
    assert names(results) == [str(task.image.relative) for task in asked]
    failed = {str(result.task.image.relative) for result in results if result.failure}
    assert failed == {"03.png", "11.png"}
    for result in results:
        if result.failure is None:
            assert result.manifest is not None
            assert result.staged is not None
            assert {path.name for path in result.staged.iterdir()} >= {"manifest.json"}
            assert result.manifest.image.sha256 == result.sha256


def test_an_image_with_known_bytes_is_not_explained(executor: LocalExecutor, tmp_path: Path) -> None:
    (task,) = tasks(tmp_path / "in", 1)
    (explained,) = executor.explain([task])
    assert explained.manifest is not None
    (again,) = executor.explain([Task(task.image, (-1,), explained.manifest.row())])
    assert (again.manifest, again.failure, again.sha256) == (None, None, explained.sha256)


def test_when_it_is_stopped_it_finishes_what_is_explained_and_begins_nothing(
    executor: LocalExecutor, interruption: Interruption, tmp_path: Path
) -> None:
    asked = tasks(tmp_path / "in", 40)
    taken: list[Task] = []

    def coming() -> Iterator[Task]:
        for task in asked:
            taken.append(task)
            yield task

    results: list[Result] = []

    def collect() -> None:
        with interruption.deferred():
            for result in executor.explain(coming()):
                results.append(result)
                interruption.stop(Interrupted(signal.SIGTERM))

    with pytest.raises(Interrupted):
        collect()
    assert 1 <= len(results) < 20
    assert all(result.manifest is not None for result in results)
    assert len(taken) < 40, "no more images are taken"


def test_a_pass_takes_images_up_to_its_share_of_memory(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    explain = executor._worker.explain

    def noting(batch, warn):  # type: ignore[no-untyped-def]
        sizes.append(len(batch))
        return explain(batch, warn)

    monkeypatch.setattr(executor._worker, "explain", noting)
    list(executor.explain(tasks(tmp_path / "in", 12)))
    assert max(sizes) == executor._worker.images_in_a_pass > 2
    one = 40 * 40 * 3 + 32 * 32 * 3 * 4
    monkeypatch.setattr(worker_module, "MOST_BYTES", 2 * one)
    sizes.clear()
    list(executor.explain(tasks(tmp_path / "more", 12)))
    assert max(sizes) == 2
