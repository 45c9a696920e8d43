"""How far a command is: counts, the rate of late, an honest guess of the time left, and the bar that shows them."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TextIO

from tqdm import tqdm

_SLOT = 2.0
"""Seconds between two marks at least, so that the images of one pass, which come together, share one."""

_WINDOW = 120.0
_FEWEST_MARKS = 5
"""The rate is that of the last so many seconds, or of so many marks where images take longer."""

_SKIPPING = 0.001
"""Seconds that skipping an image may take; what goes beyond is waiting for images that are worked on."""


@dataclass
class Progress:
    """Counts of the images met; the rate is that of the images worked on of late, as skipping one costs next to nothing.

    doing: what is done before the first image.
    """

    clock: Callable[[], float] = time.monotonic
    total: int | None = None
    done: int = 0
    skipped: int = 0
    failed: int = 0
    last: str = ""
    doing: str = ""
    _worked: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _spent_skipping: float = 0.0
    _latest: float = 0.0

    def count(self, path: str, *, failed: bool, skipped: bool) -> None:
        """Count one image; an earlier failure that is skipped counts as failed."""
        self.done += 1
        self.failed += failed
        self.skipped += skipped and not failed
        self.last = path
        now = self.clock()
        if skipped:
            self._spent_skipping += min(now - self._latest, _SKIPPING)
        else:
            self._mark(now - self._spent_skipping)
            self._worked += 1
        self._latest = now

    def _mark(self, now: float) -> None:
        if not self._marks or now - self._marks[-1][0] >= _SLOT:
            self._marks.append((now, self._worked))
            while len(self._marks) > _FEWEST_MARKS and now - self._marks[0][0] > _WINDOW:
                self._marks.popleft()

    @property
    def rate(self) -> float | None:
        """Images worked on in a second, of late; None until the second pass, and falling while none is finished."""
        if len(self._marks) < 2:
            return None
        (first, before), (last, until) = self._marks[0], self._marks[-1]
        now = self.clock() - self._spent_skipping
        return min((until - before) / (last - first), (self._worked - before) / (now - first))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all images are done, if none of them is finished already; None where it cannot be told."""
        if self.known_total is None or self.rate is None:
            return None
        return (self.known_total - self.done) / self.rate

    @property
    def known_total(self) -> int | None:
        """How many images there will be; none once more have come, as the folder has grown."""
        return self.total if self.total is not None and self.done <= self.total else None

    @property
    def begun(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.done or self.total or self.doing)

    @property
    def waits(self) -> bool:
        """Whether something else is done before the first image."""
        return bool(self.doing and not self.done)

    @property
    def brief(self) -> str:
        """A few words to stand beside a bar: `1,204/10,000 images, 3 failed, 2.1/s, 1 h 10 min left`."""
        if self.waits:
            return f"{self.doing} ({self.total:,} images)" if self.total else self.doing
        return ", ".join([self._counted("/"), *self._failures(), *self._speed("/s")])

    def __str__(self) -> str:
        """Return one line: `1,204 of 10,000 images, 3 failed, 2.1 images/s, 1 h 10 min left, last sub/x.jpg`."""
        if self.waits:
            return f"{self.doing}, no image is finished yet"
        if not self.begun:
            return "no image is finished yet"
        parts = [self._counted(" of ")]
        parts += [f"{self.skipped:,} already done"] if self.skipped else []
        parts += [*self._failures(), *self._speed(" images/s")]
        parts += [f"last {self.last}"] if self.last else []
        return ", ".join(parts)

    def _counted(self, of: str) -> str:
        total = self.known_total
        of_total = "" if total is None else f"{of}{total:,}"
        return f"{self.done:,}{of_total} image{'' if (total or self.done) == 1 else 's'}"

    def _failures(self) -> list[str]:
        return [f"{self.failed:,} failed"] if self.failed else []

    def _speed(self, unit: str) -> list[str]:
        rate, left = self.rate, self.seconds_left
        parts = [(f"{rate:.2g}" if rate < 10 else f"{rate:,.0f}") + unit] if rate else []
        return parts + ([f"{duration(left)} left"] if left else [])


class Bar(tqdm):  # type: ignore[type-arg]
    """Draws a `Progress` when it is told to, if `file` is a terminal and the bar is not `hidden`; it has no thread."""

    monitor_interval = 0
    _lock = threading.RLock()

    def __init__(self, file: TextIO, *, hidden: bool) -> None:
        unicode = (getattr(file, "encoding", None) or "").lower().startswith("utf")
        disable = hidden or not is_terminal(file)
        super().__init__(file=file, disable=disable, delay=1, leave=False, dynamic_ncols=True, ascii=not unicode)

    def draw(self, progress: Progress) -> None:
        """Draw the bar, or draw it again; a terminal that is gone does no harm."""
        if not self.disable and progress.begun:
            self.n, self.total = progress.done, None if progress.waits else progress.known_total or None
            self.bar_format = "{percentage:3.0f}%|{bar}| {desc}" if self.total else "{desc}"
            with suppress(OSError, ValueError):
                self.set_description_str(progress.brief)

    def close(self) -> None:
        """Remove the bar."""
        with suppress(OSError, ValueError):
            self.clear()
        super().close()


def is_terminal(stream: TextIO | None) -> bool:
    """Return True if a person may be looking at what is written to a stream."""
    return stream is not None and not stream.closed and stream.isatty()


def duration(seconds: float) -> str:
    """Return a length of time in words: `40 s`, `12 min`, `1 h 10 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
