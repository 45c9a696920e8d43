"""Opens mutated model files, each in a fork of this process with limits, and prints what became of them as JSON lines.

Started as `python fuzzing.py FILE KIND COUNT SEED`. A SavedModel's mutated file is one of its own files.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEMORY = 6 * 2**30
SECONDS = 90


def mutated(contents: bytes, random: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, cut out, doubled or set to extreme values, or its end missing."""
    data = bytearray(contents)
    for _ in range(int(random.integers(1, 6))):
        position = (
            int(random.integers(len(data))) if random.random() < 0.5 else int(random.integers(min(len(data), 4096)))
        )
        kind = random.integers(6)
        if kind == 0:
            data[position] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[position : position + 4] = random.bytes(4)
        elif kind == 2:
            data[position : position + 4] = b"\xff" * 4
        elif kind == 3:
            del data[position : position + int(random.integers(1, 64))]
        elif kind == 4:
            data[position:position] = data[position : position + int(random.integers(1, 64))]
        elif random.random() < 0.3:
            del data[max(1, position) :]
        if not data:
            return b"\0"
    return bytes(data)


def attempt(path: Path, kind: str) -> str:
    """Return `opened`, or the one line that says why not."""
    from cam_cli.errors import ModelError
    from cam_cli.frozen_graphs.description import ReadRequest, UnreadableError
    from cam_cli.frozen_graphs.model import GraphModel
    from cam_cli.frozen_graphs.read import read_graph
    from cam_cli.model_files.formats import recognise
    from cam_cli.model_files.open import open_model

    try:
        if kind == "keras":
            open_model(path)
            return "opened"
        known = recognise(path)
        if known.graph is None:
            open_model(path)
            return "opened"
        network = read_graph(ReadRequest(path, known.graph))
        model = GraphModel(network.description, network.definition)
        shape = [side or 24 for side in network.description.shape]
        model.predict(np.zeros((1, *shape), np.float32), verbose=0)
    except (ModelError, UnreadableError) as error:
        return f"refused: {error}"
    except MemoryError:
        return "refused: memory"
    return "opened"


def in_fork(path: Path, kind: str) -> dict[str, object]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        outcome = "nothing"
        try:
            outcome = attempt(path, kind)
        except BaseException as error:  # noqa: BLE001 - it is reported
            outcome = f"escaped: {type(error).__name__}: {error}"[:500]
        finally:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            os.write(write, json.dumps({"outcome": outcome, "peak": peak}).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    return json.loads(answer) if answer else {"outcome": f"died: {status}", "peak": 0}


def main() -> None:
    model, kind, count, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with contextlib.redirect_stdout(sys.stderr):
        import cam_cli.frozen_graphs.model
        import cam_cli.frozen_graphs.read  # noqa: F401 - imported once, before the forks
    random = np.random.default_rng(seed)
    inner = [path.relative_to(model) for path in model.rglob("*") if path.is_file() and path.name != "fingerprint.pb"]
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, model.name)
            target = copy
            if model.is_dir():
                shutil.copytree(model, copy)
                target = copy / sorted(inner)[int(random.integers(len(inner)))]
                target.write_bytes(mutated(target.read_bytes(), random))
            else:
                copy.write_bytes(mutated(model.read_bytes(), random))
            start = time.monotonic()
            result = in_fork(copy, kind)
            row = {"number": number, "seconds": round(time.monotonic() - start, 1), **result}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
