"""What the settings of a run leave open, decided with the model: layers, input, runtime and precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.engine import openvino_import
from cam_cli.engine.analysis import Link, ModelAnalysis, analyse, analyse_at_sizes
from cam_cli.engine.device import uses_gpu
from cam_cli.engine.explain import Explainer
from cam_cli.engine.model_analysis import Head
from cam_cli.engine.passes import RuntimeName
from cam_cli.engine.request import Request, Subject
from cam_cli.engine.trial import RuntimeTrial, try_bfloat16, try_openvino
from cam_cli.engine.verification import verify_predictions
from cam_cli.errors import ModelError, UnsupportedError, UsageError
from cam_cli.graph.layer_names import find_layer
from cam_cli.graph.layers import LayerInfo, choose_layer, choose_scales, describe_layers
from cam_cli.graph.operations import random_operations
from cam_cli.graph.scaling import fitted_images
from cam_cli.graph.trace import Trace, is_random_outside_predict
from cam_cli.images.fit import fit
from cam_cli.images.natural_noise import natural_noise
from cam_cli.methods import METHODS, families
from cam_cli.models.inputs import contradictions, input_scaling, traced_at_sizes, traced_within_memory
from cam_cli.models.load import Network
from cam_cli.plan.best import best_settings
from cam_cli.plan.cache import NO_CACHE, Cache
from cam_cli.plan.early import ModelFacts
from cam_cli.plan.resolve import Decided, Resolved
from cam_cli.results.manifest import ModelRecord
from cam_cli.window import WHOLE

_INPUT_KEYS = ("input_size", "fit", "channels", "mean", "std")
"""Settings that are resolved, with the model's card, into the setting `input`."""

_SAMPLES_TRIED = 5

_TRIAL, _BEGUN = "trial of OpenVINO", b"begun"


def decide(
    network: Network,
    config: RunConfig,
    resolved: Callable[[Decided], Resolved],
    tell: Callable[[str], None] | None = None,
    cache: Cache = NO_CACHE,
) -> tuple[Decided, ModelFacts]:
    """Decide on layers, input, runtime and precision, and return it with what other runs may know of the model.

    See `resolve` for `tell` and `cache`, and for what is raised.
    """
    decided, facts = _without_trials(network, config)
    decided = _with_runtime(decided, config, resolved(decided), tell, cache)
    if config.precision == "auto":
        decided = _with_precision(decided, resolved(decided))
    if decided.runtime == "openvino" and decided.settings["precision"] == "bfloat16":  # TensorFlow rounds otherwise
        decided = replace(decided, settings=decided.settings | {"runtime": "openvino"})
    return decided, facts


def _without_trials(network: Network, config: RunConfig) -> tuple[Decided, ModelFacts]:
    traced = network.traced or traced_within_memory(network.model, network.input_shape)
    infos = describe_layers(traced, network.tokens)
    config, taken = best_settings(config, network, infos) if config.best else (config, [])
    paths, remarks = _layers(network, config, traced, infos)
    remarks = [*taken, *remarks]
    scales = choose_scales(infos) if "two layers" in families(config.methods) else None
    analysis = analyse(traced, paths, scales, network.tokens)
    if config.sizes and scales:
        further = traced_at_sizes(network.model, config.sizes, network.input_shape[2])
        analysis = analyse_at_sizes(analysis, further, network.tokens)
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
    grids = {i.path: (*i.grid, i.shape[-1]) for i in infos if i.grid and i.grid == i.shape[:2] and i.shape[-1]}
    facts = ModelFacts(analysis.classes, {path: grids.get(path) for path in traced.layers})
    return Decided(
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
    ), facts


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


