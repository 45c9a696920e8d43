"""How many examples a property is tried on: some in `make test`, several times as many in `make test-long`."""

from __future__ import annotations

import os

_TIMES = 4 if os.environ.get("TESTS_LONG") else 1


def examples(count: int) -> int:
    """Return how many examples Hypothesis tries where `make test` tries `count`."""
    return count * _TIMES
