"""Whoever follows a run: a terminal, a log, a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cam_cli.results.manifest import Row


class Reporter(Protocol):
    """What a run tells while it goes on; the command line decides where it is shown."""

    def say(self, text: str) -> None:
        """Take a line meant for a person."""

    def warn(self, text: str) -> None:
        """Take a line about something that went wrong."""

    def detail(self, text: str) -> None:
        """Take a line for a person who wants to know more."""

    def doing(self, what: str) -> None:
        """Take what the run does before its first image, such as `loading the model`; an empty text: that is over."""

    def expect(self, total: int) -> None:
        """Take the number of images there will be, once it is known; comes from another thread."""

    def finish(self) -> None:
        """Take note that the run is over: what is told from now on is its summary, and nothing on how far it is."""

    def image(self, row: Row, *, skipped: bool) -> None:
        """Take the row of an image that is done (see `Manifest.row`)."""
