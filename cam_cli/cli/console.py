"""What the person and the pipe see of a run: a bar on a terminal, a line now and then elsewhere, data on stdout."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

from cam_cli.cli.escape import escaped

_SECONDS_BETWEEN_LINES = 30.0


class Console:
    """Shows a run on stderr and, when asked, writes one line of JSON for each image to stdout."""

    def __init__(self, *, json_lines: bool = False, quiet: bool = False) -> None:
        self._json_lines = json_lines
        self._quiet = quiet
        self._done = 0
        self._failed = 0
        self._last_line = time.monotonic()
        live = sys.stderr.isatty() and not quiet
        self._bar: tqdm[Any] | None = tqdm(unit="image", dynamic_ncols=True, leave=False) if live else None

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """Print a line on stderr, unless the run is to be quiet."""
        if not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line on stderr, above the bar where there is one."""
        line = f"smoothcam: {escaped(text)}"
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            click.echo(line, err=True)

    def image(self, row: dict[str, Any], *, skipped: bool) -> None:
        """Count an image, and print its row where rows are wanted."""
        self._done += 1
        self._failed += row["status"] == "failed"
        if self._json_lines:
            click.echo(json.dumps(row | {"skipped": skipped}, sort_keys=True))
        if self._bar is not None:
            self._bar.set_postfix({"failed": self._failed} if self._failed else {}, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"{self._done} images, {self._failed} failed")
