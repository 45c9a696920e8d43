"""What a run asks of the part that explains its images: the interface of an executor, what goes in and what comes out."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cam_cli.decoding.image import Decoded, DecodedImage, FileStat
from cam_cli.errors import ImageError
from cam_cli.images.find import ImageFile
from cam_cli.plan.plan import Plan
from cam_cli.results.manifest import Failure, Manifest, Row
from cam_cli.results.truth import NOT_TOLD, ImageTruth
from cam_cli.storage.location import Stat
from cam_cli.text import one_line

_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Task:
    """An image to explain for target classes (-r: the class of rank r), unless it still has the bytes of the row `known`.

    truth: what is known of its true classes.
    """

    image: ImageFile
    targets: tuple[int, ...]
    known: Row | None = None
    truth: ImageTruth = NOT_TOLD


@dataclass(frozen=True)
class Result:
    """What became of a task: a manifest with its files, a failure, or neither where the image has the bytes that are known.

    source: what was said of the file before its bytes were read. sha256: of its bytes; None where they could not be read.
    notes: what a user should know about the image. staged: the folder where the manifest and all its files lie, ready to be
    published.
    """

    task: Task
    source: FileStat | Stat | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    manifest: Manifest | None = None
    staged: Path | None = None


@dataclass(frozen=True)
class Ready:
    """A task whose image is decoded."""

    task: Task
    decoded: Decoded
    image: DecodedImage

    def failed(self, error: Exception) -> Result:
        """Return the result of a task that an error has ended."""
        return Result(self.task, self.decoded.source, self.image.sha256, self.image.notes, failure=failure_of(error))


class Executor(AbstractContextManager["Executor"], Protocol):
    """Explains images, in this process or elsewhere. Nothing starts before `start`, and all has ended with the context."""

    def start(self, known: Plan | None) -> Plan:
        """Load the model and return the plan; raises a SmoothcamError if it cannot be explained, or nothing can be started.

        known: the plan of the last run into the same folder, if this run must have the same.
        """

    def explain(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield what became of every task, in any order; tasks are taken one by one as they are needed.

        Call it while signals are deferred. Where a signal stops the run, what is explained already is still yielded, and
        nothing else is begun; then it raises as `Interruption.interruptible` does. Raises SmoothcamError if the run as a
        whole cannot go on.
        """


def failure_of(error: Exception) -> Failure:
    """Return the failure of an image as its manifest records it."""
    stage = error.stage if isinstance(error, ImageError) else "explain"
    message = str(error) if isinstance(error, ImageError) else one_line(error, _LONGEST_MESSAGE)
    return Failure(stage=stage, type=type(error).__name__, message=message)
