"""Whoever follows a run: a terminal, a log, a pipe."""

from __future__ import annotations

from typing import Any, Protocol


class Audience(Protocol):
    """What a run tells while it goes on; the command line decides where it is shown."""

    def say(self, text: str) -> None:
        """Take a line meant for a person."""

    def warn(self, text: str) -> None:
        """Take a line about something that went wrong."""

    def image(self, row: dict[str, Any], *, skipped: bool) -> None:
        """Take the row of an image that is done (see `Manifest.row`)."""