def _with_runtime(
    decided: Decided, config: RunConfig, resolved: Resolved, tell: Callable[[str], None] | None, cache: Cache
) -> Decided:
    """Decide on `runtime` by a trial, and take TensorFlow if OpenVINO cannot run this model, or gains nothing.

    A fault in OpenVINO's own code may end the process. So the trial is noted before it begins; a start that finds one that did
    not end takes TensorFlow.
    """
    own = tuple(method for method in resolved.request.methods if METHODS[method].family != "peer")
    asked = config.runtime == "openvino"
    if config.runtime == "tensorflow" or not own or (openvino_import.openvino_version() is None and not asked):
        return decided
    precision = "float32" if config.precision == "auto" else config.precision
    request = replace(resolved.request, methods=own, nsamples=_SAMPLES_TRIED, tolerance=None)
    if config.nsamples == 0:
        request = replace(request, nsamples=0)

    def build(runtime: RuntimeName) -> Explainer:
        return _explainer_of_trial(resolved, request, precision, runtime)

    try:
        if uses_gpu():
            raise UnsupportedError("TensorFlow computes on a GPU")
        if decided.analysis.random:
            raise UnsupportedError("the model draws random numbers")
        if cache.load(_TRIAL) == _BEGUN and not asked:
            raise UnsupportedError("the process ended in the trial of OpenVINO; --runtime openvino tries again")
        if tell:
            once = "; the next start needs neither" if config.cache else ""
            tell(f"loaded TensorFlow; converting the model for OpenVINO and comparing the maps of both{once}")
        cache.save(_TRIAL, _BEGUN)
        try:
            trial = try_openvino(build, _pictures(decided, resolved)[:2])
        finally:
            cache.save(_TRIAL, b"ended")
        if problem := trial.problem(precision, speed_counts=not asked):
            raise UnsupportedError(problem)
    except UnsupportedError as error:
        if asked:
            raise UsageError(f"--runtime openvino: {error}; use auto or tensorflow") from error
        return replace(decided, remarks=(*decided.remarks, f"runtime auto: taking tensorflow, because {error}"))
    same = {} if trial.is_the_same else {"runtime": "openvino"}
    remarks = decided.remarks if asked else (*decided.remarks, f"runtime auto: taking openvino; {_found(trial)}")
    return replace(decided, runtime="openvino", settings=decided.settings | same, remarks=remarks)


def _found(trial: RuntimeTrial) -> str:
    return f"it is {trial.gain:.1f} times as fast here, and its maps differ from TensorFlow's by {trial.difference:.0e}"


def _pictures(decided: Decided, resolved: Resolved) -> list[Subject]:
    """Return pictures with the spectrum of natural images, to be explained for as many classes as each image of the run."""
    rows, columns, channels = decided.analysis.input_shape
    how = decided.preprocessing
    images = natural_noise(rows, columns, channels if how.channels == "bands" else 3)
    inputs = (fit(image, (rows, columns), how, channels)[0] for image in images)
    ranks = tuple(range(-1, -resolved.plan.targets.count - 1, -1))
    return [Subject(x, str(number), ranks) for number, x in enumerate(inputs)]


def _with_precision(decided: Decided, resolved: Resolved) -> Decided:
    """Decide on `precision: auto` by a trial."""

    def build(precision: str) -> Explainer:
        return _explainer_of_trial(resolved, resolved.request, precision, decided.runtime)

    trial = try_bfloat16(build, _pictures(decided, resolved))
    remark = (
        f"precision auto: taking {trial.precision}; bfloat16 is {trial.gain:.1f} times as fast here, and its maps correlate "
        f"{trial.agreement:.4f} with float32's"
    )
    settings = decided.settings | {"precision": trial.precision}
    return replace(decided, settings=settings, remarks=(*decided.remarks, remark))


def _explainer_of_trial(resolved: Resolved, request: Request, precision: str, runtime: RuntimeName) -> Explainer:
    """Return an explainer as a run makes it, of the model's own input size alone."""
    return Explainer(
        resolved.open_model,
        replace(resolved.analysis, sizes=()),
        request,
        resolved.plan.targets.count,
        precision=precision,
        runtime=runtime,
        against=resolved.against.count,
    )


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
