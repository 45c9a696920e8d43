"""Settings of native libraries: no messages on stderr, the TensorFlow backend of Keras, one thread for NumPy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def prepare_environment() -> None:
    """Set the environment variables that TensorFlow and Keras read when they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"


def leave_the_cores_to_tensorflow() -> None:
    """Make NumPy's matrix products run on one thread, in this process and its children. Call it before NumPy is imported.

    They are small here, and waiting threads would occupy the cores that TensorFlow and the decoders need.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def native_chatter_silenced() -> Iterator[None]:
    """Discard what is written to file descriptor 2: no setting keeps TensorFlow's native code from logging there."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
