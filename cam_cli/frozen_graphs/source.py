"""A graph as a file holds it, not checked yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NodeDef = Any
FunctionDef = Any
GraphDef = Any


def no_variables(_node: NodeDef) -> Any:
    """Return None: the graph has no variables, or their values are not there."""
    return None


@dataclass(frozen=True)
class GraphSource:
    """The nodes and functions of a graph, by name, and its ends.

    inputs, outputs: tensors by the name that a user knows them by. variable: returns the value of a variable's node, as a
    TensorProto, or None. mean, std: what the file says of its input. scaling_remark: what a user has to know
    who says nothing of them. labelled: `inputs` and `outputs` are the file's own words.
    """

    nodes: Mapping[str, NodeDef]
    functions: Mapping[str, FunctionDef]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    variable: Callable[[NodeDef], Any] = no_variables
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scaling_remark: str = ""
    remarks: tuple[str, ...] = field(default=())


def node_name(reference: str) -> str:
    """Return the name of the node in `^node`, `node`, `node:1` or `node:out:0`."""
    return reference.lstrip("^").partition(":")[0]


def tensor_name(reference: str) -> str:
    """Return `node` as `node:0`."""
    return reference if ":" in reference else f"{reference}:0"
