"""The plan of a run, resolved with the model: layers, input and precision decided, and kept for the next start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cam_cli.config import RunConfig
from cam_cli.engine.analysis import Link, ModelAnalysis, analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.head import Head
from cam_cli.engine.request import Request, Subject
from cam_cli.engine.selection import Selection
from cam_cli.engine.tracing import Noise
from cam_cli.engine.trial import try_bfloat16
from cam_cli.engine.verification import verify_predictions
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.layers import LayerInfo, choose_layer, choose_scales, describe_layers, find_layer
from cam_cli.graph.operations import random_operations
from cam_cli.graph.scaling import fitted_images
from cam_cli.graph.trace import Trace, is_random_outside_predict
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.images.natural_noise import natural_noise
from cam_cli.methods import METHODS, families
from cam_cli.models.inputs import contradictions, input_scaling, traced_within_memory
from cam_cli.models.labels import Labels
from cam_cli.models.load import Network, Overrides, load_network
from cam_cli.plan.cache import NO_CACHE, Cache
from cam_cli.plan.plan import Plan, PlanInputs, targets_for
from cam_cli.results.manifest import ModelRecord
from cam_cli.window import WHOLE

MOST_AUTO_SAMPLES = 200
"""With `nsamples: auto`, the noise stops here even if the tolerance is not met; the manifest has the error that remains."""

_INPUT_KEYS = ("input_size", "fit", "channels", "mean", "std")
"""Settings that are resolved, with the model's card, into the setting `input`."""


@dataclass(frozen=True)
class Resolved:
    """A plan, and what the engine needs to carry it out.

    Args:
        analysis: of the model, with the layers to explain.
        preprocessing: how an image becomes the model's input.
        open_model: loads the Keras model, once; it is called only if nothing that is kept makes up for it.
    """

    plan: Plan
    analysis: ModelAnalysis
    preprocessing: Preprocessing
    labels: Labels
    open_model: Callable[[], Any]


@dataclass(frozen=True)
class _Decided:
    """The part of a resolved plan that follows from the settings and the files of the model alone; it is kept."""

    analysis: ModelAnalysis
    model: ModelRecord
    settings: dict[str, Any]
    preprocessing: Preprocessing
    remarks: tuple[str, ...]


_DECIDED: TypeAdapter[_Decided] = TypeAdapter(_Decided)


def resolve(inputs: PlanInputs, cache: Cache = NO_CACHE) -> Resolved:
    """Load the model and decide on layers and targets, or take from the cache what was decided last time.

    Raises:
        UsageError: no such model, layer or class. ModelError: the model cannot be opened.
    """
    config = inputs.config

    @once
    def load() -> Network:
        return load_network(inputs.source, overrides=Overrides(**config.model_settings()))

    def resolved(decided: _Decided, labels: Labels) -> Resolved:
        classes = decided.analysis.classes
        targets, truths = targets_for(inputs, labels, classes)
        plan = Plan(inputs.key, decided.model, classes, decided.settings, decided.remarks, targets, truths)
        return Resolved(plan, decided.analysis, decided.preprocessing, labels, lambda: load().model)

    known = cache.load("plan")
    if known is not None:
        with suppress(ValidationError):
            decided = _DECIDED.validate_json(known)
            return resolved(decided, inputs.labels(decided.analysis.classes))
    network = load()
    decided = _decide(network, config)
    result = resolved(decided, network.labels)
    if config.precision == "auto":
        decided = _with_precision(decided, config, result)
        result = resolved(decided, network.labels)
    cache.save("plan", _DECIDED.dump_json(decided))
    return result


def _decide(network: Network, config: RunConfig) -> _Decided:
    traced = network.traced or traced_within_memory(network.model, network.input_shape)
    infos = describe_layers(traced, network.tokens)
    paths, remarks = _layers(network, config, traced, infos)
    scales = choose_scales(infos) if "two layers" in families(config.methods) else None
    analysis = analyse(traced, paths, scales, network.tokens)
    if is_random_outside_predict(network.model):
        analysis = replace(analysis, random=True)
    if network.labels.entries and len(network.labels.entries) != analysis.classes:
        count = len(network.labels.entries)
        raise UsageError(f"there are {count} class names and the model has {analysis.classes} classes; they must match")
    open_settings = {key: value for key, value in config.result_settings().items() if key not in _INPUT_KEYS}
    settings = open_settings | {
        "model": network.name,
        "layers": paths,
        "labels": network.labels.digest(),
        "input": {"size": list(network.input_shape[:2]), **asdict(network.preprocessing)},
        **_found_since_0_1(analysis),
    }
    return _Decided(
        analysis,
        ModelRecord(
            name=network.name,
            sha256=network.sha256,
            input_size=network.input_shape[:2],
            score=analysis.link.score,
            multi_label=analysis.multi_label,
        ),
        settings,
        network.preprocessing,
        (*network.remarks, *remarks, *_checked(network, config, traced, analysis), *_noise_remarks(config, analysis)),
    )


