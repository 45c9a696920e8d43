"""Which classes each image's targets are explained against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cam_cli.contrast import SECOND, similar
from cam_cli.errors import UsageError
from cam_cli.models.labels import Labels
from cam_cli.plan.targets import TRUTH
from cam_cli.results.truth import ImageTruth


@dataclass(frozen=True)
class Against:
    """The classes that are the same for all images, as `cam_cli.contrast` numbers them, and whether true classes follow."""

    common: tuple[int, ...] = ()
    most_true: int = 0

    @property
    def count(self) -> int:
        """How many classes a target is explained against at the most."""
        return len(self.common) + self.most_true

    def of(self, truth: ImageTruth) -> tuple[int, ...]:
        """Return the classes of an image."""
        return self.common + (truth.classes if self.most_true else ())


def read_against(texts: Sequence[str], labels: Labels, classes: int, most_true: int) -> Against:
    """Resolve what a run was asked to explain classes against.

    Args:
        texts: `second`, `similar:N`, `truth`, or what a person may write for a class (see `Labels.resolve`).
        most_true: how many true classes an image has at the most.

    Raises UsageError if there is no such class, or fewer others than N.
    """
    common: list[int] = []
    for text in texts:
        if text == "second":
            common.append(SECOND)
        elif match := re.fullmatch(r"similar:([0-9]+)", text):
            if not 1 <= (number := int(match[1])) < classes:
                raise UsageError(
                    f"against '{text}': the model has {classes} classes, so similar:1 to similar:{classes - 1}"
                )
            common += similar(number)
        elif text != TRUTH:
            common += labels.resolve(text, classes)
    return Against(tuple(dict.fromkeys(common)), most_true if TRUTH in texts else 0)
