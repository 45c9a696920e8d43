"""The plan of a run: taken from the cache, or decided with the model and kept for the next start.

With a plan that is kept, TensorFlow is imported only if it runs the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache as once
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from cam_cli.config import RunConfig
from cam_cli.engine.model_analysis import ModelAnalysis
from cam_cli.engine.noise import Noise
from cam_cli.engine.passes import RuntimeName
from cam_cli.engine.request import Request
from cam_cli.engine.selection import Selection
from cam_cli.images.fit import Preprocessing
from cam_cli.models.labels import Labels
from cam_cli.plan.against import Against, read_against
from cam_cli.plan.cache import NO_CACHE, Cache
from cam_cli.plan.plan import Plan, PlanInputs, targets_for
from cam_cli.quiet import native_chatter_silenced
from cam_cli.results.manifest import ModelRecord

if TYPE_CHECKING:
    from cam_cli.models.load import Network

MOST_AUTO_SAMPLES = 200
"""With `nsamples: auto`, the noise stops here even if the tolerance is not met; the manifest has the error that remains."""


@dataclass(frozen=True)
class Resolved:
    """A plan, and what the engine needs to carry it out.

    Args:
        analysis: of the model, with the layers to explain.
        preprocessing: how an image becomes the model's input.
        open_model: loads the Keras model, once; it is called only if nothing that is kept makes up for it.
        request: what the engine is asked for every image.
        against: the classes that each target is explained against.
        runtime: what runs the network, `tensorflow` or `openvino`.
    """

    plan: Plan
    analysis: ModelAnalysis
    preprocessing: Preprocessing
    labels: Labels
    open_model: Callable[[], Any]
    request: Request
    against: Against
    runtime: RuntimeName = "tensorflow"


@dataclass(frozen=True)
class Decided:
    """The part of a resolved plan that follows from the settings and the files of the model alone; it is kept."""

    analysis: ModelAnalysis
    model: ModelRecord
    settings: dict[str, Any]
    preprocessing: Preprocessing
    remarks: tuple[str, ...]
    runtime: RuntimeName = "tensorflow"


_DECIDED: TypeAdapter[Decided] = TypeAdapter(Decided)


def resolve(inputs: PlanInputs, cache: Cache = NO_CACHE, tell: Callable[[str], None] | None = None) -> Resolved:
    """Load the model and decide on layers and targets, or take from the cache what was decided last time.

    Args:
        inputs: what the plan follows from.
        cache: where decisions are kept.
        tell: called with a message before anything that takes long.

    Raises:
        UsageError: no such model, layer or class. ModelError: the model cannot be opened.
    """

    @once
    def load() -> Network:
        with native_chatter_silenced():  # TensorFlow is imported here
            from cam_cli.engine.device import choose_device
            from cam_cli.models.load import Overrides, load_network

        choose_device(inputs.config.device)
        return load_network(inputs.source, overrides=Overrides(**inputs.config.model_settings()))

    def resolved(decided: Decided, labels: Labels) -> Resolved:
        classes = decided.analysis.classes
        targets, truths = targets_for(inputs, labels, classes)
        plan = Plan(inputs.key, decided.model, classes, decided.settings, decided.remarks, targets, truths)
        config = as_decided(inputs.config, decided.settings)
        against = read_against(config.against or (), labels, classes, truths.most if truths else 0)
        return Resolved(
            plan,
            decided.analysis,
            decided.preprocessing,
            labels,
            lambda: load().model,
            request_of(config),
            against,
            decided.runtime,
        )

    known = cache.load("plan")
    if known is not None:
        with suppress(ValidationError):
            decided = _DECIDED.validate_json(known)
            if decided.runtime == "tensorflow":
                with native_chatter_silenced():
                    from cam_cli.engine.device import choose_device

                choose_device(inputs.config.device)
            return resolved(decided, inputs.labels(decided.analysis.classes))
    network = load()
    with native_chatter_silenced():
        from cam_cli.plan.decide import decide

    decided, facts = decide(network, inputs.config, lambda decided: resolved(decided, network.labels), tell, cache)
    facts.keep(replace(cache, key=inputs.network_key))
    result = resolved(decided, network.labels)
    cache.save("plan", _DECIDED.dump_json(decided))
    return result


def as_decided(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return settings whose method is the one that was decided on, if `best` left that open."""
    return config.model_copy(update={"methods": tuple(settings["methods"]), "best": False}) if config.best else config


def request_of(config: RunConfig) -> Request:
    """Return what the engine is asked for every image."""
    fixed = isinstance(config.nsamples, int)
    return Request(
        methods=config.methods,
        selections=_selections(config),
        nsamples=config.nsamples if isinstance(config.nsamples, int) else MOST_AUTO_SAMPLES,
        tolerance=None if fixed else config.tolerance,
        noise=Noise(config.std_dev, config.noise_scale),
        score=config.score,
        alpha_numerator=config.alpha_numerator,
        derivatives=config.derivatives,
        seed=config.seed,
    )


def _selections(config: RunConfig) -> tuple[Selection, ...]:
    top = int(config.subset.removeprefix("top:")) if isinstance(config.subset, str) else None
    subset = None if isinstance(config.subset, str) else config.subset
    combined = Selection(config.filters, config.region, subset, top)
    each = [Selection((index,), config.region, subset, top) for index in config.filters or ()]
    return {"combined": (combined,), "each": tuple(each), "both": (combined, *each)}[config.filter_maps]
