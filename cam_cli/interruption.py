"""Signals that end a run: at once while it waits, and after the image in hand while there is one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal to end has come; no handler of ordinary errors may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interruption:
    """Turns the first signal to end into `Interrupted`, held back while an image is in hand; a second one kills at once.

    Args:
        announce: told once, when a signal has to wait for the image in hand.
    """

    def __init__(self, announce: Callable[[str], None] = lambda _: None) -> None:
        self.announce = announce
        self._in_hand = False
        self._pending: int | None = None

    def install(self) -> None:
        """Take the signals, but those the process was started to ignore, as `nohup` and `&` do."""
        for signum in ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._came)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let what runs inside finish before a signal takes effect.

        Raises:
            Interrupted: a signal came meanwhile.
        """
        self._in_hand = True
        try:
            yield
        finally:
            self._in_hand = False
        if self._pending is not None:
            raise Interrupted(self._pending)

    def _came(self, signum: int, _: FrameType | None) -> None:
        for ending in ENDING:
            if signal.getsignal(ending) is not signal.SIG_IGN:
                signal.signal(ending, signal.SIG_DFL)
        if not self._in_hand:
            raise Interrupted(signum)
        self._pending = signum
        self.announce("stopping after the image in hand; once more stops at once")
