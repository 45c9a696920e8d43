"""What runs on the machines of a cluster: an actor that holds the model and decodes, explains and writes images."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.decoding.pool import DecoderPool, decoders_for
from cam_cli.errors import SmoothcamError
from cam_cli.executors.executor import Ready, Result, Task
from cam_cli.plan.plan import Plan, PlanInputs
from cam_cli.quiet import native_chatter_silenced
from cam_cli.results.shard import Shard
from cam_cli.results.stores import result_store_at
from cam_cli.storage.location import Location
from cam_cli.version import __version__


class Actor:
    """Explains images on one machine of a cluster, on so many cores. Calls of `explain` may overlap, which keeps them busy."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._engine = threading.Lock()
        self._stopping = False
        self._plan: Plan | None = None
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(cores)

    def load(
        self, config: RunConfig, root: Location, cwd: Path, shared: Path, version: str
    ) -> tuple[Plan, int, str, str]:
        """Load the model, unless it is loaded; return the plan, how many images a call takes, the host, and a message.

        The plan lacks the targets of single images, which may be many.

        Args:
            cwd: the folder that relative paths start from.
            shared: a folder in the output folder, which all machines must see.
            version: of smoothcam, which must be the same on all machines.

        Raises what `Worker` does, and SmoothcamError if this machine has other software or files than the driver's.
        """
        started, host = time.monotonic(), socket.gethostname()
        with self._engine:
            if self._plan is None:
                if problem := _difference(config, cwd, shared, version):
                    raise SmoothcamError(f"{host} {problem}")
                self._decoders = DecoderPool(config.workers or decoders_for(self._cores), config.image_timeout)
                self._decoders.start()
                with native_chatter_silenced():  # the driver imports this module, and has no use for TensorFlow
                    from cam_cli.executors.worker import Worker
                    from cam_cli.executors.writer import Writer
                self._worker = Worker(PlanInputs.of(config, root))  # of the model's files as this machine sees them
                plan, labels = self._worker.resolved.plan, self._worker.resolved.labels
                store = result_store_at(config.output, Shard.parse(config.shard))
                self._writer = Writer(store, plan, labels, config)
                self._plan = replace(plan, targets=replace(plan.targets, by_path=None), truths=None)
        message = f"actor on {host} (process {os.getpid()}): model loaded in {time.monotonic() - started:.1f} s"
        return self._plan, self._worker.images_in_a_pass, host, message

    def explain(self, tasks: Sequence[Task]) -> tuple[list[Result], list[str], int] | None:
        """Explain images and write their files; return the results, warnings, and how many images a call takes now.

        After `stop`, only the images that could not be decoded have a result. None: Ray has restarted this actor. Raises
        SmoothcamError if the run as a whole cannot go on.
        """
        if self._plan is None:
            return None
        results: list[Result] = []
        warnings: list[str] = []
        batch: list[Ready] = []
        for decoded in self._worker.decode(self._decoders, tasks, len(tasks)):
            if isinstance(decoded, Result):
                results.append(decoded)
            else:
                batch.append(decoded)
        with self._engine:
            explain = batch and not self._stopping
            explained = list(self._worker.explain(batch, warnings.append)) if explain else []
        results += [item if isinstance(item, Result) else self._writer.write(*item) for item in explained]
        return results, warnings, self._worker.images_in_a_pass

    def stop(self) -> None:
        """Finish the images that are being explained or written, and explain no others."""
        self._stopping = True


def _difference(config: RunConfig, cwd: Path, shared: Path, version: str) -> str | None:
    """Enter the working directory, and say what is not as on the driver's machine."""
    if version != __version__:
        return f"has smoothcam {__version__}, and this is {version}; install the same"
    try:
        os.chdir(cwd)
    except OSError as error:
        return f"cannot use '{cwd}': {error.strerror}; all machines must see the same files"
    if not shared.is_dir():
        return f"does not see the same output folder '{config.output}'; choose one that all machines share"
    return None
