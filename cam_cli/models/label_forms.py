"""Forms of class names other than lines and tables: JSON, WordNet's lines, and those that are not read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cam_cli.errors import UsageError

_ADVICE = "write one name a line, in the order of the model's output"
_SYNSET = re.compile(r"\s*(n\d{8})\s+(\S.*)")
_QUOTED = re.compile(r"""\s*(["'])(.+)\1\s*,?\s*""")


def names_of_json(text: str, path: Path) -> list[tuple[str, str | None]]:
    """Return the names, and the WordNet ids if known, of a list, {"0": name}, {name: 0} or {"0": [id, name]}.

    Raises UsageError for JSON of any other form, and for numbers that are not 0, 1, 2, ...
    """
    try:
        known: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"labels '{path}' begin as JSON, but are not; {_ADVICE}") from None
    if isinstance(known, list):
        known = dict(enumerate(known))
    elif isinstance(known, dict) and known and all(type(value) is int for value in known.values()):
        known = {number: name for name, number in known.items()}
    if isinstance(known, dict):
        entries = {str(number): _entry(value) for number, value in known.items()}
        wanted = [entries.get(str(number)) for number in range(len(known))]
        found = [entry for entry in wanted if entry is not None]
        if found and len(found) == len(known):
            return found
    raise UsageError(
        f"labels '{path}' are JSON, but neither a list of names nor an object that numbers them 0, 1, 2, ...; {_ADVICE}"
    )


def _entry(value: Any) -> tuple[str, str | None] | None:
    if isinstance(value, str) and value.strip():
        return value.strip(), None
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return value[1], value[0]
    return None


def synsets(lines: Sequence[str]) -> list[tuple[str, str]] | None:
    """Return (WordNet id, names) of lines such as `n01440764 tench, Tinca tinca`; None if a line is none."""
    found = [match for line in lines if (match := _SYNSET.fullmatch(line))]
    return [(match[1], match[2].strip()) for match in found] if lines and len(found) == len(lines) else None


def unquoted(lines: Sequence[str]) -> list[str]:
    """Return lines without the quotes around each, if all have them."""
    found = [match for line in lines if (match := _QUOTED.fullmatch(line))]
    return [match[2] for match in found] if len(found) == len(lines) else list(lines)


def refuse_other_forms(lines: Sequence[str], path: Path) -> None:
    """Raise UsageError if lines are of a form that is not read; the message names it."""
    form = ""
    if any(re.match(r"\s*item\s*\{", line) for line in lines[:1]):
        form = "a label map in protobuf's text form (.pbtxt)"
    elif path.suffix.lower() in (".yaml", ".yml") or any(
        re.fullmatch(r"\s*names\s*:\s*(\[.*)?", line) for line in lines[:1]
    ):
        form = "YAML"
    elif len(lines) == 1 and lines[0].count(",") > 1 and "\t" not in lines[0]:
        form = "one line of names between commas"
    if form:
        raise UsageError(f"labels '{path}' are {form}; {_ADVICE}")
