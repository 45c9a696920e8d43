"""The values of a SavedModel's variables, read from its checkpoint by the names that its own restore operations say.

Those operations, `RestoreV2 -> Assign` in the graph (TensorFlow 1) or in a function of it (TensorFlow 2), are read, never run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import tensor_util

from cam_cli.frozen_graphs.allowed import CALLS
from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.source import NodeDef, node_name
from cam_cli.text import one_line

MOST_BYTES = 1_900_000_000
"""The variables of a graph must be smaller; a GraphDef cannot be larger than 2 GB."""


@dataclass(frozen=True)
class _Saved:
    """Where a variable is in a checkpoint: its key, and which part of the array there, such as `8 3 0,4:0,3`."""

    key: str
    part: str = ""


def variable_reader(
    folder: Path, nodes: Mapping[str, NodeDef], functions: Mapping[str, Any]
) -> Callable[[NodeDef], Any]:
    """Return a function that returns a variable's value as a TensorProto, or None.

    Args:
        folder: of the SavedModel.
        nodes, functions: of its graph.

    Raises:
        UnreadableError: the checkpoint is damaged or too large.
    """
    prefix = folder / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return lambda _node: None
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UnreadableError(
            f"has a checkpoint that cannot be read, variables/variables.index ({one_line(error, 160)}); copy it again"
        ) from error
    saved = dict(_restored(nodes, functions))
    total = 0

    def value(node: NodeDef) -> Any:
        nonlocal total
        names = (node.name, node.attr["shared_name"].s.decode("utf-8", "replace"))
        known = saved.get(node.name) or next((_Saved(name) for name in names if name in shapes), None)
        if known is None or known.key not in shapes:
            return None
        total += prod(shapes[known.key]) * types[known.key].size
        if total > MOST_BYTES:
            raise UnreadableError(f"has variables of more than {MOST_BYTES:,} bytes")
        try:
            array = reader.get_tensor(known.key)
        except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
            raise UnreadableError("has a checkpoint that is cut short or damaged; copy it again") from error
        return tf.make_tensor_proto(_part(array, known.part), dtype=node.attr["dtype"].type)

    return value


def _restored(nodes: Mapping[str, NodeDef], functions: Mapping[str, Any]) -> Iterator[tuple[str, _Saved]]:
    """Yield the name of each variable's node, and where the restore operations find its value."""
    yield from _assigned(nodes.values(), {name: name for name in nodes})
    for call in nodes.values():
        function = functions.get(call.attr["f"].func.name) if call.op in CALLS else None
        if function is None or not any(node.op == "RestoreV2" for node in function.node_def):
            continue
        given = [node_name(source) for source in call.input if not source.startswith("^")]
        arguments = dict(zip((argument.name for argument in function.signature.input_arg), given, strict=False))
        yield from _assigned(function.node_def, arguments)


def _assigned(nodes: Iterable[NodeDef], variables: Mapping[str, str]) -> Iterator[tuple[str, _Saved]]:
    by_name = {node.name: node for node in nodes}
    constants: dict[str, list[str]] = {}

    def texts(reference: str) -> list[str]:
        node = by_name.get(node_name(reference))
        if node is None or node.op != "Const":
            return []
        if node.name not in constants:
            array = tensor_util.MakeNdarray(node.attr["value"].tensor)
            constants[node.name] = [text.decode("utf-8", "replace") for text in array.reshape(-1).tolist()]
        return constants[node.name]

    for node in by_name.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.input) < 2:
            continue
        reference = node.input[1]
        source = by_name.get(node_name(reference))
        for _ in range(8):
            if source is None or source.op != "Identity":
                break
            reference = source.input[0]
            source = by_name.get(node_name(reference))
        variable = variables.get(node_name(node.input[0]))
        if source is None or variable is None or source.op != "RestoreV2" or len(source.input) < 3:
            continue
        number = reference.rpartition(":")[2]
        index = int(number) if number.isdecimal() else 0
        keys, parts = texts(source.input[1]), texts(source.input[2])
        if index < len(keys):
            yield variable, _Saved(keys[index], parts[index] if index < len(parts) else "")


def _part(array: NDArray[Any], part: str) -> NDArray[Any]:
    """Return the part of a saved array that belongs to one variable, as `8 3 0,4:0,3` says: rows 0 to 3, columns 0 to 2."""
    *sizes, ranges = part.split(" ") if part else ("-",)
    if not sizes:
        return array
    try:
        pairs = [None if pair == "-" else tuple(map(int, pair.split(","))) for pair in ranges.split(":")]
        cut = tuple(slice(None) if pair is None else slice(pair[0], pair[0] + pair[1]) for pair in pairs)
        return np.asarray(array[cut])
    except (ValueError, IndexError) as error:
        raise UnreadableError(f"has a variable in parts that cannot be understood: {part[:80]!r}") from error
