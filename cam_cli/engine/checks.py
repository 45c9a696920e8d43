"""Checks of what is asked from Python, so that a slip is an error that names it, and not a missing map."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from cam_cli.errors import UsageError
from cam_cli.text import near


def check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise UsageError if a value is none of the texts that are allowed."""
    known = list(allowed)
    if not isinstance(value, str) or value not in known:
        hint = near(value, known) if isinstance(value, str) and len(known) > 4 else ""
        raise UsageError(f"{name} is {value!r}{hint}; it must be one of {', '.join(known)}")


def check_sequence(name: str, value: object, kind: str, example: str) -> Sequence[Any]:
    """Return a tuple or list of one thing or more; raise UsageError for anything else, a text above all.

    Args:
        name: what the user calls the value.
        kind: what it lists, such as `methods`.
        example: how to write it.
    """
    listed = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict) else []
    if not listed:
        raise UsageError(f"{name} is {value!r}; it must be a tuple of one or more {kind}, such as {example}")
    return listed


def check_whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number as an int; raise UsageError if it is none, or out of bounds."""
    bounds = f" from {least}" if most is None else f" from {least} to {most}"
    wanted = f"it must be a whole number{bounds if least is not None else ''}"
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{name} is {value!r}; {wanted}") from None
    if isinstance(value, bool) or (least is not None and number < least) or (most is not None and number > most):
        raise UsageError(f"{name} is {value!r}; {wanted}")
    return number


def check_number(name: str, value: Any, *, above_zero: bool = False) -> None:
    """Raise UsageError if a value is no finite number of 0 or more, or none above 0."""
    try:
        number = float(value) if not isinstance(value, str | bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (above_zero and number == 0):
        raise UsageError(f"{name} is {value!r}; it must be a number {'above 0' if above_zero else 'of 0 or more'}")
