"""Which runtime a run takes, what it says of that, and what a start with a kept plan leaves out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from cam_cli.engine.trial import RuntimeTrial
from cam_cli.errors import UnsupportedError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return path


def record_in(out: Path) -> dict[str, object]:
    (path,) = out.rglob("manifest.json")
    record: dict[str, object] = json.loads(path.read_text())
    return record


def map_in(out: Path) -> np.ndarray:
    (path,) = out.rglob("*.npy")
    return np.asarray(np.load(path))


@pytest.fixture
def command(model_file: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ["explain", image, "--model", model_file, "--layer", "conv1"]


WARM = """
import sys
from cam_cli.cli import main

try:
    main()
finally:
    print([name for name in ("tensorflow", "keras", "h5py") if name in sys.modules], file=sys.stderr)
"""


def test_a_start_with_what_is_kept_imports_neither_tensorflow_nor_keras(
    smoothcam: Command, with_openvino: None, command: list[object], tmp_path: Path
) -> None:
    reference = smoothcam(*command, "--runtime", "tensorflow", "-o", tmp_path / "tensorflow")
    assert reference.code == 0, reference.err
    first = smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "first")
    assert first.code == 0, first.err
    assert "converting the model for OpenVINO" in first.err, "a start that takes long says what it does"
    again = [*command, "--runtime", "openvino", "-o", tmp_path / "second"]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", WARM, *map(str, again)], capture_output=True, text=True, env=variables, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert "TensorFlow" not in done.stderr
    wanted = map_in(tmp_path / "tensorflow")
    for out in ("first", "second"):
        np.testing.assert_allclose(map_in(tmp_path / out), wanted, rtol=0, atol=1e-5 * wanted.max())
    records = [record_in(tmp_path / out) for out in ("tensorflow", "first", "second")]
    assert [record["runtime"] for record in records] == ["tensorflow", "openvino", "openvino"]
    assert len({str(record["fingerprint"]) for record in records}) == 1, "the same maps are not made again"


def test_another_runtime_with_the_same_maps_explains_nothing_again(
    smoothcam: Command, with_openvino: None, command: list[object], tmp_path: Path
) -> None:
    assert smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "out").code == 0
    assert "0 explained, 1 already done" in smoothcam(*command, "--runtime", "tensorflow", "-o", tmp_path / "out").err


def test_a_kept_file_that_is_damaged_costs_a_trace_and_no_map(
    smoothcam: Command, with_openvino: None, command: list[object], tmp_path: Path
) -> None:
    assert smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "first").code == 0
    for path in (tmp_path / "cache" / "smoothcam").iterdir():
        contents = bytearray(path.read_bytes())
        contents[len(contents) // 2] ^= 1
        path.write_bytes(contents)
    assert smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "second").code == 0
    np.testing.assert_array_equal(map_in(tmp_path / "first"), map_in(tmp_path / "second"))


def test_without_openvino_auto_is_tensorflow_and_openvino_is_an_error(
    smoothcam: Command, command: list[object], tmp_path: Path
) -> None:
    ended = smoothcam(*command, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "OpenVINO" not in ended.err
    assert record_in(tmp_path / "out")["runtime"] == "tensorflow"
    refused = smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "other")
    assert refused.code == 2
    assert "smoothcam[openvino]" in refused.err


def test_a_model_that_cannot_be_converted_is_run_by_tensorflow_with_the_reason(
    smoothcam: Command, with_openvino: None, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise UnsupportedError("OpenVINO does not know Frobnicate")

    monkeypatch.setattr("cam_cli.engine.openvino_conversion.converted", refused)
    ended = smoothcam(*command, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "taking tensorflow, because OpenVINO does not know Frobnicate" in ended.err
    assert record_in(tmp_path / "out")["runtime"] == "tensorflow"


ENDS_IN_THE_TRIAL = """
import os, signal
from cam_cli.plan import decide
from cam_cli.cli import main

decide.try_openvino = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_a_process_that_ended_in_the_trial_is_followed_by_one_that_leaves_it_out(
    smoothcam: Command, with_openvino: None, command: list[object], tmp_path: Path
) -> None:
    arguments = [*map(str, command), "-o", str(tmp_path / "out")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_IN_THE_TRIAL, *arguments], capture_output=True, env=variables, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    again = smoothcam(*arguments)
    assert again.code == 0, again.err
    assert "taking tensorflow, because the process ended in the trial of OpenVINO" in again.err
    asked = smoothcam(*command, "--runtime", "openvino", "-o", tmp_path / "asked")
    assert asked.code == 0, asked.err
    assert record_in(tmp_path / "asked")["runtime"] == "openvino"


@pytest.mark.parametrize(
    ("trial", "precision", "problem"),
    [
        (RuntimeTrial(1.0, 9e-5, 1.0), "float32", None),
        (RuntimeTrial(1.0, 2e-4, 1.0), "float32", "differ"),
        (RuntimeTrial(1.0, float("inf"), 0.0), "float32", "differ"),
        (RuntimeTrial(0.8, 1e-6, 1.0), "float32", "slower"),
        (RuntimeTrial(0.96, 1e-6, 1.0), "float32", None),
        (RuntimeTrial(1.5, 1e-2, 0.999), "bfloat16", None),
        (RuntimeTrial(1.5, 1e-2, 0.98), "bfloat16", "correlate"),
    ],
)
def test_it_is_taken_if_its_maps_are_right_and_it_is_not_slower(
    trial: RuntimeTrial, precision: str, problem: str | None
) -> None:
    found = trial.problem(precision, speed_counts=True)
    assert found is None if problem is None else problem in (found or "")
    if problem == "slower":
        assert trial.problem(precision, speed_counts=False) is None, "whoever asks for it gets it"


def test_maps_that_differ_by_more_than_rounding_are_results_of_their_own() -> None:
    assert RuntimeTrial(1.0, 1e-6, 1.0).is_the_same
    assert not RuntimeTrial(1.0, 1.1e-6, 1.0).is_the_same
