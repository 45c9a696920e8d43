"""Runs that are killed, stopped, resumed and divided, and that come to the same end as one that nothing befell.

TensorFlow takes seconds to import, so most commands here are forked off a process that has done so; from there on they are the
real `main` in a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from launcher import Launcher, Process, await_that, environment
from run_trees import check_equal_maps, check_whole, image_folders, make_photos, rows, timeless


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def alive(group: int) -> bool:
    """Whether any process of a group lives; one that is dead and not yet waited for does not."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        if not Path("/proc/self/stat").exists():
            return True
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state != "Z":
                    return True
    return False


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> list[object]:
    """A command of six images."""
    photos = make_photos(tmp_path_factory.mktemp("few") / "photos", 6)
    return ["explain", photos, "--model", model_file, "--layer", "conv1", "-v"]


@dataclass
class Siege:
    """One run that is killed again and again, at moments drawn at random over all it does.

    Args:
        arguments: of the command. kills: how many. cold: how many of them hit a process that starts from nothing, rather than
            one forked off. images: their paths, in the order they are done. interval: seconds between two of them in a run
            left alone.
    """

    launcher: Launcher
    arguments: Sequence[object]
    out: Path
    kills: int
    cold: int
    images: Sequence[str]
    interval: float
    draw: random.Random = field(default_factory=lambda: random.Random(20240))
    groups: list[int] = field(default_factory=list)
    before_any_image: int = 0
    whole_groups: int = 0
    _first_image: dict[bool, float] = field(default_factory=lambda: {True: 30.0, False: 10.0})
    """Seconds from the start to the first image, of a cold start and of a fork; more than it takes until that is known."""

    def __post_init__(self) -> None:
        self.index = self.out / "index.jsonl"
        self._before = self.index.stat().st_size if self.index.exists() else 0

    def lay(self) -> None:
        cold = set(self.draw.sample(range(self.kills), self.cold))
        struck = 0
        for _ in range(2 * self.kills):
            if struck == self.kills:
                break
            struck += self._strike(cold=struck in cold, left=self.kills - struck)
            if self.out.exists():
                check_whole(self.out, over=False, read=struck % 10 == 0)
        assert struck == self.kills
        await_that(lambda: not any(map(alive, self.groups)))

    def done(self) -> set[str]:
        """The images that have a row from this run."""
        if not self.index.exists():
            return set()
        return {json.loads(line)["path"] for line in self.index.read_bytes()[self._before :].splitlines(keepends=True)}

    def _strike(self, *, cold: bool, left: int) -> bool:
        """Start the run and kill it; return whether the kill came before its end."""
        undone = len(self.images) - len(self.done())
        among_images = undone > 3 and self.draw.random() < undone / (3 * left)
        rows_before = lines(self.index)
        started = time.monotonic()
        process: Process = self._cold() if cold else self.launcher.start(*self.arguments)
        self.groups.append(process.pid)
        if among_images:
            wanted = rows_before + self.draw.choice((1, 1, 2))
            await_that(lambda: lines(self.index) >= wanted or process.poll() is not None)
            if self.draw.random() < 0.6:
                time.sleep(self.draw.uniform(0, 1.3 * self.interval))
            else:
                self._await_a_renaming(process)
        else:
            moment = started + self.draw.uniform(0, self._first_image[cold])
            await_that(
                lambda: time.monotonic() >= moment or lines(self.index) > rows_before or process.poll() is not None
            )
        if lines(self.index) > rows_before:
            self._first_image[cold] = min(self._first_image[cold], time.monotonic() - started)
        self._kill(process)
        await_that(lambda: process.poll() is not None)
        code = process.poll()
        assert code in (-signal.SIGKILL, 0, 3)
        self.before_any_image += code == -signal.SIGKILL and lines(self.index) == rows_before
        return code == -signal.SIGKILL

    def _await_a_renaming(self, process: Process) -> None:
        """Wait for the very moment at which an image comes to its place, or an earlier result of it is moved away."""
        done = self.done()
        following = next((path for path in self.images if path not in done), self.images[-1])
        awaited = self.out / ".work" / "retired" if self._before else self.out / following
        await_that(lambda: any(awaited.exists() for _ in range(500)) or process.poll() is not None, pause=0)

    def _cold(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "cam_cli", *map(str, self.arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )

    def _kill(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            if self.draw.random() < 0.25:
                self.whole_groups += 1
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("kills", "cold", "images", "made_before"),
    [
        pytest.param(6, 1, 10, False, id="quick"),
        pytest.param(200, 24, 300, False, id="200 kills", marks=pytest.mark.long),
        pytest.param(60, 0, 90, True, id="results of other settings are replaced", marks=pytest.mark.long),
    ],
)
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_is_left_alone(
    tmp_path: Path,
    model_file: Path,
    launcher: Launcher,
    record_testsuite_property: Callable[[str, object], None],
    kills: int,
    cold: int,
    images: int,
    made_before: bool,
) -> None:
    broken = 3
    photos = make_photos(tmp_path / "photos", images, broken)
    flags = "--layer conv1 --target top2 --nsamples 40 --write raw,heatmap,overlay,joint --sheet --workers 2"
    command = ["explain", photos, "--model", model_file, *flags.split()]
    spared = tmp_path / "spared"
    assert launcher.run(*command, "-o", spared).ended() == 3
    finished = {row["finished"]: path for path, row in rows(spared).items()}
    in_order = [finished[moment] for moment in sorted(finished)]
    interval = float(np.median(np.diff([float(moment[17:26]) for moment in sorted(finished)]) % 60))

    out = tmp_path / "out"
    if made_before:
        assert launcher.run(*command, "-o", out, "--seed", 1).ended() == 3
    siege = Siege(launcher, [*command, "-o", out], out, kills, cold, in_order, interval)
    started = time.monotonic()
    siege.lay()
    record_testsuite_property(
        f"{kills} kills",
        f"{siege.before_any_image} before the run had finished an image, {siege.whole_groups} of the whole process group; "
        f"{len(siege.done())} images finished meanwhile, in {time.monotonic() - started:.0f} s",
    )
    if kills >= 60:
        assert kills / 5 < siege.before_any_image < kills * 4 / 5

    last = launcher.run(*command, "-o", out)
    assert last.ended() == 3, last.said
    check_whole(out, over=True)
    assert sorted(rows(out)) == sorted(image_folders(out)) == sorted(rows(spared))
    mine, theirs = timeless(out), timeless(spared)
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []

    index = (out / "index.jsonl").read_bytes()
    assert launcher.run(*command, "-o", out).ended() == 3
    assert (out / "index.jsonl").read_bytes() == index
    assert {path: row["manifest_mtime_ns"] for path, row in rows(out).items()} == {
        path: (folder / "manifest.json").stat().st_mtime_ns for path, folder in image_folders(out).items()
    }


def test_an_image_whose_row_a_kill_prevented_is_looked_at_once_more_and_then_never_again(
    tmp_path: Path, launcher: Launcher, few: list[object]
) -> None:
    out = tmp_path / "out"
    index = out / "index.jsonl"
    assert launcher.run(*few, "-o", out).ended() == 0
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[:-1]))
    manifests = {path: folder.joinpath("manifest.json").stat() for path, folder in image_folders(out).items()}

    assert launcher.run(*few, "-o", out).ended() == 0
    assert lines(index) == 6
    assert {path: row["manifest_mtime_ns"] for path, row in rows(out).items()} == {
        path: manifest.st_mtime_ns for path, manifest in manifests.items()
    }
    again = launcher.run(*few, "-o", out)
    assert again.ended() == 0
    assert lines(index) == 6
    assert "model loaded" not in again.said


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("equality") / "photos", 18)


