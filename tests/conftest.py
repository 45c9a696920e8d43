"""Shared fixtures: the command run in this process, and a small classifier with its model card."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from launcher import CommandServer, Launcher


def pytest_configure() -> None:
    """Keep the cache of the tests to themselves, and let commands under test meet signals as in a terminal.

    So it is also where the tests run under nohup or in the background. Nor does a property fail because the machine is busy.
    """
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="smoothcam-tests-")
    hypothesis.settings.register_profile("on a busy machine", deadline=None)
    hypothesis.settings.load_profile("on a busy machine")
    for signum, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, usual)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail `make check` if it has loaded TensorFlow after all."""
    if session.config.option.markexpr.startswith("pure") and "tensorflow" in sys.modules:
        sys.stderr.write("\na test of a file that is marked `pure` has loaded TensorFlow\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _no_bfloat16() -> str:
    """Return why nothing is computed in bfloat16 here, or nothing; TensorFlow needs one of these instruction sets."""
    with suppress(OSError):
        if not {"avx512f", "avx_ne_convert"}.isdisjoint(Path("/proc/cpuinfo").read_text("utf-8").split()):
            return ""
    return "this processor has no bfloat16 instructions, so that TensorFlow computes in float32 whatever it is told"


NO_BFLOAT16 = _no_bfloat16()
CLASSES = ("circle", "square", "star", "cross", "moon")


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ended]


@pytest.fixture
def smoothcam(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Command:
    """The real `main`, its arguments given as a shell would, its streams read at the file descriptors."""
    for name in [name for name in os.environ if name.startswith("SMOOTHCAM_")]:
        monkeypatch.delenv(name)
    if "with_openvino" not in request.fixturenames:  # a trial of it for each model would cost more than the tests
        monkeypatch.setattr("cam_cli.engine.openvino_import.openvino_version", lambda: None)

    def run(*arguments: object) -> Ended:
        from cam_cli.cli import main

        monkeypatch.setattr(
            sys, "argv", ["smoothcam", *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments)]
        )
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def with_openvino() -> None:
    """Lets the command find OpenVINO; skips the test where it is not installed."""
    pytest.importorskip("openvino")


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts commands as processes of their own, without the seconds that each would need to import TensorFlow."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def command_server() -> Iterator[CommandServer]:
    """The same for commands that scripts start."""
    with tempfile.TemporaryDirectory(prefix="smoothcam-") as folder:  # a socket's path may have 107 bytes
        server = CommandServer(Path(folder))
        yield server
        server.close()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 32 x 32 photos; noise matters at `conv1`, while all above `conv2` is affine."""
    import keras

    layers = [
        keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv1"),
        keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv2"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(len(CLASSES), activation="softmax", name="head"),
    ]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    draw = np.random.default_rng(7)
    file = tmp_path_factory.mktemp("model") / "tiny.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras saves through an interface that NumPy deprecates
        model.set_weights([draw.normal(0.05, 0.5, w.shape).astype(np.float32) for w in model.get_weights()])
        model.save(file)
    return write_card(file)


def write_card(file: Path, **entries: object) -> Path:
    """Write the labels and the card beside a model file, and return the file."""
    file.with_suffix(".txt").write_text("\n".join(CLASSES) + "\n")
    card = {
        "name": "tiny",
        "input": {"size": [32, 32], "mean": [127], "std": [128]},
        "labels": file.with_suffix(".txt").name,
        "layer": "conv1",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    file.with_suffix(".yaml").write_text(json.dumps(card | entries))
    return file
