"""The process that parses a model file for the one that started it: with limits, and it may hang or crash over the file.

Started by `cam_cli.frozen_graphs.reader` as `python -m cam_cli.frozen_graphs.child`. It reads a request and its limits, two
lines of JSON, from standard input. It answers on standard output with one line of JSON, `{"refused": TEXT}` or
`{"description": ...}`, and after the latter with the bytes of a GraphDef.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

from cam_cli.frozen_graphs.description import ReadRequest, UnreadableError

_FOR_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What a terminal or a service manager sends to all processes of a run, and the run alone answers."""


def limit(memory: int, seconds: float) -> None:
    """Bound the address space of this process, in bytes, and its time."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _bound(resource.RLIMIT_AS, memory)
    _bound(resource.RLIMIT_CORE, 0)


def answer(request: ReadRequest, out: BinaryIO) -> None:
    """Parse the file of a request, and write the answer; from now on this process can write to no file."""
    sys.modules["keras"] = None  # type: ignore[assignment]  # TensorFlow imports it if it is there, which takes seconds
    from cam_cli.frozen_graphs.read import read_graph

    _bound(resource.RLIMIT_FSIZE, 0)
    try:
        network = read_graph(request)
    except UnreadableError as error:
        out.write(json.dumps({"refused": str(error)}).encode() + b"\n")
    except MemoryError:
        out.write(
            json.dumps({"refused": "needs more memory to be read than a model of its size should"}).encode() + b"\n"
        )
    else:
        out.write(json.dumps({"description": network.description.to_dict()}).encode() + b"\n")
        out.write(network.definition.SerializeToString())
    out.flush()


def _bound(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    with suppress(ValueError, OSError):  # not every POSIX system can bound a process's memory
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    for signum in _FOR_THE_RUN:
        signal.signal(signum, signal.SIG_IGN)
    limits = json.loads(sys.stdin.readline())
    limit(**limits)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # native code may write to its standard output
        answer(ReadRequest.from_json(sys.stdin.readline()), answers)
