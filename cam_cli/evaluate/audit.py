"""Bounds that a run must keep, and where it crosses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Breach:
    """A bound that was crossed. rule: its name in the settings, such as `max_failed`."""

    rule: str
    bound: float
    found: float

    def __str__(self) -> str:
        """Return one line for a mail: the rule, what was allowed, what was found."""
        relation = "at most" if self.rule.startswith("max_") else "at least"
        return f"audit: {self.rule}: {_text(self.found)} found, {relation} {_text(self.bound)} allowed"


def breaches(bounds: Mapping[str, float], found: Mapping[str, float]) -> Iterator[Breach]:
    """Yield the bounds that are crossed, in the order they are written.

    Args:
        bounds: by rule; `max_x` and `min_x` bound the figure x. found: figures by name; a rule without a figure is passed over.
    """
    for rule, bound in bounds.items():
        side, _, name = rule.partition("_")
        value = found.get(name)
        if value is not None and (value > bound if side == "max" else value < bound):
            yield Breach(rule, bound, value)


def _text(value: float) -> str:
    return f"{value:.4g}"
