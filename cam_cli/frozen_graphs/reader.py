"""Have a child process parse a model file, within limits, and take what it gives back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cam_cli.frozen_graphs.description import GraphDescription, ReadRequest, UnreadableError

_MEMORY = 6 * 2**30
_MEMORY_PER_BYTE = 12
"""Bytes of address space that the child may use: so many, of which TensorFlow takes 2 GB, and so many more per byte of the
file."""

_SECONDS = 120.0
_SECONDS_PER_BYTE = 1e-6
_GRACE = 10.0


def read_in_child(request: ReadRequest) -> tuple[GraphDescription, bytes]:
    """Return the description and the serialised GraphDef of a model file.

    Raises:
        UnreadableError: it cannot be explained, or the process that parsed it hung or crashed; the message says which.
    """
    size = _bytes_of(request.path)
    seconds = _SECONDS + _SECONDS_PER_BYTE * size
    limits = {"memory": _MEMORY + _MEMORY_PER_BYTE * size, "seconds": seconds}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "cam_cli.frozen_graphs.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _environment(),
    )
    try:
        given = f"{json.dumps(limits)}\n{request.to_json()}\n".encode()
        out, _ = child.communicate(given, seconds + _GRACE)
    except subprocess.TimeoutExpired:
        raise UnreadableError(_too_slow(seconds)) from None
    finally:
        child.kill()
        child.wait()
    head, _, body = out.partition(b"\n")
    known: Any = None
    with suppress(ValueError):
        known = json.loads(head)
    if child.returncode != 0 or not isinstance(known, dict):
        raise UnreadableError(_too_slow(seconds) if child.returncode == -signal.SIGALRM else _crashed(child.returncode))
    if "refused" in known:
        raise UnreadableError(known["refused"])
    return GraphDescription.from_dict(known["description"]), body


def _bytes_of(path: Path) -> int:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(file.stat().st_size for file in files)


def _environment() -> dict[str, str]:
    """Return variables that give the child the import path of this process, no GPU, and nothing to write."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return paths | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"}


def _too_slow(seconds: float) -> str:
    return f"could not be read within {seconds:.0f} s; it is damaged, or made to be slow"


def _crashed(code: int) -> str:
    how = f"exit code {code}"
    with suppress(ValueError):
        how = signal.Signals(-code).name if code < 0 else how
    return (
        f"is damaged, or needs more memory than a model of its size should: the process that read it ended with {how}"
    )
