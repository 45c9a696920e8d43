"""The lookup of a layer by the name that a user gives it; it needs no TensorFlow."""

import difflib
from collections.abc import Collection

from cam_cli.errors import UsageError


def find_layer(layers: Collection[str], name: str) -> str:
    """Return the path that a name means: a path such as `backbone/Conv_1`, or the end of one path only.

    Raises UsageError if there is no such layer, or several.
    """
    if name in layers:
        return name
    ends = [path for path in layers if path.endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UsageError(f"layer '{name}' could be any of {', '.join(repr(e) for e in ends)}; give the whole path")
    raise UsageError(f"no layer '{name}' in this model{near_layers(name, layers)}; `smoothcam layers` lists them all")


def near_layers(name: str, layers: Collection[str]) -> str:
    """Return `; near it: ...` with the paths that are spelled like `name`, or nothing if none is."""
    close = ", ".join(map(repr, difflib.get_close_matches(name, layers, n=3, cutoff=0.6)))
    return f"; near it: {close}" if close else ""
