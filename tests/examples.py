"""How many examples a property is tried on: some in `make test`, several times as many in `make test-long`."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from hypothesis import Phase, settings

_LONG = bool(os.environ.get("TESTS_LONG"))
_TIMES = 4 if _LONG else 1


def examples(count: int) -> int:
    """Return how many examples Hypothesis tries where `make test` tries `count`."""
    return count * _TIMES


def explicit(count: int) -> settings:
    """Return settings for a property of which each example traces a network, which takes a second.

    `make test` tries the examples that are written beside it, and `make test-long` also `count` others that Hypothesis finds.
    """
    phases = tuple(Phase) if _LONG else (Phase.explicit,)
    return settings(max_examples=count, deadline=None, derandomize=True, phases=phases)


def mostly_long(kinds: Iterable[object], short: int) -> list[object]:
    """Return values to parametrize by: the first `short` are for `make test`, the others for `make test-long` alone.

    A tuple holds one value for each parameter.
    """
    values = [kind if isinstance(kind, tuple) else (kind,) for kind in kinds]
    return [pytest.param(*of, marks=pytest.mark.long if i >= short else ()) for i, of in enumerate(values)]
