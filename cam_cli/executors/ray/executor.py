"""Images explained on a Ray cluster: handed out to actors a few at a time, and done again by another where an actor dies."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.decoding.image import Decoded
from cam_cli.errors import SmoothcamError
from cam_cli.executors.executor import Files, Result, Settle, Task, Written
from cam_cli.executors.ray.actor import Actor, Answer, Commission, Greeting, Job, Reply
from cam_cli.executors.ray.cluster import Room, connected, gist, machines_of, room_on
from cam_cli.interruption import Interruption
from cam_cli.plan.recall import Recollection, recall_key
from cam_cli.reporter import Reporter
from cam_cli.results.manifest import Failure
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Location
from cam_cli.version import __version__

_AHEAD = 3
"""An actor has so many batches in hand: one is opened while another is explained and a third one is written."""

_MOST_DEATHS = 3
"""So many actors in a row may die before their model is loaded, and so many over one and the same image, alone with it."""

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0


@dataclass
class _Hand:
    """An actor. capacity: how many images it takes at a time; 0: its model is not loaded yet. alone: it has one suspect."""

    actor: Any
    capacity: int = 0
    batches: int = 0
    alone: bool = False


@dataclass(frozen=True)
class _Errand:
    """A task on its way. deaths: how many actors died that had nothing else in hand; None: none died at all."""

    task: Task
    deaths: int | None = None

    @property
    def suspect(self) -> bool:
        """Whether it may be what an actor died over."""
        return self.deaths is not None

    @property
    def job(self) -> Job:
        """What an actor needs of it."""
        return Job(self.task.found, self.task.verdict.known, self.task.targets)


class RayExecutor:
    """The executor on a Ray cluster; see `Executor`.

    Each actor has a model, decoders and staging folders of its own. It brings an image as far as a staging folder; that alone
    counts which this process, which holds the lock, then brings to its place and records. So an image is recorded once, however
    many actors died over it, and an actor that lives on where nobody knows of it harms nothing.
    """

    def __init__(
        self, config: RunConfig, root: Location, folder: ResultStore, reporter: Reporter, interruption: Interruption
    ) -> None:
        self._config = config
        self._root = root
        self._folder = folder
        self._audience = reporter
        self._interruption = interruption
        self._stack = ExitStack()
        self._hands: list[_Hand] = []
        self._room = Room(1, 1, 0)
        self._opening: dict[Any, _Hand] = {}
        self._away: dict[Any, tuple[_Hand, list[_Errand]]] = {}
        self._waiting: deque[_Errand] = deque()
        self._results: deque[Result] = deque()
        self._found: Recollection | None = None
        self._stillborn = 0
        self._open_since: float | None = None

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, known: Recollection | None) -> Recollection:
        """See `Executor`; the first actor alone makes the plan, and the others are held to it."""
        with self._interruption.held_back():
            self._ray = self._stack.enter_context(connected(str(self._config.on)))
            self._room = room = room_on(machines_of(self._ray), self._config.device, self._config.actors)
        many = ["s" if count > 1 else "" for count in (room.actors, room.cores)]
        card = " and a GPU" if room.cards else ""
        self._audience.say(
            f"explaining on Ray: up to {room.actors} actor{many[0]}, each with {room.cores} core{many[1]}{card}"
        )
        device = "gpu" if room.cards else "cpu"
        config = self._config.model_copy(update={"device": device} | _settled(known))
        self._commission = Commission(config, self._root, Path.cwd(), self._folder.stage(), __version__)
        while self._found is None:
            with self._interruption.held_back():
                if not self._hands:
                    self._hire()
                self._look(0)
            time.sleep(_LOOK_SECONDS / 10)  # where a signal acts at once, as nothing is in hand yet
        settled = config.model_copy(update=_settled(self._found))
        self._commission = replace(self._commission, config=settled)
        return replace(self._found, key=recall_key(self._config))

    def work(self, tasks: Iterable[Task], settle: Settle) -> None:
        """See `Executor`; results are settled in the order they come."""
        rest = map(_Errand, tasks)
        while self._hand_out(rest) or self._away:
            with self._interruption.held_back():
                self._look(_LOOK_SECONDS)
                self._settle(settle)

    def finish(self, settle: Settle) -> None:
        """See `Executor`; what waits for an engine is not in hand, and what dies now is not done again."""
        for hand in self._hands:
            hand.actor.end.remote()
        self._settle(settle)
        while self._away:
            self._look(_LOOK_SECONDS)
            self._settle(settle)

    def _settle(self, settle: Settle) -> None:
        while self._results:
            settle(self._results.popleft())

    def _hire(self) -> None:
        """Have another actor started, without waiting for it."""
        room = self._room
        options = {
            "num_cpus": room.cores,
            "num_gpus": room.cards,
            "max_concurrency": _AHEAD + 1,  # and one call that ends it
            "scheduling_strategy": "SPREAD",
        }
        hand = _Hand(self._ray.remote(Actor).options(**options).remote(room.cores))
        self._hands.append(hand)
        self._opening[hand.actor.open.remote(self._commission)] = hand

    def _hand_out(self, rest: Iterator[_Errand]) -> bool:
        """Give actors something to do, for as long as they have room for it; return whether anything is left."""
        while True:
            self._waiting.extend(islice(rest, 0 if self._waiting else 1))
            if not self._waiting:
                return False
            hand = self._free_hand(for_suspect=self._waiting[0].suspect)
            if hand is None:
                with self._interruption.held_back():
                    while len(self._hands) < self._room.actors:
                        self._hire()
                return True
            errands = [self._waiting.popleft()]
            hand.alone = errands[0].suspect
            if not hand.alone:
                errands += islice(rest, hand.capacity - 1)
            with self._interruption.held_back():
                hand.batches += 1
                self._away[hand.actor.work.remote([errand.job for errand in errands])] = (hand, errands)

    def _free_hand(self, *, for_suspect: bool) -> _Hand | None:
        """Return the actor with the least to do, if one may be given more; what an actor may have died over goes out alone."""
        free = (h for h in self._hands if h.capacity and h.batches < (1 if for_suspect or h.alone else _AHEAD))
        return min(free, key=lambda hand: hand.batches, default=None)

    def _look(self, seconds: float) -> None:
        """Wait for a word of an actor, no longer than that, and take it in."""
        self._ask_for_patience()
        ready, _ = self._ray.wait([*self._away, *self._opening], timeout=seconds)
        for word in ready:
            if word in self._opening:
                self._greet(self._opening.pop(word), word)
            else:
                self._take(*self._away.pop(word), word)

    def _greet(self, hand: _Hand, word: Any) -> None:
        try:
            greeting: Greeting = self._read(word)
        except _ActorDiedError as error:
            self._lose(hand)
            self._stillborn += 1
            if self._stillborn >= _MOST_DEATHS:
                if not any(other.capacity for other in self._hands):
                    raise SmoothcamError(
                        f"no actor can be started on Ray: {error}; every machine needs the same smoothcam, and memory for it"
                    ) from error
                self._room = replace(self._room, actors=len(self._hands))
            return
        self._found = self._found or greeting.found
        if greeting.found.digest != self._found.digest:
            raise SmoothcamError(
                f"{greeting.host} has another model than the first actor's machine; all must see the same files"
            )
        self._stillborn = 0
        self._open_since = None
        hand.capacity = greeting.capacity
        self._audience.detail(
            f"actor on {greeting.host} (process {greeting.pid}): model loaded in {greeting.seconds:.1f} s"
        )

    def _take(self, hand: _Hand, errands: Sequence[_Errand], word: Any) -> None:
        """Take in what became of some errands; those that an actor died over are done again, each of them alone."""
        hand.batches -= 1
        try:
            reply: Reply = self._read(word)
        except _ActorDiedError as error:
            if hand in self._hands:
                self._lose(hand)
                self._audience.say("an actor died; the images that it had in hand are done again")
            for errand in reversed(errands):
                deaths = (errand.deaths or 0) + hand.alone
                if deaths < _MOST_DEATHS:
                    self._waiting.appendleft(replace(errand, deaths=deaths))
                else:
                    self._results.append(Result(errand.task, Decoded(None, None), failure=_crash(error)))
            return
        hand.capacity = reply.capacity
        for warning in reply.warnings:
            self._audience.warn(warning)
        self._results += map(self._result, errands, reply.answers)

    def _result(self, errand: _Errand, answer: Answer) -> Result:
        files = None
        if answer.written is not None:
            files = Files(partial(_written, answer), partial(self._once_more, errand.job))
        return Result(errand.task, answer.opened, answer.notes, answer.failure, files)

    def _once_more(self, job: Job) -> Written:
        """Have an image's files made again, which somebody removed before they came to their place.

        Raises:
            OSError: they cannot be made.
        """
        for hand in [hand for hand in self._hands if hand.capacity]:
            with suppress(_ActorDiedError):
                reply: Reply = self._read(hand.actor.work.remote([job]))
                return _written(reply.answers[0])
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _read(self, word: Any) -> Any:
        """Return what an actor says.

        Raises:
            _ActorDiedError: it does not live any more. SmoothcamError: it says that the run is to end.
        """
        errors = self._ray.exceptions
        try:
            said = self._ray.get(word)
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            raise _ActorDiedError(gist(str(error))) from error
        if isinstance(said, SmoothcamError):
            raise said
        return said

    def _lose(self, hand: _Hand) -> None:
        """Give up an actor, which may be out of reach and yet live."""
        self._hands.remove(hand)
        self._ray.kill(hand.actor)

    def _ask_for_patience(self) -> None:
        """Say now and then why nothing happens, where no actor is ready."""
        now = time.monotonic()
        if any(hand.capacity for hand in self._hands) or self._open_since is None:
            self._open_since = now
        elif now - self._open_since > _PATIENCE_SECONDS:
            self._open_since = now
            if not machines_of(self._ray):
                raise SmoothcamError("no machine of the Ray cluster is left; the same command goes on from there")
            self._audience.say(
                f"waiting for an actor: the cluster has no {self._room.cores} free cores, or the model takes long to load"
            )


class _ActorDiedError(Exception):
    """An actor died, or cannot be reached any more."""


def _settled(found: Recollection | None) -> dict[str, Any]:
    """Return the settings that were left open and have been decided, so that no machine decides otherwise."""
    return {"precision": found.settings["precision"]} if found else {}


def _written(answer: Answer) -> Written:
    if isinstance(answer.written, Written):
        return answer.written
    raise answer.written or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _crash(error: _ActorDiedError) -> Failure:
    message = (
        f"{_MOST_DEATHS} actors died over it ({error}); the memory may have run out: shrink the image, or leave it out"
    )
    return Failure(stage="explain", type="ActorCrash", message=message)
