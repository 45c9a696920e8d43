"""What a run asks of the place where its images are explained: this process, or the machines of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cam_cli.decoding.image import Decoded
from cam_cli.images.find import ImageFile
from cam_cli.pipeline.resume import Verdict
from cam_cli.plan.recall import Recollection
from cam_cli.results.manifest import Failure, Manifest


@dataclass(frozen=True)
class Task:
    """An image that is to be done, with its targets."""

    found: ImageFile
    verdict: Verdict
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Written:
    """An image whose files lie in a staging folder, the manifest written last."""

    staged: Path
    manifest: Manifest


@dataclass(frozen=True)
class Files:
    """The files of an explained image.

    written: waits for them, and raises the OSError that prevented them. again: has them made once more.
    """

    written: Callable[[], Written]
    again: Callable[[], Written]


@dataclass(frozen=True)
class Result:
    """What became of a task.

    opened: what opening the photo came to; its pixels may be gone. notes: what a person should know of the photo. failure: why
    there are no files. With neither, the photo's bytes are those already known.
    """

    task: Task
    opened: Decoded
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    files: Files | None = None


Settle = Callable[[Result], None]
"""Records a result; called in the main thread only, while signals are held back."""


class Executor(AbstractContextManager["Executor"], Protocol):
    """Where images are explained; nothing is started before `open`, and everything has ended with the context."""

    def open(self, known: Recollection | None) -> Recollection:
        """Load the model and return what the plan found out.

        Args:
            known: what it found out for the last run into this folder, where it can only be the same.

        Raises:
            UsageError, ModelError: the model cannot be explained so. SmoothcamError: the executor cannot be opened.
        """

    def work(self, tasks: Iterable[Task], settle: Settle) -> None:
        """Do all tasks, each of them once, and settle every result.

        Args:
            tasks: taken one by one as they are needed.

        Raises:
            SmoothcamError: the run as a whole cannot go on. Interrupted: a signal came. Exception: what `settle` raises.
        """

    def finish(self, settle: Settle) -> None:
        """Settle what is still in hand after `work` has ended early, and take on nothing more."""
