"""The outermost fields of a protocol buffer: enough to tell what kind of model a file without a mark is."""

from __future__ import annotations

from pathlib import Path
from typing import IO

_MOST_FIELDS = 200_000
_LONGEST_NUMBER = 10
_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def top_level_fields(path: Path) -> list[tuple[int, str]]:
    """Return number and type (`number`, `bytes` or `fixed`) of each outermost field of a file, in order.

    Nothing is returned for a file that is not made of fields from its first to its last byte. Of a file that ends inside its
    last field, as one that is cut short does, the fields are returned.
    """
    size = path.stat().st_size
    found: list[tuple[int, str]] = []
    with path.open("rb") as file:
        while file.tell() < size and len(found) < _MOST_FIELDS:
            tag = _number(file)
            if tag is None or tag >> 3 == 0:
                return found if found and tag is None else []
            kind, length = tag & 7, 0
            if kind == _NUMBER:
                if _number(file) is None:
                    return []
            elif kind == _BYTES:
                declared = _number(file)
                if declared is None:
                    return []
                length = declared
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                length = 8 if kind == _EIGHT_BYTES else 4
            else:
                return []
            name = {_NUMBER: "number", _BYTES: "bytes"}.get(kind, "fixed")
            found.append((tag >> 3, name))
            if file.tell() + length > size:
                return found if len(found) > 1 else []
            file.seek(length, 1)
    return found


def _number(file: IO[bytes]) -> int | None:
    value = 0
    for position in range(_LONGEST_NUMBER):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    return None
