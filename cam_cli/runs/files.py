"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that no reader and no crash ever meets half of it: to a temporary neighbour, then rename."""
    temporary = path.with_name(f".{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_json(value: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return JSON with sorted keys, ASCII only; raises ValueError on NaN, which JSON does not have."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, separators=separators)


def printable(path: str | os.PathLike[str]) -> str:
    """Return a file name as valid text: bytes that are no UTF-8 stand as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
