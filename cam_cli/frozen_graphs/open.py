"""Open a SavedModel, a frozen graph or a `.tflite` file as a Keras model."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cam_cli.errors import ModelError
from cam_cli.frozen_graphs.archive import unpacked
from cam_cli.frozen_graphs.description import Choice, Kind, ReadRequest, UnreadableError
from cam_cli.frozen_graphs.model import GraphModel
from cam_cli.frozen_graphs.reader import read_in_child


def open_graph(path: Path, kind: Kind, choice: Choice, size: tuple[int, int] | None) -> GraphModel:
    """Open a file or folder; its operations are checked and its values are put into the weights of a Keras model.

    Args:
        path: the file or folder, or an archive of a SavedModel.
        kind: what it is.
        choice: what the user names in it.
        size: rows and columns of the input, if the user or a card names them.

    Raises:
        ModelError: it cannot be explained.
    """
    try:
        with unpacked(path, kind) as readable:
            description, graph = read_in_child(ReadRequest(readable.resolve(), kind, choice, size))
        definition = tf.compat.v1.GraphDef.FromString(graph)
    except UnreadableError as error:
        raise ModelError(f"{str(path)!r} {error}") from error
    return GraphModel(description, definition)
