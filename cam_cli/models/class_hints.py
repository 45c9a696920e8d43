"""What a message says to a user who named a class that is not there, or that two classes share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

MOST_LISTED = 20
"""A model of so many classes has them all listed."""

_MOST_NEAR = 6


class NamedClass(Protocol):
    """A class, as `models.labels.Label` has it."""

    @property
    def index(self) -> int:
        """Its number in the model's output."""

    @property
    def name(self) -> str:
        """Its first name."""

    @property
    def wnid(self) -> str | None:
        """Its WordNet id, if it has one."""

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Its other names."""


def several_of_that_name(wanted: str, classes: Sequence[NamedClass]) -> str:
    """Return the message that several classes have this name, each with its index and what else tells it apart."""
    listed = " or ".join(f"{c.index} ({', '.join(_other_names(c, wanted))})" for c in classes)
    return f"target '{wanted}' names {len(classes)} classes; give the index or the WordNet id: {listed}"


def none_of_that_name(wanted: str, classes: Sequence[NamedClass]) -> str:
    """Return the message that no class has this name: all of a small model, else those with a part like it, or like it."""
    if len(classes) <= MOST_LISTED:
        return f"target '{wanted}': no class of that name; the model has {_listed((c, c.name) for c in classes)}"
    near = _near(wanted.casefold(), classes)
    hint = f"near it: {_listed(near)}" if near else "`smoothcam models MODEL` lists those of a bundled model"
    return f"target '{wanted}': no class of that name; {hint}"


def _near(key: str, classes: Sequence[NamedClass]) -> list[tuple[NamedClass, str]]:
    """Return classes with the name that is near the key: it is a word of the name, is spelled like it, or a part of it."""
    named = [(c, name) for c in classes for name in dict.fromkeys((c.name, *c.synonyms))]
    words: dict[str, list[tuple[NamedClass, str]]] = {}
    for c, name in named:
        for word in {name.casefold(), *re.split(r"[\W_]+", name.casefold())}:
            words.setdefault(word, []).append((c, name))
    alike = [pair for word in difflib.get_close_matches(key, words, n=3, cutoff=0.7) for pair in words[word]]
    parts = [pair for pair in named if len(key) > 2 and key in pair[1].casefold()]
    first: dict[int, tuple[NamedClass, str]] = {}
    for c, name in [*words.get(key, []), *alike, *parts]:
        first.setdefault(c.index, (c, name))
    return list(first.values())[:_MOST_NEAR]


def _listed(classes: Iterable[tuple[NamedClass, str]]) -> str:
    return ", ".join(f"'{name}' ({c.index})" for c, name in classes)


def _other_names(named: NamedClass, wanted: str) -> list[str]:
    others = [name for name in (named.name, *named.synonyms) if name.casefold() != wanted.casefold()]
    return [*([named.wnid] if named.wnid else []), *dict.fromkeys(others)] or [named.name]
