"""What passes between the process that reads a model file and the child process that parses it; it needs no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["saved_model", "frozen_graph", "tflite"]


class UnreadableError(Exception):
    """A file that cannot be explained; the message completes the sentence "'FILE' ..."."""


@dataclass(frozen=True)
class Choice:
    """What the user names where a file is ambiguous; None: what the rules find.

    signature: of a SavedModel. input, output: a name in the signature, an operation or a tensor such as `scope/Relu:0`.
    """

    signature: str | None = None
    input: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class ReadRequest:
    """What the child is asked: the file or folder, its kind, the choice, and the input's (rows, columns) if they are known."""

    path: Path
    kind: Kind
    choice: Choice = Choice()
    size: tuple[int, int] | None = None

    def to_json(self) -> str:
        """Return this as one line of text."""
        return json.dumps({**asdict(self), "path": str(self.path)})

    @classmethod
    def from_json(cls, text: str) -> ReadRequest:
        """Read the result of `to_json`."""
        known = json.loads(text)
        size = tuple(known["size"]) if known["size"] else None
        return cls(Path(known["path"]), known["kind"], Choice(**known["choice"]), size)


@dataclass(frozen=True)
class GraphLayer:
    """A scope of a graph.

    path: its name. tensor: the tensor that it ends in. kind: of the operation that computes it. activated: the tensor comes
    from an activation function that consists of several operations, such as x * sigmoid(x). weights: names of the constants
    that its operations learned.
    """

    path: str
    tensor: str
    kind: str
    activated: bool = False
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphDescription:
    """What is known of a frozen graph.

    input, output: names of tensors. shape: (rows, columns, channels) of one image, None where left open. channels_first: the
    graph takes (batch, channels, rows, columns). mean, std: what the file says of its input, (value - mean) / std of values
    from 0 to 255; empty if it says nothing. scaling_remark: for a user who says nothing of it either.
    remarks: for the user.
    """

    input: str
    shape: tuple[int | None, int | None, int | None]
    channels_first: bool
    output: str
    layers: tuple[GraphLayer, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scaling_remark: str = ""
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return this ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> GraphDescription:
        """Read the result of `to_dict`."""
        layers = tuple(GraphLayer(**{**layer, "weights": tuple(layer["weights"])}) for layer in known["layers"])
        tuples = {key: tuple(known[key]) for key in ("shape", "mean", "std", "remarks")}
        return cls(**{**known, **tuples, "layers": layers})
