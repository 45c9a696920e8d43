"""Pillow's process-wide switches, set to what a decoder needs while it runs, and then put back."""

import threading

from PIL import Image, ImageFile


class _Switches:
    """Context manager that several threads may enter at once: the first in sets, the last out restores.

    Pillow keeps its pixel limit and its leniency with truncated files in module globals, and its plugins
    consult them in the middle of a load, so they cannot be passed along with a call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: tuple[int | None, bool] = (None, False)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._saved


strict_and_unlimited = _Switches()
