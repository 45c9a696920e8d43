"""Runs on Ray: what they make is what a run in one process makes, whatever is killed meanwhile.

Each of these commands starts a cluster of two cores, or uses the one that all tests of a session share, so most are long.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Command
from run_trees import check_equal_maps, check_whole, image_folders, make_photos, rows, timeless

from cam_cli.errors import UsageError
from cam_cli.executors.ray.actor import Actor
from cam_cli.executors.ray.cluster import allocate

PATIENCE = 240.0
"""Seconds after which a test gives a process up."""

ADDRESS = "127.0.0.1:26379"
SLOW = ("--nsamples", 300, "--std-dev", 0.4, "--batch", 1)
"""Makes an image take a good part of a second."""


def keep_two_cores() -> None:
    """Let this process use two cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


class Run:
    """A command in a process of its own, on two cores."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._stderr = folder / f"stderr-{time.monotonic_ns()}"
        self.stdout = self._stderr.with_name(f"stdout-{time.monotonic_ns()}")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("SMOOTHCAM_", "RAY_"))}
        with self._stderr.open("wb") as stderr, self.stdout.open("wb") as stdout:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "cam_cli", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environ,
                start_new_session=True,
                preexec_fn=keep_two_cores,
            )
        self.pid = self._popen.pid

    @property
    def said(self) -> str:
        return self._stderr.read_text()

    @property
    def actors(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"^smoothcam: actor on \S+ \(process (\d+)\)", self.said, re.MULTILINE)]

    def ended(self) -> int:
        return self._popen.wait(PATIENCE)

    def await_that(self, happened: object) -> None:
        assert callable(happened)
        end = time.monotonic() + PATIENCE
        while not happened():
            assert self._popen.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.01)


def lines(out: Path) -> list[str]:
    """The paths in the index, one for each row."""
    file = out / "index.jsonl"
    return [json.loads(line)["path"] for line in file.read_bytes().splitlines(keepends=True)] if file.exists() else []


def of_ray(session: int) -> list[str]:
    """What lives of the processes that a command of this session started, decoders and Ray's own."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, *_, its_session = status.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(status.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def check_nothing_left(run: Run) -> None:
    end = time.monotonic() + PATIENCE
    while left := of_ray(run.pid):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def record(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "run.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images, the last two of them corrupt, among good ones in three folders."""
    return make_photos(tmp_path_factory.mktemp("ray") / "images", 20, 2)


@pytest.fixture(scope="module")
def explain(images: Path, model_file: Path) -> list[object]:
    return ["explain", images, "--model", model_file, "--layer", "conv1", "--target", "top2", "-v"]


@pytest.fixture(scope="module")
def spared(tmp_path_factory: pytest.TempPathFactory, explain: list[object]) -> Path:
    """The run that all others are to equal: in one process, left alone."""
    folder = tmp_path_factory.mktemp("spared")
    run = Run(folder, *explain, *SLOW, "-o", folder / "out")
    assert run.ended() == 3, run.said
    return folder / "out"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two cores that somebody else has started."""
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--num-cpus=2",
        "--port=26379",
        "--block",
    ]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"]
    environ = os.environ | {"RAY_TMPDIR": f"{tempfile.gettempdir()}/smoothcam-tests", "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", 26379)):
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    yield f"ray://{ADDRESS}"
    head.terminate()
    head.wait(PATIENCE)


def check_equals(out: Path, spared: Path) -> None:
    """Check that every file of a run equals that of the run left alone, times, host and way to run apart."""
    check_whole(out, over=True)
    check_equal_maps(out, spared)
    mine, theirs = timeless(out), timeless(spared)
    for files in (mine, theirs):
        run = json.loads(files["run.json"])
        for settings in (run["config"], run["origin"]):
            for key in ("on", "actors", "max_failures"):
                del settings[key]
        files["run.json"] = json.dumps(run, sort_keys=True).encode()
    pictures = {name for name in mine if name.endswith((".npy", ".png"))}  # whose numbers have been compared
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if name not in pictures and mine[name] != theirs[name]] == []


@pytest.mark.long
def test_an_actor_that_is_killed_costs_nothing_and_a_corrupt_image_itself(
    tmp_path: Path, explain: list[object], spared: Path
) -> None:
    out = tmp_path / "out"
    run = Run(tmp_path, *explain, *SLOW, "--on", "ray", "--json", "-o", out)
    run.await_that(lambda: len(lines(out)) >= 4)
    os.kill(run.actors[0], signal.SIGKILL)
    assert run.ended() == 3, run.said
    assert "an actor died; the images that it had not finished are explained again" in run.said
    assert len(run.actors) == 2
    check_equals(out, spared)
    assert set(Counter(lines(out)).values()) == {1}
    shown = [json.loads(line) for line in run.stdout.read_text().splitlines()]
    assert sorted(row["path"] for row in shown) == sorted(rows(out))
    assert sum(row["status"] == "failed" for row in shown) == 2
    assert record(out)["config"]["on"] == "ray"  # type: ignore[index]
    said = [line for line in run.said.splitlines() if not line.startswith("smoothcam: ")]
    assert said == []
    check_nothing_left(run)


@pytest.mark.long
def test_a_driver_that_is_killed_and_started_again_goes_on(tmp_path: Path, explain: list[object], spared: Path) -> None:
    out = tmp_path / "out"
    command = [*explain, *SLOW, "--on", "ray", "--actors", 2, "-o", out]
    run = Run(tmp_path, *command)
    run.await_that(lambda: len(lines(out)) >= 4)
    locked = Run(tmp_path, *command)
    assert locked.ended() == 11, locked.said
    assert f"process {run.pid} " in locked.said
    os.kill(run.pid, signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL
    done = [row for row in rows(out).values() if row["status"] == "ok"]
    check_whole(out, over=False)

    again = Run(tmp_path, *command)  # while what is left of the first one's cluster is still about to end
    assert again.ended() == 3, again.said
    check_equals(out, spared)
    assert set(Counter(lines(out)).values()) == {1}
    assert record(out)["totals"]["explained"] + len(done) == 18  # type: ignore[index]
    check_nothing_left(run)
    check_nothing_left(again)


@pytest.mark.long
def test_a_signal_lets_what_is_being_explained_finish_and_another_executor_goes_on(
    tmp_path: Path, explain: list[object], spared: Path, cluster: str
) -> None:
    out = tmp_path / "out"
    run = Run(tmp_path, *explain, *SLOW, "--on", cluster, "--actors", 2, "-o", out)
    run.await_that(lambda: len(lines(out)) >= 2)
    before = len(lines(out))
    os.kill(run.pid, signal.SIGTERM)
    assert run.ended() == 143, run.said
    assert "an actor died" not in run.said
    check_whole(out, over=True)
    assert before < len(lines(out)) < 18
    assert sorted(lines(out)) == sorted(image_folders(out))
    assert record(out)["state"] == "stopped"

    here = Run(tmp_path, *explain, *SLOW, "-o", out)
    assert here.ended() == 3, here.said
    check_equals(out, spared)
    assert set(Counter(lines(out)).values()) == {1}


@pytest.mark.long
def test_an_image_that_actors_die_over_is_a_failure_in_the_end(tmp_path: Path, model_file: Path, cluster: str) -> None:
    out = tmp_path / "out"
    images = make_photos(tmp_path / "images", 1)
    flags = ["--model", model_file, "--layer", "conv1", "--nsamples", 50000, "--batch", 1, "--on", cluster, "-v"]
    run = Run(tmp_path, "explain", images, *flags, "-o", out)
    for number in range(4):  # one may have died over a neighbour, had there been one; three more are its own
        run.await_that(lambda number=number: len(run.actors) > number)
        os.kill(run.actors[-1], signal.SIGKILL)
    assert run.ended() == 3, run.said
    (row,) = rows(out).values()
    assert (row["status"], row["error"]["type"]) == ("failed", "ActorCrash")
    assert row["error"]["message"].startswith("3 actors died over it; ")
    assert len(run.actors) == 4
    check_whole(out, over=True)


@pytest.mark.long
def test_too_many_failures_end_a_run(tmp_path: Path, explain: list[object], images: Path, cluster: str) -> None:
    corrupt = [path for path in sorted(images.rglob("*.*")) if path.read_bytes() == b"no image"]
    good = [path for path in sorted(images.rglob("*.*")) if path not in corrupt]
    listed = tmp_path / "list"
    listed.write_bytes(b"\0".join(os.fsencode(path) for path in (*corrupt, *good)))
    out = tmp_path / "out"
    command = ["explain", "--files-from0", listed, "--root", images, *explain[2:], *SLOW, "--on", cluster, "-o", out]
    run = Run(tmp_path, *command, "--max-failures", 1)
    assert run.ended() == 1, run.said
    assert "stopped: 2 images failed, and 1 were allowed" in run.said
    check_whole(out, over=True)
    assert len(lines(out)) < 20
    assert sorted(lines(out)) == sorted(image_folders(out))


@pytest.mark.long
def test_where_no_cluster_answers_there_is_one_line(tmp_path: Path, explain: list[object]) -> None:
    run = Run(tmp_path, *explain[:-1], "-q", "--on", "ray://127.0.0.1:9", "-o", tmp_path / "out")
    assert run.ended() == 1
    assert re.fullmatch(r"smoothcam: no Ray cluster at 127\.0\.0\.1:9: .*\n", run.said), run.said


@pytest.mark.long
def test_an_error_of_an_actor_ends_the_run_as_it_would_without_ray(
    tmp_path: Path, images: Path, model_file: Path, cluster: str
) -> None:
    command = ["explain", images, "--model", model_file, "--layer", "conv9", "-q", "-o", tmp_path / "out"]
    here, there = Run(tmp_path, *command), Run(tmp_path, *command[:-1], tmp_path / "out2", "--on", cluster)
    assert (here.ended(), there.ended()) == (2, 2), there.said
    assert "conv9" in there.said
    assert there.said == here.said


def test_an_actor_that_ray_has_restarted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    assert Actor(1).explain([]) is None


@pytest.mark.parametrize(
    ("machines", "device", "actors", "allocation"),
    [
        pytest.param([{"CPU": 2.0}], "auto", None, (1, 2, 0), id="a laptop"),
        pytest.param([{"CPU": 16.0}, {"CPU": 6.0}], "auto", None, (5, 4, 0), id="four cores each, on one machine"),
        pytest.param([{"CPU": 16.0}, {"CPU": 2.0}], "auto", None, (9, 2, 0), id="no more than the smallest has"),
        pytest.param([{"CPU": 16.0}], "auto", 2, (2, 8, 0), id="those asked for share the cores"),
        pytest.param([{"CPU": 2.0}], "auto", 8, (8, 1, 0), id="more than fit"),
        pytest.param(
            [{}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 64.0}],
            "auto",
            None,
            (4, 2, 1),
            id="an actor for each card",
        ),
        pytest.param([{"CPU": 64.0, "GPU": 2.0}], "gpu", None, (2, 4, 1), id="four cores for a card are enough"),
        pytest.param([{"CPU": 8.0, "GPU": 4.0}], "cpu", None, (2, 4, 0), id="no cards"),
        pytest.param([{}], "auto", 3, (3, 4, 0), id="a cluster that has yet to grow"),
    ],
)
def test_how_many_actors_a_cluster_can_hold(
    machines: list[dict[str, float]], device: str, actors: int | None, allocation: tuple[int, int, int]
) -> None:
    assert allocate(machines, device, actors) == allocation


def test_a_card_that_no_machine_has_is_an_error() -> None:
    with pytest.raises(UsageError, match="no machine of the Ray cluster has one"):
        allocate([{"CPU": 8.0}], "gpu", None)


def test_without_the_extra_a_run_on_ray_says_what_to_install(
    smoothcam: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "images", 1)
    monkeypatch.setattr("cam_cli.executors.ray.cluster.find_spec", lambda _: None)
    ended = smoothcam("explain", tmp_path / "images", "--on", "ray", "-o", tmp_path / "out", "-q")
    assert (ended.code, ended.err) == (2, "smoothcam: --on ray needs the extra: pip install 'smoothcam[ray]'\n")
    assert not (tmp_path / "out").exists()
