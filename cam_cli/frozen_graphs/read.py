"""Read a file of any of the kinds as one frozen graph; this is what the child process does."""

from __future__ import annotations

import struct

import tensorflow as tf
from google.protobuf.message import Error as ProtobufError

from cam_cli.frozen_graphs.cut import FrozenNetwork, cut_out
from cam_cli.frozen_graphs.description import ReadRequest, UnreadableError
from cam_cli.frozen_graphs.frozen_graph import read_frozen_graph
from cam_cli.frozen_graphs.saved_model import read_saved_model
from cam_cli.frozen_graphs.source import GraphSource
from cam_cli.frozen_graphs.tflite import read_tflite
from cam_cli.text import one_line

_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, UnicodeError, RecursionError, AssertionError,
    NotImplementedError, struct.error, ProtobufError, tf.errors.OpError,
)  # fmt: skip
"""What the parsers of TensorFlow raise over a file that is not what it seems."""


def read_graph(request: ReadRequest) -> FrozenNetwork:
    """Return the graph of a file between its image and its scores.

    Raises:
        UnreadableError: it cannot be explained, and why. MemoryError: it needs more memory than there is.
    """
    try:
        return cut_out(_source(request), request.choice, request.size)
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise UnreadableError(
            f"is damaged, or not what it seems ({one_line(error, 200)}); copy or export it again"
        ) from error


def _source(request: ReadRequest) -> GraphSource:
    if request.kind == "saved_model":
        return read_saved_model(request.path, request.choice)
    if request.choice.signature is not None:
        raise UnreadableError("has no signatures, only a SavedModel has; leave --signature out")
    return read_tflite(request.path) if request.kind == "tflite" else read_frozen_graph(request.path)
