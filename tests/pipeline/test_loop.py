"""The loop of a run: every image ends as one record, whatever stops the run, and nothing is begun after that."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from parts import Parts, ScriptedExecutor, images, plan

from cam_cli.errors import SmoothcamError, TooManyFailuresError
from cam_cli.interruption import Interrupted
from cam_cli.results.shard import Shard

pytestmark = pytest.mark.pure


def states(out: Path) -> dict[str, str]:
    """The status of every image that has a manifest, by its path."""
    manifests = [json.loads(path.read_text()) for path in out.rglob("manifest.json") if ".work" not in str(path)]
    return {manifest["image"]["path"]: manifest["status"] for manifest in manifests}


def indexed(out: Path) -> list[str]:
    return [json.loads(line)["path"] for line in (out / "index.jsonl").read_text().splitlines()]


def test_every_image_ends_as_a_record_and_as_one_row(tmp_path: Path) -> None:
    with Parts(tmp_path / "out") as run:
        executor = ScriptedExecutor(run, failures=["b.png"], ahead=2)
        run.loop(executor).run(images(tmp_path / "in", "a.png", "b.png", "sub/c.png"))
    assert states(run.out) == {"a.png": "ok", "b.png": "failed", "sub/c.png": "ok"}
    assert sorted(indexed(run.out)) == ["a.png", "b.png", "sub/c.png"]
    assert (run.stats.explained, run.stats.failed, run.stats.exit_code) == (2, 1, 3)


def test_the_model_is_loaded_for_an_image_that_needs_it_and_for_no_other(tmp_path: Path) -> None:
    files = images(tmp_path / "in", "a.png", "b.png")
    with Parts(tmp_path / "out") as run:
        run.loop(ScriptedExecutor(run)).run(files)
    with Parts(tmp_path / "out") as run:
        executor = ScriptedExecutor(run)
        run.loop(executor).run(files)
        assert executor.starts == 0
        assert run.stats.skipped == 2
    files[1].path.write_bytes(b"other")
    with Parts(tmp_path / "out") as run:
        executor = ScriptedExecutor(run)
        run.loop(executor).run(files)
        assert (executor.starts, executor.explained) == (1, ["b.png"])


def test_an_image_without_a_target_fails_unread(tmp_path: Path) -> None:
    with Parts(tmp_path / "out", plan({"a.png": (1,)})) as run:
        executor = ScriptedExecutor(run)
        run.loop(executor).run(images(tmp_path / "in", "a.png", "b.png"))
    assert executor.explained == ["a.png"]
    assert states(run.out) == {"a.png": "ok", "b.png": "failed"}
    assert json.loads((run.out / "b.png" / "manifest.json").read_text())["error"]["stage"] == "target"


def test_images_of_other_shards_are_counted_and_left(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(20)]
    done: list[str] = []
    for index in (1, 2):
        with Parts(tmp_path / "out", shard=Shard(index, 2)) as run:
            executor = ScriptedExecutor(run)
            run.loop(executor).run(images(tmp_path / "in", *names))
            assert run.stats.outside_shard == 20 - len(executor.explained)
            done += executor.explained
    assert sorted(done) == sorted(names)


@pytest.mark.parametrize("ahead", [0, 2])
def test_too_many_failures_end_the_run_after_what_is_explained(tmp_path: Path, ahead: int) -> None:
    names = ["a.png", "bad1.png", "bad2.png", "b.png", "c.png", "d.png", "e.png", "f.png"]
    with Parts(tmp_path / "out") as run:
        executor = ScriptedExecutor(run, failures=["bad1.png", "bad2.png"], ahead=ahead)
        with pytest.raises(TooManyFailuresError, match="2 images failed, and 1 were allowed"):
            run.loop(executor, most_failures=1).run(images(tmp_path / "in", *names))
    assert set(states(run.out)) == set(executor.explained), "what was explained is recorded"
    assert len(executor.explained) == 3 + ahead, "nothing else is begun"


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_signal_ends_the_run_after_what_is_explained(tmp_path: Path, ahead: int) -> None:
    names = [f"{i}.png" for i in range(9)]
    with Parts(tmp_path / "out") as run:
        stop = lambda _: run.interruption.stop(Interrupted(signal.SIGTERM))  # noqa: E731
        executor = ScriptedExecutor(run, acts={"4.png": stop}, ahead=ahead)
        with pytest.raises(Interrupted):
            run.loop(executor).run(images(tmp_path / "in", *names))
    assert executor.explained == names[:5]
    assert sorted(indexed(run.out)) == names[:5]
    assert set(states(run.out)) == set(names[:5])


def test_a_reader_that_left_ends_the_run_like_a_signal(tmp_path: Path) -> None:
    def leave(_: object) -> None:
        raise Interrupted(signal.SIGPIPE)

    with Parts(tmp_path / "out") as run:
        run.listener.on_image = leave
        executor = ScriptedExecutor(run, ahead=1)
        with pytest.raises(Interrupted) as reason:
            run.loop(executor).run(images(tmp_path / "in", "a.png", "b.png", "c.png", "d.png"))
    assert reason.value.signum == signal.SIGPIPE
    assert set(states(run.out)) == set(executor.explained) == {"a.png", "b.png"}


def test_a_reader_that_left_is_noticed_among_finished_images_too(tmp_path: Path) -> None:
    files = images(tmp_path / "in", *(f"{i}.png" for i in range(6)))
    with Parts(tmp_path / "out") as run:
        run.loop(ScriptedExecutor(run)).run(files)

    def leave(_: object) -> None:
        raise Interrupted(signal.SIGPIPE)

    with Parts(tmp_path / "out") as run:
        run.listener.on_image = leave
        with pytest.raises(Interrupted):
            run.loop(ScriptedExecutor(run)).run(files)
        assert len(run.listener.rows) == 1


def test_files_that_are_removed_before_they_are_published_are_made_again(tmp_path: Path) -> None:
    removals = []

    def remove(_: object) -> None:
        if not removals:
            removals.append(1)
            shutil.rmtree(next((tmp_path / "out").glob(".work/*")))

    with Parts(tmp_path / "out") as run:
        executor = ScriptedExecutor(run, acts={"b.png": remove})
        run.loop(executor).run(images(tmp_path / "in", "a.png", "b.png", "c.png"))
    assert executor.explained == ["a.png", "b.png", "c.png", "b.png"]
    assert states(run.out) == dict.fromkeys(["a.png", "b.png", "c.png"], "ok")


def test_files_that_are_removed_again_end_the_run_in_one_line(tmp_path: Path) -> None:
    with Parts(tmp_path / "out") as run:
        remove = lambda _: shutil.rmtree(tmp_path / "out" / ".work")  # noqa: E731
        executor = ScriptedExecutor(run, acts={"a.png": remove})
        with pytest.raises(SmoothcamError, match="No such file or directory"):
            run.loop(executor).run(images(tmp_path / "in", "a.png"))
