"""How many images share a pass: measured while a long run goes on, and kept for the next one."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from statistics import median

from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Explanation, Subject
from cam_cli.plan.cache import Cache

BEFORE = 512
"""Images that a run explains before it tries another size, as tracing one takes as long as some dozens of images."""

PASSES = 4
"""Passes that each size is tried for; the first does not count."""

LEAST_GAIN = 1.05
"""A size must be so many times as fast as half of it to be taken."""

MOST_IMAGES = 256


class BatchSizeTuner:
    """Explains with passes of twice as many images for as long as that pays; maps do not depend on it.

    cache: keeps the size that a run has settled on. most_bytes: the decoded images of a pass take no more memory than this.
    """

    def __init__(self, explainer: Explainer, cache: Cache, most_bytes: int) -> None:
        self._explainer = explainer
        self._cache = cache
        self._most_bytes = most_bytes
        self._largest = 1
        self._explained = 0
        self._seconds: dict[int, list[float]] = {}
        self._settled = False
        known = cache.load("images in a pass")
        if known is not None:
            with suppress(ValueError):
                self._settle(int(known))

    def explain(self, subjects: Sequence[Subject]) -> list[Explanation]:
        """Explain images as `Explainer.explain` does."""
        size, halvings = self._explainer.images_in_a_pass, self._explainer.halvings
        started = time.perf_counter()
        explanations = self._explainer.explain(subjects)
        if not self._settled:
            self._explained += len(subjects)
            if self._explainer.halvings > halvings:
                self._settle(self._explainer.images_in_a_pass)
            elif len(subjects) == size:
                self._seconds.setdefault(size, []).append((time.perf_counter() - started) / size)
                self._decide(size)
        return explanations

    def note_bytes(self, sizes: Iterable[int]) -> None:
        """Take note of the bytes that each of the next images takes, and make passes smaller if they would take too much."""
        self._largest = max(self._largest, *sizes)
        if self._explainer.images_in_a_pass > self._most_images:
            self._explainer.share_passes(self._most_images)

    @property
    def _most_images(self) -> int:
        return max(1, min(MOST_IMAGES, self._most_bytes // self._largest))

    def _decide(self, size: int) -> None:
        if self._explained < BEFORE or len(self._seconds[size]) < PASSES:
            return
        now = median(self._seconds[size][-PASSES + 1 :])
        if size // 2 in self._seconds and median(self._seconds[size // 2][-PASSES + 1 :]) < LEAST_GAIN * now:
            self._settle(size // 2)
            return
        if 2 * size <= self._most_images:
            self._explainer.share_passes(2 * size)
        if self._explainer.images_in_a_pass != 2 * size:  # passes cannot be that large
            self._settle(size)

    def _settle(self, size: int) -> None:
        self._settled = True
        if self._explainer.images_in_a_pass != size:
            self._explainer.share_passes(size)
        self._cache.save("images in a pass", str(size).encode())