@pytest.fixture(scope="module")
def explain(photos: Path, model_file: Path) -> list[object]:
    """A command in which the noise matters and several images share a pass."""
    return ["explain", photos, "--model", model_file, "--layer", "conv1", "--nsamples", 1, "--std-dev", 0.4]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, launcher: Launcher, explain: list[object]) -> Path:
    """The run that all others are to equal: in one piece, with one decoder."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert launcher.run(*explain, "--workers", 1, "-o", out).ended() == 0
    return out


def test_three_shards_make_what_one_does(
    tmp_path: Path, launcher: Launcher, explain: list[object], plain: Path
) -> None:
    out = tmp_path / "out"
    first = launcher.run(*explain, "-o", out, "--shard", "1/3")
    side_by_side = [launcher.start(*explain, "-o", out, "--shard", f"{i}/3") for i in (2, 3)]
    assert [command.ended() for command in (first, *side_by_side)] == [0, 0, 0]
    check_whole(out, over=True)
    check_equal_maps(out, plain)
    totals = [json.loads((out / f"run.{i}-of-3.json").read_bytes())["totals"] for i in (1, 2, 3)]
    assert all(shard["explained"] > 0 for shard in totals)
    assert sum(shard["explained"] for shard in totals) == len(rows(plain))


def test_four_decoders_make_what_one_does(
    tmp_path: Path, launcher: Launcher, explain: list[object], plain: Path
) -> None:
    assert launcher.run(*explain, "--workers", 4, "-o", tmp_path / "out").ended() == 0
    check_equal_maps(tmp_path / "out", plain)


def test_a_killed_and_resumed_run_makes_the_same_maps_in_other_passes(
    tmp_path: Path, launcher: Launcher, explain: list[object], plain: Path
) -> None:
    out = tmp_path / "out"
    for wanted in (1, 6):
        command = launcher.start(*explain, "-o", out)
        await_that(lambda wanted=wanted: lines(out / "index.jsonl") >= wanted)  # type: ignore[misc]
        os.kill(command.pid, signal.SIGKILL)
        assert command.ended() == -signal.SIGKILL
    assert launcher.run(*explain, "-o", out).ended() == 0
    check_equal_maps(out, plain)


def test_passes_of_one_image_and_of_sixteen_make_the_same_maps(model_file: Path) -> None:
    from cam_cli.engine.analysis import analyse
    from cam_cli.engine.explain import Explainer
    from cam_cli.engine.noise import Noise
    from cam_cli.engine.request import Request, Subject
    from cam_cli.graph.trace import trace
    from cam_cli.models.load import load_network

    network = load_network(str(model_file))
    analysis = analyse(trace(network.model, network.input_shape), ["conv1"])
    draw = np.random.default_rng(5)
    subjects = [Subject(draw.uniform(-1, 1, network.input_shape).astype(np.float32), f"photo {i}") for i in range(7)]

    def maps(images_in_a_pass: int, seed: int = 0) -> list[np.ndarray]:
        request = Request(nsamples=1, noise=Noise(0.5), seed=seed)
        explainer = Explainer(network.model, analysis, request, images=images_in_a_pass)
        return [explanation.maps[0].values for explanation in explainer.explain(subjects)]

    ones, otherwise = maps(1), maps(1, seed=1)
    for one, other, noisier in zip(ones, maps(16), otherwise, strict=True):
        peak = np.abs(one).max()
        assert np.abs(one - other).max() <= 1e-5 * peak
        assert np.abs(one - noisier).max() > 1e-2 * peak


SLOW = ("--nsamples", 1000)
SLOWER = ("--nsamples", 4000)
"""Makes an image take a good part of a second, and seconds."""
WAITS = "a second signal stops at once"


@pytest.mark.parametrize(
    ("signum", "whole_group", "code"),
    [
        pytest.param(signal.SIGINT, True, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, False, 143, id="kill"),
        pytest.param(signal.SIGTERM, True, 143, id="systemctl stop", marks=pytest.mark.long),
    ],
)
def test_a_signal_lets_the_image_in_hand_finish(
    tmp_path: Path, launcher: Launcher, few: list[object], signum: int, whole_group: bool, code: int
) -> None:
    out = tmp_path / "out"
    command = launcher.start(*few, *SLOW, "-o", out)
    await_that(lambda: lines(out / "index.jsonl") >= 1)
    time.sleep(0.1)
    before = lines(out / "index.jsonl")
    (os.killpg if whole_group else os.kill)(command.pid, signum)
    assert command.ended() == code, command.said
    assert WAITS in command.said
    assert "Traceback" not in command.said
    finished = rows(out)
    assert before < len(finished) < 6
    check_whole(out, over=True)
    run = json.loads((out / "run.json").read_bytes())
    assert run["state"] == "stopped"
    assert run["totals"]["explained"] == run["totals"]["images"] == len(finished)
    assert run["totals"]["failed"] == 0
    await_that(lambda: not alive(command.pid))

    assert launcher.run(*few, *SLOW, "-o", out).ended() == 0
    run = json.loads((out / "run.json").read_bytes())
    assert run["state"] == "finished"
    assert (run["totals"]["explained"], run["totals"]["skipped"]) == (6 - len(finished), len(finished))


def test_a_second_signal_stops_at_once(tmp_path: Path, launcher: Launcher, few: list[object]) -> None:
    out = tmp_path / "out"
    command = launcher.start(*few, *SLOWER, "-o", out)
    await_that(lambda: lines(out / "index.jsonl") >= 1)
    time.sleep(0.1)
    before = lines(out / "index.jsonl")
    os.kill(command.pid, signal.SIGTERM)
    await_that(lambda: WAITS in command.said)
    os.kill(command.pid, signal.SIGINT)
    assert command.ended() == -signal.SIGINT
    await_that(lambda: not alive(command.pid))
    assert len(rows(out)) == before
    assert launcher.run(*few, "--nsamples", 0, "-o", out).ended() == 0
    check_whole(out, over=True)
    assert len(rows(out)) == 6


def test_sigusr1_says_where_the_run_is_and_a_hangup_that_nohup_ignores_ends_nothing(
    tmp_path: Path, launcher: Launcher, few: list[object]
) -> None:
    out = tmp_path / "out"
    command = launcher.start(*few, *SLOW, "-o", out, ignored=[signal.SIGHUP])
    await_that(lambda: "1 ok map" in command.said)
    os.killpg(command.pid, signal.SIGHUP)
    os.kill(command.pid, signal.SIGUSR1)
    assert command.ended() == 0, command.said
    assert len(re.findall(r"^smoothcam: [1-5] of 6 images\b.*, last .*photo 00\d", command.said, re.MULTILINE)) == 1
    assert len(rows(out)) == 6


def test_a_hangup_without_nohup_ends_like_any_other_signal(
    tmp_path: Path, launcher: Launcher, few: list[object]
) -> None:
    out = tmp_path / "out"
    command = launcher.start(*few, *SLOW, "-o", out)
    await_that(lambda: lines(out / "index.jsonl") >= 1)
    os.killpg(command.pid, signal.SIGHUP)
    assert command.ended() == 128 + signal.SIGHUP
    check_whole(out, over=True)
    assert 1 <= len(rows(out)) < 6


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, launcher: Launcher, few: list[object]) -> None:
    out, pipe = tmp_path / "out", tmp_path / "pipe"
    os.mkfifo(pipe)
    command = launcher.start(*few, "-o", out, "--json", stdout=str(pipe))
    with pipe.open() as head:
        assert json.loads(head.readline())["status"] == "ok"
    assert command.ended() == 128 + signal.SIGPIPE
    assert "Traceback" not in command.said
    assert "Exception ignored" not in command.said
    assert all(line.startswith("smoothcam: ") for line in command.said.splitlines()), "not a word of anybody else's"
    check_whole(out, over=True)
    assert json.loads((out / "run.json").read_bytes())["state"] == "stopped"
    assert launcher.run(*few, "-o", out).ended() == 0
    assert len(rows(out)) == 6
