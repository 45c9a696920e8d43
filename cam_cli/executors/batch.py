"""A batch of opened images, explained: each image as itself, or as its own failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cam_cli.decoding.image import Decoded, DecodedImage
from cam_cli.errors import ImageError, SmoothcamError
from cam_cli.executors.writer import Explained
from cam_cli.images.find import ImageFile
from cam_cli.results.manifest import Failure
from cam_cli.text import one_line

if TYPE_CHECKING:
    from cam_cli.executors.worker import Worker

_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Ready:
    """An image that the engine can take."""

    found: ImageFile
    targets: tuple[int, ...]
    opened: Decoded
    image: DecodedImage


def explained(worker: Worker, batch: Sequence[Ready], warn: Callable[[str], None]) -> Iterator[Explained | Failure]:
    """Explain a batch and yield what becomes of its images, in their order.

    If it fails as a whole, its images are explained one by one, so that none pays for a neighbour.

    Args:
        warn: is told if the memory ran out and passes are smaller from here on.

    Raises:
        SmoothcamError: no other image would fare better.
    """
    started = time.perf_counter()
    rows, halvings = worker.rows_in_a_pass, worker.halvings
    try:
        explanations = worker.explain([(ready.image, ready.targets) for ready in batch])
    except SmoothcamError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is this batch's failure, not the run's
        if len(batch) == 1:
            yield failure_of(error)
        else:
            for ready in batch:
                yield from explained(worker, [ready], warn)
        return
    if worker.halvings > halvings:
        warn(f"out of memory: passes of {worker.rows_in_a_pass} rows instead of {rows} from here on")
    share = (time.perf_counter() - started) / len(batch)
    for ready, explanation in zip(batch, explanations, strict=True):
        write = partial(worker.write, explanation, ready.image)
        yield Explained(ready.found, ready.opened, ready.image, ready.targets, share, write)


def failure_of(error: Exception) -> Failure:
    """Return an image's failure as its manifest records it."""
    stage = error.stage if isinstance(error, ImageError) else "explain"
    message = str(error) if isinstance(error, ImageError) else one_line(error, _LONGEST_MESSAGE)
    return Failure(stage=stage, type=type(error).__name__, message=message)
