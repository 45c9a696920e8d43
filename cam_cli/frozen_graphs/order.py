"""The nodes of a graph in an order in which each comes after those that it takes from."""

from __future__ import annotations

import tensorflow as tf

from cam_cli.frozen_graphs.description import UnreadableError
from cam_cli.frozen_graphs.source import GraphDef, NodeDef, node_name


def in_order(definition: GraphDef) -> GraphDef:
    """Return a graph with its nodes in order; raises UnreadableError if some of them take from each other in a circle."""
    nodes = {node.name: node for node in definition.node}
    ordered: list[NodeDef] = []
    entered: set[str] = set()
    left: set[str] = set()
    for start in nodes:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in left:
                stack.pop()
                continue
            waiting = [] if name in entered else [node_name(source) for source in nodes[name].input]
            waiting = [source for source in waiting if source not in left]
            if not entered.isdisjoint(waiting):
                raise UnreadableError("has a loop between image and scores, which cannot be explained")
            if waiting:
                entered.add(name)
                stack += waiting
                continue
            entered.discard(name)
            left.add(name)
            ordered.append(nodes[name])
            stack.pop()
    copy = tf.compat.v1.GraphDef()
    copy.versions.CopyFrom(definition.versions)
    copy.node.extend(ordered)
    return copy
