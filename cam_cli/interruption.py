"""When a run may be stopped by a signal: at once while it waits, and between two images while it works on them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(BaseException):
    """A signal asks the process to end; no handler of ordinary errors may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interruption:
    """Raises `Interrupted` when a signal comes; where the code defers it, announces that it has to wait; a second one kills."""

    def __init__(self, announce: Callable[[str], None] = lambda _: None) -> None:
        self.announce = announce
        self._at_once = True
        self._pending: BaseException | None = None

    def install(self) -> None:
        """Handle the signals, except those that the process was started to ignore, as `nohup` and `&` do."""
        for signum in ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the code inside finish before a signal takes effect; raises Interrupted then, unless deferred outside."""
        before, self._at_once = self._at_once, False
        try:
            yield
        finally:
            self._at_once = before
        self._check()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal stop the code inside at once, though deferred outside; raises Interrupted, or what `stop` was given."""
        before, self._at_once = self._at_once, True
        try:
            self._check()
            yield
        finally:
            self._at_once = before

    def stop(self, reason: BaseException) -> None:
        """Raise `reason` as soon as a signal could take effect; the first reason counts."""
        self._pending = self._pending or reason

    def _check(self) -> None:
        if self._at_once and self._pending is not None:
            raise self._pending

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        for ending in ENDING:
            if signal.getsignal(ending) is not signal.SIG_IGN:
                signal.signal(ending, signal.SIG_DFL)
        self.stop(Interrupted(signum))
        self._check()
        self.announce("stopping after the current images; a second signal stops at once")
