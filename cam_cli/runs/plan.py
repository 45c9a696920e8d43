"""What a run is going to do, with everything that was left open in its settings decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.engine.anatomy import Anatomy, examine
from cam_cli.engine.explain import Request
from cam_cli.engine.head import Head
from cam_cli.engine.tracing import Noise
from cam_cli.engine.selection import Selection
from cam_cli.errors import UsageError
from cam_cli.models.calls import Trace, trace
from cam_cli.models.layers import LayerInfo, choose_layer, choose_scales, describe_layers, find_layer
from cam_cli.models.load import Network, Overrides, load_network
from cam_cli.runs.manifest import ModelRecord
from cam_cli.runs.recipe import Recipe
from cam_cli.runs.targets import read_targets

MOST_AUTO_SAMPLES = 200
"""With `nsamples: auto`, the noise stops here even if the tolerance is not met; the manifest has the error that remains."""

_INPUT_KEYS = ("input_size", "fit", "channels", "mean", "std")
"""Flags that are resolved, with the model's card, into the setting `input`."""


@dataclass(frozen=True)
class Plan:
    """A loaded network with its layers, and what is recorded of it.

    anatomy: of the network, with the chosen layers. recipe: what decides results. remarks: what a person should be told before
    the run starts.
    """

    network: Network
    anatomy: Anatomy
    recipe: Recipe
    remarks: tuple[str, ...]


def make_plan(config: RunConfig, root: Path) -> Plan:
    """Load the model and decide on layers and targets.

    Raises:
        UsageError: no such model, layer or class. ModelError: the model cannot be opened.
    """
    overrides = Overrides(**config.model_settings())
    network = load_network(config.model, config.layers, overrides)
    traced = trace(network.model, network.input_shape)
    infos = describe_layers(traced, network.tokens)
    paths, remarks = _layers(network, config, traced, infos)
    scales = choose_scales(infos) if "twoscale" in config.methods else None
    anatomy = examine(traced, paths, scales, network.tokens)
    if network.labels.entries and len(network.labels.entries) != anatomy.classes:
        count = len(network.labels.entries)
        raise UsageError(f"there are {count} class names and the model has {anatomy.classes} classes; they must match")
    targets = read_targets(config.targets, config.targets_from, network.labels, anatomy.classes, root)
    open_settings = {key: value for key, value in config.result_settings().items() if key not in _INPUT_KEYS}
    settings = open_settings | {
        "model": network.name,
        "layers": paths,
        "labels": network.labels.digest(),
        "input": {"size": list(network.input_shape[:2]), **asdict(network.preprocessing)},
    }
    return Plan(
        network=network,
        anatomy=anatomy,
        recipe=Recipe(
            ModelRecord(name=network.name, sha256=network.sha256, input_size=network.input_shape[:2]),
            anatomy.classes,
            settings,
            targets,
        ),
        remarks=(*network.remarks, *remarks, *_noise_remarks(config, anatomy)),
    )


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
    if "smoothgradcam++" not in config.methods or not config.nsamples:
        return []
    affine = [path for path in anatomy.explained if anatomy.heads[path] is Head.AFFINE]
    return [
        f"layer '{path}': noise has no effect, because all above it is affine; the noisy passes are skipped"
        for path in affine
    ]