def _checked(network: Network, config: RunConfig, traced: Trace, analysis: ModelAnalysis) -> list[str]:
    """Check what was found against the model itself, and return what the user should know of it.

    Raises:
        ModelError: the scores that are explained do not lead to what the model predicts.
    """
    settled_by_graph = network.traced is not None and not (config.mean or config.std)
    remarks = [] if settled_by_graph else contradictions(input_scaling(network.model, traced), network.preprocessing)
    if analysis.link is Link.LOG_PROBABILITY:
        remarks.append(
            "no logit gives the model's output: the score is the logarithm of the probability it gives itself"
        )
    if random_operations(traced.output):
        remarks.append("the model draws random numbers when it predicts: one draw of its randomness is explained")
    else:
        if analysis.random:
            remarks.append(
                "the model has dropout or noise with training=True: one draw of its randomness is explained, the one without "
                "it, as model.predict leaves it out"
            )
        images = fitted_images(network.input_shape, network.preprocessing)
        verify_predictions(network.model, traced, analysis.link, images)
    return remarks


def _found_since_0_1(analysis: ModelAnalysis) -> dict[str, Any]:
    """Return what version 0.1 did not find out and took otherwise; results of such networks are made anew."""
    windows = {path: asdict(grid.window) for path, grid in analysis.grids.items() if grid.window != WHOLE}
    found: dict[str, Any] = {"windows": windows} if windows else {}
    return found | ({"score": analysis.link.score} if analysis.link is Link.LOG_PROBABILITY else {})


def _with_precision(decided: _Decided, config: RunConfig, resolved: Resolved) -> _Decided:
    """Decide on `precision: auto` by a trial on pictures with the spectrum of natural images."""
    count = resolved.plan.targets.count

    def build(precision: str) -> Explainer:
        return Explainer(resolved.open_model, decided.analysis, request_of(config), count, precision=precision)

    rows, columns, channels = decided.analysis.input_shape
    how = decided.preprocessing
    images = natural_noise(rows, columns, channels if how.channels == "bands" else 3)
    inputs = (fit(image, (rows, columns), how, channels)[0] for image in images)
    ranks = tuple(range(-1, -count - 1, -1))
    trial = try_bfloat16(build, [Subject(x, str(number), ranks) for number, x in enumerate(inputs)])
    remark = (
        f"precision auto: taking {trial.precision}; bfloat16 is {trial.gain:.1f} times as fast here, and its maps correlate "
        f"{trial.agreement:.4f} with float32's"
    )
    settings = decided.settings | {"precision": trial.precision}
    return replace(decided, settings=settings, remarks=(*decided.remarks, remark))


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


def _layers(
    network: Network, config: RunConfig, traced: Trace, infos: Sequence[LayerInfo]
) -> tuple[list[str], list[str]]:
    paths: list[str] = []
    remarks = []
    by_layer = any(METHODS[name].needs_layer for name in config.methods)
    for name in config.layers:
        if name == "auto":
            try:
                name = network.default_layer or choose_layer(infos).path
            except ModelError:
                if by_layer:
                    raise
                continue
            remarks.append(f"layer auto: taking {name}{_of_a_part(name, infos)}")
        paths.append(find_layer(traced.layers, name))
    for info in infos:
        if info.path in paths and info.signed:
            advice = f"; '{info.better}', the activation after it, is the better choice" if info.better else ""
            remarks.append(f"layer '{info.path}' has values of both signs, where Grad-CAM++ is unstable{advice}")
    return list(dict.fromkeys(paths)), remarks


def _of_a_part(name: str, infos: Sequence[LayerInfo]) -> str:
    whole = not any(info.path == name and not info.bottleneck for info in infos)
    return "" if whole else ", which sees only a part: no layer has all information about the image"


def _noise_remarks(config: RunConfig, analysis: ModelAnalysis) -> list[str]:
    noisy = any(METHODS[name].noise and METHODS[name].explains_cells for name in config.methods)
    if not noisy or not config.nsamples:
        return []
    reason = "noise has no effect, because all above it is affine; the noisy passes are skipped"
    return [f"layer '{path}': {reason}" for path in analysis.explained if analysis.heads[path] is Head.AFFINE]
