"""What runs on a cluster's machines: an actor that holds the model, and opens, explains and writes the images it is sent."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.decoding.image import Decoded
from cam_cli.decoding.pool import DecoderPool, decoders_for
from cam_cli.errors import SmoothcamError
from cam_cli.executors.batch import Ready, explained
from cam_cli.executors.executor import Written
from cam_cli.executors.writer import Explained, Writer
from cam_cli.images.find import ImageFile
from cam_cli.plan.recall import Recollection, recollection_of
from cam_cli.quiet import native_chatter_silenced
from cam_cli.results.manifest import Failure
from cam_cli.results.shard import Shard
from cam_cli.results.store import result_store_at
from cam_cli.storage.location import Location
from cam_cli.version import __version__


@dataclass(frozen=True)
class Commission:
    """What every actor of a run is told.

    config, root: the run's. place: the working directory, from which paths start. mark: a folder in OUT that all machines must
    see. version: of smoothcam.
    """

    config: RunConfig
    root: Location
    place: Path
    mark: Path
    version: str


@dataclass(frozen=True)
class Job:
    """An image to be done; see `Task`. known: the sha256 of bytes that need not be explained again."""

    found: ImageFile
    known: str | None
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Greeting:
    """What an actor says when its model is loaded. capacity: how many images it takes at a time."""

    found: Recollection
    capacity: int
    host: str
    pid: int
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What became of a job; see `Result`. opened: without its pixels. written: the files, or why there are none."""

    opened: Decoded
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    written: Written | OSError | None = None


@dataclass(frozen=True)
class Reply:
    """The answers to some jobs, in their order; none after `end`. warnings: for the person. capacity: how many to send now."""

    answers: tuple[Answer, ...]
    warnings: tuple[str, ...]
    capacity: int


class Actor:
    """Explains images on one machine of a cluster; several calls of `work` may overlap, so that its engine need not wait.

    Errors are returned, not raised, as Ray would wrap them.

    Args:
        cores: how many TensorFlow computes on.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._engine = threading.Lock()
        self._ending = False
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(cores)

    def open(self, commission: Commission) -> Greeting | SmoothcamError:
        """Load the model, once, before any work."""
        try:
            return self._open(commission)
        except SmoothcamError as error:
            return error

    def work(self, jobs: Sequence[Job]) -> Reply | SmoothcamError:
        """Open, explain and write some images; an error is one that ends the run."""
        try:
            return self._work(jobs)
        except SmoothcamError as error:
            return error

    def end(self) -> None:
        """Finish what is being explained or written, and answer all other work with nothing."""
        self._ending = True

    def _open(self, commission: Commission) -> Greeting:
        started = time.monotonic()
        config, host = commission.config, socket.gethostname()
        if commission.version != __version__:
            raise SmoothcamError(
                f"{host} has smoothcam {__version__}, and this is {commission.version}; install the same"
            )
        try:
            os.chdir(commission.place)
        except OSError as error:
            raise SmoothcamError(
                f"{host} cannot use '{commission.place}': {error.strerror}; all machines must see the same files"
            ) from None
        if not commission.mark.is_dir():
            raise SmoothcamError(
                f"{host} does not see the same output folder '{config.output}'; choose one that all machines share"
            )
        self._decoders = DecoderPool(config.workers or decoders_for(self._cores), config.image_timeout)
        self._decoders.start()
        with native_chatter_silenced():
            from cam_cli.executors.worker import Worker
        self._studio = Worker(config, commission.root)
        plan = self._studio.plan
        self._scribe = Writer(result_store_at(config.output, Shard.parse(config.shard)), plan.recipe)
        found = recollection_of(plan, config)
        return Greeting(found, self._studio.images_in_a_pass, host, os.getpid(), time.monotonic() - started)

    def _work(self, jobs: Sequence[Job]) -> Reply:
        warnings: list[str] = []
        answers: dict[int, Answer] = {}
        batch: dict[int, Ready] = {}
        sent = ((number, job.found.path, job.known) for number, job in enumerate(jobs))
        for number, opened in self._decoders.decode(sent, self._studio.decode_settings, len(jobs)):
            if opened.image is None:
                answers[number] = Answer(opened, failure=opened.error)
            else:
                batch[number] = Ready(jobs[number].found, jobs[number].targets, opened, opened.image)
        if batch:
            with self._engine:
                if self._ending:
                    return Reply((), (), self._studio.images_in_a_pass)
                done = list(explained(self._studio, list(batch.values()), warnings.append))
            for (number, ready), work in zip(batch.items(), done, strict=True):
                opened, notes = replace(ready.opened, image=None), ready.image.notes
                if isinstance(work, Failure):
                    answers[number] = Answer(opened, notes, failure=work)
                else:
                    answers[number] = Answer(opened, notes, written=self._write(work))
        in_order = tuple(answers[number] for number in range(len(jobs)))
        return Reply(in_order, tuple(warnings), self._studio.images_in_a_pass)

    def _write(self, work: Explained) -> Written | OSError:
        try:
            return self._scribe.write(work)
        except OSError as error:
            return error
