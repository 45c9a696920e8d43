"""Values that many images share, written once on the page and referred to by number."""

import json
from typing import Any

from cam_cli.results.manifest import TargetRecord


class Numbering:
    """Gives each different value of JSON a number, from 0 on."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of a value."""
        return self._numbers.setdefault(json.dumps(value, sort_keys=True), len(self._numbers))

    def values(self) -> list[Any]:
        """Return all values in the order of their numbers."""
        return [json.loads(text) for text in self._numbers]


class ClassNumbering:
    """Gives each class a number.

    Classes of one WordNet id are one. Without ids, the classes of one network are told apart by their index, and those of two
    networks by their label.

    across_models: whether the classes are those of two networks.
    """

    def __init__(self, *, across_models: bool = False) -> None:
        self._across_models = across_models
        self._classes: dict[str, tuple[int, TargetRecord]] = {}

    def number(self, target: TargetRecord) -> int:
        """Return the number of a class."""
        return self._classes.setdefault(self.key(target), (len(self._classes), target))[0]

    def key(self, target: TargetRecord) -> str:
        """Return what stands for a class in the page's address."""
        named = target.label if self._across_models and target.label else str(target.index)
        return target.wnid or named

    def values(self) -> list[list[Any]]:
        """Return [key, label, index] of each class in the order of their numbers."""
        return [[key, target.label, target.index] for key, (_, target) in self._classes.items()]
