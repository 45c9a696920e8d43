"""Signals: at once while nothing is in hand, after the image where there is one, and at once the second time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.pure

SCRIPT = """
import os, signal, sys, time
from cam_cli.interruption import Interrupted, Interruption
interruption = Interruption(lambda text: print(text, flush=True))
interruption.install()
try:
    if sys.argv[1] == "in hand":
        with interruption.deferred():
            print("ready", flush=True)
            end = time.monotonic() + 3
            while time.monotonic() < end and interruption._pending is None:
                time.sleep(0.01)
            time.sleep(float(sys.argv[2]))
            print("finished", flush=True)
    else:
        print("ready", flush=True)
        time.sleep(60)
except Interrupted as error:
    print("interrupted", error.signum, flush=True)
"""


def run(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_waiting_a_signal_ends_at_once(signum: signal.Signals) -> None:
    with run("waiting") as process:
        process.send_signal(signum)
        out, _ = process.communicate(timeout=20)
    assert out == f"interrupted {signum.value}\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_image_in_hand_is_finished_first(signum: signal.Signals) -> None:
    with run("in hand", "0") as process:
        process.send_signal(signum)
        out, _ = process.communicate(timeout=20)
    announced, finished, interrupted = out.splitlines()
    assert "a second signal" in announced
    assert (finished, interrupted) == ("finished", f"interrupted {signum.value}")


def test_the_second_signal_ends_at_once_also_with_an_image_in_hand() -> None:
    with run("in hand", "60") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert "a second signal" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert out == ""
    assert process.returncode == -signal.SIGINT


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    command = ["sh", "-c", f'trap "" HUP; exec "{sys.executable}" -c "$1" waiting', "sh", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        os.kill(process.pid, 0)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert out == f"interrupted {signal.SIGTERM.value}\n"
