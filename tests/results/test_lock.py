"""One run at a time, and which images are whose: the lock of a run folder and its shards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.errors import RunLockedError
from cam_cli.results.layout import LOCK
from cam_cli.results.lock import locked
from cam_cli.results.shard import HASHES, Shard

pytestmark = pytest.mark.pure

HOLD = """
import sys
from pathlib import Path
from cam_cli.results.lock import locked
from cam_cli.results.shard import Shard
with locked(Path(sys.argv[1]), Shard.parse(sys.argv[2]), 0, waiting=lambda: None, holder=str):
    print("held", flush=True)
    sys.stdin.readline()
"""

shards = st.integers(1, 300).flatmap(lambda count: st.builds(Shard, st.integers(1, count), st.just(count)))


@contextmanager
def held(folder: Path, shard: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a shard."""
    command = [sys.executable, "-c", HOLD, str(folder), shard]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def try_to_lock(folder: Path, shard: str, wait: float = 0, told: list[str] | None = None) -> None:
    waiting = [] if told is None else told
    with locked(folder, Shard.parse(shard), wait, lambda: waiting.append("waiting"), lambda: " (process 7)"):
        pass


@pytest.mark.parametrize("other", ["1/1", "2/3", "3/4", "50/99"])
def test_whoever_shares_an_image_waits(tmp_path: Path, other: str) -> None:
    with (
        held(tmp_path, "1/2" if other != "3/4" else "2/2"),
        pytest.raises(RunLockedError, match=r"process 7.*--lock-wait"),
    ):
        try_to_lock(tmp_path, other if other != "50/99" else "49/99")


@pytest.mark.parametrize("other", ["2/2", "3/4", "51/99"])
def test_shards_that_share_nothing_run_side_by_side(tmp_path: Path, other: str) -> None:
    with held(tmp_path, "1/2"):
        try_to_lock(tmp_path, other)


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    with held(tmp_path, "1/1") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        try_to_lock(tmp_path, "1/1")


def test_waiting_ends_when_the_other_does_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    with held(tmp_path, "1/1") as process:
        killer = threading.Timer(1.0, process.kill)
        killer.start()
        try_to_lock(tmp_path, "1/1", wait=60, told=told)
        killer.join()
    assert told == ["waiting"]


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere" / "made")
    with pytest.raises(Exception, match=LOCK):
        try_to_lock(tmp_path, "1/1")
    assert not (tmp_path / "elsewhere" / "made").exists()


@given(count=st.integers(1, 200), path_hash=st.integers(0, HASHES - 1))
def test_every_image_is_in_exactly_one_shard(count: int, path_hash: int) -> None:
    assert sum(Shard(i, count).owns(path_hash) for i in range(1, count + 1)) == 1


@given(st.integers(2, 500))
def test_shards_are_of_one_size(count: int) -> None:
    sizes = [end - start for start, end in (Shard(i, count).interval for i in range(1, count + 1))]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == HASHES


@given(shards)
def test_a_shard_reads_back_and_names_its_records(shard: Shard) -> None:
    assert Shard.parse(f"{shard.index}/{shard.count}") == shard
    assert (shard.suffix == "") == (shard.count == 1)
