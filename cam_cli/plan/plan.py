"""What a run is going to do, with everything that was left open in its settings decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cam_cli.config import RunConfig
from cam_cli.engine.anatomy import Anatomy, examine
from cam_cli.engine.explain import Explainer, Request, Subject
from cam_cli.engine.head import Head
from cam_cli.engine.selection import Selection
from cam_cli.engine.tracing import Noise
from cam_cli.engine.trial import try_bfloat16
from cam_cli.errors import UsageError
from cam_cli.images.fit import Preprocessing, fit
from cam_cli.images.photolike import photolike
from cam_cli.methods import METHODS, families
from cam_cli.models.calls import Trace, trace
from cam_cli.models.labels import Labels, read_labels
from cam_cli.models.layers import LayerInfo, choose_layer, choose_scales, describe_layers, find_layer
from cam_cli.models.load import Network, Overrides, load_network
from cam_cli.models.source import find_source
from cam_cli.plan.cache import NO_CACHE, Cache
from cam_cli.plan.recipe import Recipe
from cam_cli.plan.targets import read_targets
from cam_cli.results.manifest import ModelRecord
from cam_cli.storage.location import Location

MOST_AUTO_SAMPLES = 200
"""With `nsamples: auto`, the noise stops here even if the tolerance is not met; the manifest has the error that remains."""

_INPUT_KEYS = ("input_size", "fit", "channels", "mean", "std")
"""Flags that are resolved, with the model's card, into the setting `input`."""


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    anatomy: of the model, with the chosen layers. recipe: what decides results. preprocessing, labels: the model's. remarks:
    what a person should be told before the run starts. open_model: loads the model, where nothing kept makes up for it.
    """

    anatomy: Anatomy
    recipe: Recipe
    preprocessing: Preprocessing
    labels: Labels
    remarks: tuple[str, ...]
    open_model: Callable[[], Any]

    @property
    def precision(self) -> str:
        """What the network's products are computed in: `float32` or `bfloat16`."""
        return str(self.recipe.settings["precision"])


@dataclass(frozen=True)
class _Kept:
    """The part of a plan that follows from the settings and the files of the model alone."""

    anatomy: Anatomy
    model: ModelRecord
    settings: dict[str, Any]
    preprocessing: Preprocessing
    remarks: tuple[str, ...]


_KEPT: TypeAdapter[_Kept] = TypeAdapter(_Kept)


def make_plan(config: RunConfig, root: Location, cache: Cache = NO_CACHE) -> Plan:
    """Load the model and decide on layers and targets, or recall from the cache what was decided last time.

    Raises:
        UsageError: no such model, layer or class. ModelError: the model cannot be opened.
    """

    def load() -> Network:
        return load_network(config.model, config.layers, Overrides(**config.model_settings()))

    known = cache.load("plan")
    if known is not None:
        with suppress(ValidationError):
            kept = _KEPT.validate_json(known)
            labels = find_source(config.model, config.layers, config.labels, config.weights).labels
            return _planned(kept, config, root, read_labels(labels) if labels else Labels(), lambda: load().model)
    network = load()
    kept = _decided(network, config)
    plan = _planned(kept, config, root, network.labels, lambda: network.model)
    if config.precision == "auto":
        kept = _with_precision(kept, config, plan)
        plan = _planned(kept, config, root, network.labels, lambda: network.model)
    cache.save("plan", _KEPT.dump_json(kept))
    return plan


def _planned(kept: _Kept, config: RunConfig, root: Location, labels: Labels, open_model: Callable[[], Any]) -> Plan:
    classes = kept.anatomy.classes
    targets = read_targets(config.targets, config.targets_from, labels, classes, root)
    recipe = Recipe(kept.model, classes, kept.settings, targets)
    return Plan(kept.anatomy, recipe, kept.preprocessing, labels, kept.remarks, open_model)


def _decided(network: Network, config: RunConfig) -> _Kept:
    traced = trace(network.model, network.input_shape)
    infos = describe_layers(traced, network.tokens)
    paths, remarks = _layers(network, config, traced, infos)
    scales = choose_scales(infos) if "two layers" in families(config.methods) else None
    anatomy = examine(traced, paths, scales, network.tokens)
    if network.labels.entries and len(network.labels.entries) != anatomy.classes:
        count = len(network.labels.entries)
        raise UsageError(f"there are {count} class names and the model has {anatomy.classes} classes; they must match")
    open_settings = {key: value for key, value in config.result_settings().items() if key not in _INPUT_KEYS}
    settings = open_settings | {
        "model": network.name,
        "layers": paths,
        "labels": network.labels.digest(),
        "input": {"size": list(network.input_shape[:2]), **asdict(network.preprocessing)},
    }
    return _Kept(
        anatomy,
        ModelRecord(name=network.name, sha256=network.sha256, input_size=network.input_shape[:2]),
        settings,
        network.preprocessing,
        (*network.remarks, *remarks, *_noise_remarks(config, anatomy)),
    )


def _with_precision(kept: _Kept, config: RunConfig, plan: Plan) -> _Kept:
    """Settle `precision: auto` by a trial on pictures with the spectrum of photos."""
    count = plan.recipe.targets.count

    def build(precision: str) -> Explainer:
        return Explainer(plan.open_model, plan.anatomy, request_of(config), count, precision=precision)

    rows, columns, _ = plan.anatomy.input_shape
    trial = try_bfloat16(
        build,
        [
            Subject(fit(photo, (rows, columns), plan.preprocessing)[0], str(number), tuple(range(-1, -count - 1, -1)))
            for number, photo in enumerate(photolike(rows, columns))
        ],
    )
    remark = (
        f"precision auto: taking {trial.precision}; bfloat16 is {trial.gain:.1f} times as fast here, and its maps correlate "
        f"{trial.agreement:.4f} with float32's"
    )
    return replace(kept, settings=kept.settings | {"precision": trial.precision}, remarks=(*kept.remarks, remark))


def request_of(config: RunConfig) -> Request:
    """Return what the engine is asked for every image."""
    return Request(
        methods=config.methods,
        selections=_selections(config),
        nsamples=config.nsamples if isinstance(config.nsamples, int) else MOST_AUTO_SAMPLES,
        tolerance=None if isinstance(config.nsamples, int) else config.tolerance,
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
    for name in config.layers:
        wanted = name
        if name == "auto":
            wanted = network.default_layer or choose_layer(infos).path
            remarks.append(f"layer auto: taking {wanted}")
        paths.append(find_layer(traced.layers, wanted))
    for info in infos:
        if info.path in paths and info.signed:
            advice = f"; '{info.better}', the activation after it, is the better choice" if info.better else ""
            remarks.append(f"layer '{info.path}' has values of both signs, where Grad-CAM++ is unstable{advice}")
    return list(dict.fromkeys(paths)), remarks


def _noise_remarks(config: RunConfig, anatomy: Anatomy) -> list[str]:
    noisy = any(METHODS[name].noise and METHODS[name].explains_cells for name in config.methods)
    if not noisy or not config.nsamples:
        return []
    affine = [path for path in anatomy.explained if anatomy.heads[path] is Head.AFFINE]
    return [
        f"layer '{path}': noise has no effect, because all above it is affine; the noisy passes are skipped"
        for path in affine
    ]
