"""A decoder process: opens one image after the other for the run that started it, and may hang or crash over any of them.

Started by `cam_cli.decoding.pool` as `python -m cam_cli.decoding.child`, with a socket as its standard input.
"""

from __future__ import annotations

import pickle
import resource
import signal
import socket
import sys
from contextlib import suppress

from cam_cli.decoding.image import decode_image

_MEMORY = 2**30
_MEMORY_PER_PIXEL = 24
"""Bytes of address space that a decoder may use: so many, and so many more for each pixel that an image may have."""

_FOR_THE_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What a terminal or a service manager sends to all processes of a run, and the run alone answers."""


def serve(run: socket.socket) -> None:
    """Send one byte when ready, then answer jobs until the run is gone.

    A job is a pickle of (path, known, settings), for `decode_image`, and of the seconds after which this process is to end,
    even if nobody waits for it any more. The answer, a `Decoded`, is sent as 8 bytes with the length of what follows: a pickle
    of (sizes of its arrays, the rest of it pickled), and its arrays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = sys.maxsize if soft == resource.RLIM_INFINITY else soft
    with suppress(EOFError, ConnectionError), run.makefile("rb") as jobs:
        run.sendall(b"\0")
        while True:
            path, known, settings, seconds = pickle.load(jobs)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            with suppress(ValueError, OSError):  # not every POSIX system can bound a process's memory
                bound = min(allowed, _MEMORY + _MEMORY_PER_PIXEL * settings.max_pixels)
                resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
            buffers: list[pickle.PickleBuffer] = []
            rest = pickle.dumps(decode_image(path, known, settings), protocol=5, buffer_callback=buffers.append)
            arrays = [buffer.raw() for buffer in buffers]
            head = pickle.dumps(([array.nbytes for array in arrays], rest))
            run.sendall(len(head).to_bytes(8) + head)
            for array in arrays:
                run.sendall(array)
            signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    for signum in _FOR_THE_RUN:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    serve(socket.socket(fileno=0))
