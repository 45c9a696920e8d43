"""Images explained on a Ray cluster: sent to actors a few at a time, and sent again if an actor dies."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from typing_extensions import override

from cam_cli.errors import SmoothcamError, TooManyFailuresError
from cam_cli.executors.executor import Executor, Result, Task
from cam_cli.executors.ray.actor import Actor
from cam_cli.executors.ray.cluster import allocate, connected, last_line
from cam_cli.images.find import ImageFile
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.plan.plan import Plan, PlanInputs, targets_for
from cam_cli.reporter import Reporter
from cam_cli.results.manifest import Failure
from cam_cli.results.store import ResultStore
from cam_cli.version import __version__

_MOST_CALLS = 3
"""An actor has so many calls at a time: the images of one are decoded while others are explained and written."""

_MOST_DEATHS = 3
"""An actor that dies so often is given up, and so is an image if an actor that had no other image dies so often."""

_WAIT_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0


@dataclass(eq=False)
class _ActorState:
    """An actor: how many images a call takes (0: its model is being loaded), its open calls, and whether it takes no other."""

    handle: Any
    images: int = 0
    calls: int = 0
    alone: bool = False
    was_loaded: bool = False


class _ActorDiedError(Exception):
    """An actor has died or cannot be reached; it may have done what it was asked, and Ray may restart it."""


@dataclass
class RayExecutor(Executor):
    """The executor on a Ray cluster; see `Executor`.

    Ray chooses the machine of an actor, waits for free cores, restarts the actor when it dies (`max_restarts`), repeats the
    call that loads its model (`max_task_retries`), and ends it with this process. The rest is done here, as Ray does not
    promise it (quotations: https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html):

    - The images of an actor that died are sent again, each alone. Ray repeats whole calls and counts their retries, and "if
      the actor is currently restarting when a task is submitted, this will count for one retry": an image that kills actors
      would use up the retries of all that are sent with it or after it.
    - An image is recorded once. Ray promises "at-least-once" at the most, and an error may come "even though the task did
      indeed execute successfully". So actors only stage files; this process, which has the lock, publishes and records them.
    - An actor has few open calls, and gets no other after a signal. `ray.util.ActorPool` is "a fixed pool of actors" and does
      not tell which call failed; generators limit how many results wait, not how many tasks.
    """

    inputs: PlanInputs
    store: ResultStore
    reporter: Reporter
    interruption: Interruption

    def __post_init__(self) -> None:
        self._config = self.inputs.config
        self._stack = ExitStack()
        self._plan: Plan | None = None
        self._actors: list[_ActorState] = []
        self._loads: dict[Any, _ActorState] = {}
        self._calls: dict[Any, tuple[_ActorState, list[Task]]] = {}
        self._waiting: deque[Task] = deque()
        self._deaths: Counter[ImageFile] = Counter()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @override
    def start(self, known: Plan | None) -> Plan:
        """Start the actors. The first actor makes the plan; all others must come to the same."""
        config = self._config
        with self.interruption.deferred():
            self._ray = self._stack.enter_context(connected(str(config.on)))
            machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._most_actors, self._cores, self._gpus = allocate(machines, config.device, config.actors)
        actors = f"up to {self._most_actors} actor{'s' if self._most_actors > 1 else ''}"
        each = f"{self._cores} core{'s' if self._cores > 1 else ''}{' and a GPU' if self._gpus else ''}"
        self.reporter.say(f"explaining on Ray: {actors}, each with {each}")
        precision = known.precision if known else config.precision
        self._config = config.model_copy(update={"device": "gpu" if self._gpus else "cpu", "precision": precision})
        self._shared = self.store.stage()
        self._idle_since = time.monotonic()
        with self.interruption.deferred():
            self._create_actor()
        while self._plan is None:
            with self.interruption.deferred():
                self._take_answer(0)
            time.sleep(_WAIT_SECONDS / 10)  # a signal takes effect at once here, as no image is being explained
        targets, truths = targets_for(self.inputs, self.inputs.labels(self._plan.classes), self._plan.classes)
        return replace(self._plan, key=self.inputs.key, targets=targets, truths=truths)

    @override
    def explain(self, tasks: Iterable[Task]) -> Iterator[Result]:
        rest = iter(tasks)
        try:
            while self._send(rest) or self._calls:
                yield from self._take_answer(_WAIT_SECONDS)
        except (Interrupted, TooManyFailuresError):
            for actor in self._actors:
                actor.handle.stop.remote()
            while self._calls:
                yield from self._take_answer(_WAIT_SECONDS)
            raise

    def _create_actor(self) -> None:
        options = {"num_cpus": self._cores, "num_gpus": self._gpus, "scheduling_strategy": "SPREAD"}
        options |= {"max_restarts": _MOST_DEATHS - 1, "max_concurrency": _MOST_CALLS + 1}  # with a call of `stop`
        self._actors.append(_ActorState(self._ray.remote(Actor).options(**options).remote(self._cores)))
        self._load(self._actors[-1])

    def _load(self, actor: _ActorState) -> None:
        arguments = self._config, self.inputs.root, Path.cwd(), self._shared, __version__
        self._loads[actor.handle.load.options(max_task_retries=-1).remote(*arguments)] = actor

    def _send(self, rest: Iterator[Task]) -> bool:
        """Send tasks to actors until each has enough; return True if any task is left."""
        while True:
            with self.interruption.interruptible():
                self._waiting.extend(islice(rest, 0 if self._waiting else 1))
            if not self._waiting:
                return False
            alone = self._waiting[0].image in self._deaths
            free = (a for a in self._actors if a.images and a.calls < (1 if alone or a.alone else _MOST_CALLS))
            actor = min(free, key=lambda actor: actor.calls, default=None)
            if actor is None:
                while len(self._actors) < self._most_actors:
                    self._create_actor()
                return True
            tasks = [self._waiting.popleft()]
            with self.interruption.interruptible():
                tasks += islice(rest, 0 if alone else actor.images - 1)
            actor.calls, actor.alone = actor.calls + 1, alone
            self._calls[actor.handle.explain.remote(tasks)] = actor, tasks

    def _take_answer(self, seconds: float) -> Sequence[Result]:
        """Wait for an answer of an actor, no longer than that, and return the results in it."""
        self._report_waiting()
        answered, _ = self._ray.wait([*self._calls, *self._loads], timeout=seconds)
        for ref in answered:
            if ref in self._calls:
                return self._take_explained(*self._calls.pop(ref), ref)
            self._take_loaded(self._loads.pop(ref), ref)
        return ()

    def _take_loaded(self, actor: _ActorState, ref: Any) -> None:
        try:
            plan, images, host, message = self._get(ref)
        except _ActorDiedError as error:  # for good
            self._actors.remove(actor)
            if not actor.was_loaded:  # nor could another one be
                self._most_actors = len(self._actors)
            if not self._most_actors:
                advice = "every machine needs the same smoothcam, and memory for it"
                raise SmoothcamError(f"no actor can be started on Ray: {error}; {advice}") from error
            return
        if self._plan is None:
            self._plan = plan
            self._config = self._config.model_copy(update={"precision": plan.precision})
        elif self._plan.digest != plan.digest:
            other = f"{host} has another model than the first actor's machine"
            raise SmoothcamError(f"{other}; all must see the same files")
        actor.images, actor.was_loaded = images, True
        self.reporter.detail(message)

    def _take_explained(self, actor: _ActorState, tasks: Sequence[Task], ref: Any) -> list[Result]:
        """Return the results of a call; if the actor died, have its images sent again, except those it died over too often."""
        actor.calls -= 1
        results: list[Result] = []
        try:
            results, warnings, images = self._get(ref)
        except _ActorDiedError:
            if actor.images:  # this is the first of its calls to fail
                actor.images = 0
                self._load(actor)
                self.reporter.say("an actor died; the images that it had not finished are explained again")
            self._deaths.update(task.image for task in tasks)
            again = [task for task in tasks if self._deaths[task.image] <= _MOST_DEATHS]
            self._waiting.extendleft(reversed(again))
            advice = "the memory may have run out: shrink the image, or leave it out"
            message = f"{_MOST_DEATHS} actors died over it; {advice}"
            failure = Failure(stage="explain", type="ActorCrash", message=message)
            return [Result(task, failure=failure) for task in tasks if task not in again]
        if actor.images:
            actor.images = images
        for warning in warnings:
            self.reporter.warn(warning)
        return results

    def _get(self, ref: Any) -> Any:
        """Return an answer, or raise the error that ends the run; raise `_ActorDiedError` if there is none."""
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(ref)
        except errors.RayTaskError as error:
            raise error.cause if isinstance(error.cause, SmoothcamError) else error from None
        except errors.RayError as error:
            raise _ActorDiedError(last_line(str(error))) from error
        if answer is None:
            raise _ActorDiedError("it was restarted")
        return answer

    def _report_waiting(self) -> None:
        """Say from time to time why nothing happens, if no actor is ready."""
        now = time.monotonic()
        if any(actor.images for actor in self._actors):
            self._idle_since = now
        elif now - self._idle_since > _PATIENCE_SECONDS:
            self._idle_since = now
            if not any(node["Alive"] for node in self._ray.nodes()):
                raise SmoothcamError("no machine of the Ray cluster is left; the same command goes on from there")
            reason = f"the cluster has no {self._cores} free cores, or the model takes long to load"
            self.reporter.say(f"waiting for an actor: {reason}")
