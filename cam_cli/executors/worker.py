"""The worker: one loaded model, which explains decoded images and knows nothing of the rest of the run."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from cam_cli.decoding.image import DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.engine.explain import Explainer
from cam_cli.engine.passes import RuntimeName
from cam_cli.engine.request import Explanation, FurtherInput, Subject
from cam_cli.errors import ModelError, SmoothcamError, UnsupportedError
from cam_cli.executors.batch_size import BatchSizeTuner
from cam_cli.executors.executor import Ready, Result, Task
from cam_cli.plan.early import caches_of
from cam_cli.plan.plan import PlanInputs
from cam_cli.plan.resolve import resolve

MOST_BYTES = 16 * 2**20
"""Decoded images in one pass take no more memory than this, unless `batch` says how many there are to be.

It bounds the memory of a run, as nothing else that waits grows with the number of images: an executor holds a pass that is
being explained, one whose files are being written, and a few images that are decoded ahead.
"""


class Worker:
    """Holds the model and explains images, as many at a time as a pass takes; raises what `resolve` and `Explainer` do.

    Args:
        inputs: what the plan follows from.
        tell: called with a message before anything that takes long.
    """

    def __init__(self, inputs: PlanInputs, tell: Callable[[str], None] | None = None) -> None:
        config = inputs.config
        cache, graphs = caches_of(inputs)
        self.resolved = resolved = resolve(inputs, cache, tell)
        plan, analysis = resolved.plan, resolved.analysis
        self._targets, self._against = plan.targets.count, resolved.against

        def explainer(runtime: RuntimeName) -> Explainer:
            return Explainer(
                resolved.open_model,
                analysis,
                resolved.request,
                self._targets,
                config.batch,
                plan.precision,
                graphs,
                runtime,
                against=self._against.count,
            )

        try:
            self._explainer = explainer(resolved.runtime)
        except UnsupportedError as error:  # what is kept was lost or is broken, and cannot be made again
            if "runtime" in plan.settings:
                raise ModelError(f"{error}; use --no-cache, or --runtime tensorflow") from error
            self._explainer = explainer("tensorflow")
        self._tuner = BatchSizeTuner(self._explainer, cache, MOST_BYTES) if config.batch is None else None
        self._decode_settings = DecodeSettings(
            analysis.input_shape[:2],
            resolved.preprocessing,
            config.picture_size,
            config.max_pixels,
            analysis.input_shape[2],
            analysis.further_sizes,
        )

    @property
    def images_in_a_pass(self) -> int:
        """How many images a pass takes; fewer once the memory has run out."""
        return self._explainer.images_in_a_pass

    def decode(self, decoders: DecoderPool, tasks: Iterable[Task], ahead: int) -> Iterator[Ready | Result]:
        """Yield each task with its decoded image, or its result if there is nothing to explain; see `DecoderPool.decode`."""
        jobs = ((task, task.image.path, task.known["sha256"] if task.known else None) for task in tasks)
        for task, decoded in decoders.decode(jobs, self._decode_settings, ahead):
            if decoded.image is None:
                yield Result(task, decoded.source, decoded.sha256, failure=decoded.error)
            else:
                yield Ready(task, decoded, decoded.image)

    def is_full(self, batch: Sequence[Ready]) -> bool:
        """Return True if a pass takes no other image beside these."""
        held = sum(ready.image.nbytes for ready in batch)
        return len(batch) >= self.images_in_a_pass or (self._tuner is not None and held >= MOST_BYTES)

    def explain(
        self, batch: Sequence[Ready], warn: Callable[[str], None]
    ) -> Iterator[tuple[Ready, Explanation, float] | Result]:
        """Yield for each image its explanation with its share of the seconds, or its failure.

        The result of an image does not depend on its neighbours. If a batch fails as a whole, its images are explained one by
        one, so that one bad image costs no other. Raises SmoothcamError if no other image would fare better.

        warn: called with a message if the memory ran out and passes are smaller from then on.
        """
        if self._tuner:
            self._tuner.note_bytes(ready.image.nbytes for ready in batch)
        started = time.perf_counter()
        rows, halvings = self._explainer.rows_in_a_pass, self._explainer.halvings
        subjects = []
        for ready in batch:
            image, targets = ready.image, ready.task.targets
            padding = targets[-1:] * (
                self._targets - len(targets)
            )  # a pass has as many for each; one met twice is one map
            further = tuple(FurtherInput(x, window) for x, window in image.further)
            subjects.append(
                Subject(image.x, image.sha256, targets + padding, further, self._against.of(ready.task.truth))
            )
        try:
            explanations = (self._tuner or self._explainer).explain(subjects)
        except SmoothcamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is the failure of this batch, not of the run
            if len(batch) == 1:
                yield batch[0].failed(error)
            else:
                for ready in batch:
                    yield from self.explain([ready], warn)
            return
        if self._explainer.halvings > halvings:
            warn(f"out of memory: passes of {self._explainer.rows_in_a_pass} rows instead of {rows} from here on")
        share = (time.perf_counter() - started) / len(batch)
        yield from ((ready, explanation, share) for ready, explanation in zip(batch, explanations, strict=True))
