"""What others see of an output folder while a run is at work in it: at every step, whole results or none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Command
from run_trees import check_whole, make_photos

STEPS = frozenset({"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})


class Watch:
    """Looks at an output folder before each step that this process takes in it, outside of its staging folder."""

    def __init__(self) -> None:
        self._out: Path | None = None
        self._looking = False
        self.steps = 0
        self.halves: list[str] = []
        sys.addaudithook(self._before)  # for good: a hook cannot be taken away again

    @contextmanager
    def of(self, out: Path) -> Iterator[None]:
        self._out = out
        try:
            yield
        finally:
            self._out = None

    def _before(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._out is None or self._looking or event not in STEPS:
            return
        paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        if not any(path.startswith(f"{self._out}/") and ".work" not in path for path in paths):
            return
        self._looking = True
        try:
            self.steps += 1
            check_whole(self._out, over=False, read=False)
        except FileNotFoundError as error:
            if error.filename and ".work" not in str(error.filename):
                self.halves.append(f"{event} {paths}: {error}")
        except AssertionError as error:
            self.halves.append(f"{event} {paths}: {error}")
        finally:
            self._looking = False


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def test_no_step_leaves_a_result_half_there(smoothcam: Command, model_file: Path, tmp_path: Path, watch: Watch) -> None:
    images = make_photos(tmp_path / "images", 5, broken=1)
    out = tmp_path / "out"
    flags = ("--model", model_file, "--picture-size", 16, "-o", out)
    with watch.of(out):
        assert smoothcam("explain", images, *flags).code == 3
        first = watch.steps
        assert smoothcam("explain", images, *flags, "--seed", 1).code == 3  # which replaces the results
    assert watch.halves == []
    assert min(first, watch.steps - first) > 5, "an image comes to its folder unseen"
    check_whole(out, over=True)
