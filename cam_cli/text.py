"""Text for messages, tables and records: file names, exceptions and cells, safe for a terminal and a spreadsheet."""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import groupby
from pathlib import PurePosixPath


def escaped(text: str) -> str:
    """Return text with control characters made visible, so that no file name can steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def near(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean '...'?)` for the known word nearest to `word`, or nothing if none is near."""
    matches = get_close_matches(word, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def cell(value: object) -> str:
    """Return a value as a cell of CSV: text that a spreadsheet would take for a formula gets an apostrophe in front of it."""
    text = escaped(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text


def printable(path: str | os.PathLike[str]) -> str:
    """Return a file name as valid text: bytes that are not UTF-8 become `\\xNN`, and a backslash becomes two."""
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def from_printable(text: str) -> PurePosixPath:
    """Return the file name from which `printable` made `text`."""
    escape = rb"\\(?:\\|x([0-9a-f]{2}))"
    name = re.sub(escape, lambda match: bytes([int(match[1], 16)]) if match[1] else b"\\", os.fsencode(text))
    return PurePosixPath(os.fsdecode(name))


def shown(path: str | os.PathLike[str]) -> str:
    """Return a file name in quotes, on one line, for a message."""
    return f"'{escaped(printable(path))}'"


def shown_if_odd(path: str | os.PathLike[str]) -> str:
    """Return a file name for a message, in quotes only if it holds characters that a terminal cannot show."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers in order, as the command line and Slurm's --array take them: `0,3,10-12`."""
    groups = groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def one_line(error: BaseException, longest: int | None = None) -> str:
    """Return a message without TensorFlow's stack traces on one line of at most `longest` characters, or its class if empty."""
    lines = [line.strip() for line in str(error).splitlines()]
    stack = [number for number, line in enumerate(lines) if line.startswith('File "')]
    words = " ".join(" ".join(lines[stack[-1] + 1 if stack else 0 :]).split())
    return words[:longest] or type(error).__name__


def reason_of(error: BaseException, longest: int = 400) -> str:
    """Return, on one line, why something failed, out of a message that may run over many lines; its class if it is empty.

    Keras and TensorFlow write around the reason what they were given and where they were.

    Args:
        longest: the reason is cut after so many characters.
    """
    text = _STYLE.sub("", str(error))
    text = _BEFORE.split(text)[-1]
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=\s*\S)", text)]
    told = [part for part in parts if part and not _AROUND.match(part)]
    reason = _DUMP.split(next(iter(told), ""))[0].rstrip(" :,")
    if len(reason) > longest:
        reason = reason[:longest] + " ..."
    return reason or type(error).__name__


_STYLE = re.compile("\x1b\\[[0-9;]*m")
_BEFORE = re.compile(r"Exception encountered: |Error message: ")
_AROUND = re.compile(
    r"Exception encountered when calling|A total of \d+ objects could not be loaded|(Call )?arguments received by|config=|"
    r"Full (object )?config|Received: config|List of objects|\{\{node|•|Detected at node|Stack trace|File \"|Traceback|<class ",
    re.IGNORECASE,
)
_DUMP = re.compile(r"(?:Full (?:object )?config|config|Received: config)\s*[:=]\s*\{|\{'(?:module|class_name|name)':")
