"""Pillow's process-wide switches, held at what a decoder here needs while it runs, and then put back."""

from __future__ import annotations

import threading
from types import TracebackType

from PIL import Image, ImageFile


class _Switches:
    """Context manager that several threads may hold at once: the first in sets, the last out restores.

    Pillow keeps its pixel limit and its leniency with truncated files in module globals, and its plugins
    consult them in the middle of a load, so they cannot be passed along with a call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._saved: tuple[int | None, bool] = (None, False)

    def __enter__(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._saved = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
                Image.MAX_IMAGE_PIXELS = None
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._holders += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._saved


strict_and_unlimited = _Switches()
