"""The environment that native libraries read: no chatter on stderr, the right backend, no fight over cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def prepare_environment() -> None:
    """Set, before TensorFlow is imported, what it reads from the environment only once."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"


def leave_the_cores_to_tensorflow() -> None:
    """Have NumPy's products run on one thread, in this process and those it starts; before NumPy is imported.

    They are small here, and threads that wait for the next one would hold the cores that TensorFlow and the decoders need.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def native_chatter_silenced() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for the while.

    TensorFlow's native code logs past every setting it offers (`devices.cc`, `single_machine.cc`) when a
    graph is optimised. Errors still arrive, as exceptions.
    """
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
