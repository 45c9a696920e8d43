"""`smoothcam.explain`: a model and images of any kind in, maps that draw themselves out."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import keras
import numpy as np

from cam_cli.api.explained import ExplainedImage, ExplainedMap
from cam_cli.api.kept import KeptModel, explainer_of, kept_of
from cam_cli.api.pictures import ImageLike, decoded, name_of, separate
from cam_cli.config import SETTINGS, RunConfig
from cam_cli.decoding.image import DecodedImage, DecodeSettings
from cam_cli.engine.checks import check_sequence
from cam_cli.engine.request import Explanation, Subject
from cam_cli.errors import UsageError
from cam_cli.executors.artefacts import predictions
from cam_cli.graph.tokens import Tokens
from cam_cli.images.fit import Preprocessing
from cam_cli.models.labels import Label, Labels
from cam_cli.models.load import Network, Overrides, load_network, network_of
from cam_cli.models.source import find_source
from cam_cli.plan.resolve import request_of
from cam_cli.results.manifest import Prediction
from cam_cli.text import near
from cam_cli.yaml_source import Tree, validated

MOST_OPENED = 2
"""So many models that were named are kept open."""

_PICTURE_SETTINGS = ("colormap", "opacity", "picture_size", "max_pixels")
_ARGUMENTS = {
    key: setting.flag or key
    for key, setting in SETTINGS.items()
    if (setting.section in ("Model", "Maps") or key in _PICTURE_SETTINGS) and key not in ("model", "targets_from")
}
"""The settings that are arguments, and what each is called: `layers` is `layer`."""

_GUESS = re.compile(r"\b(assuming|taking|taken for)\b")

_opened: OrderedDict[str, Network] = OrderedDict()


@dataclass(frozen=True)
class _Fed:
    """How a model is fed and what its classes are called: a `Network` without the model, which must not be kept alive."""

    shape: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: Labels
    default_layer: str | None
    tokens: Tokens | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, network: Network) -> _Fed:
        return cls(
            network.input_shape,
            network.preprocessing,
            network.labels,
            network.default_layer,
            network.tokens,
            network.remarks,
        )


@overload
def explain(
    model: keras.Model | Network | str | Path | None,
    image: list[Any] | tuple[Any, ...],
    layer: str | Sequence[str] = ...,
    target: str | int | Sequence[str | int] = ...,
    method: str | Sequence[str] = ...,
    *,
    labels: str | Path | Sequence[str] | None = ...,
    **settings: Any,
) -> list[ExplainedImage]: ...


@overload
def explain(
    model: keras.Model | Network | str | Path | None,
    image: ImageLike,
    layer: str | Sequence[str] = ...,
    target: str | int | Sequence[str | int] = ...,
    method: str | Sequence[str] = ...,
    *,
    labels: str | Path | Sequence[str] | None = ...,
    **settings: Any,
) -> ExplainedImage: ...


def explain(
    model: keras.Model | Network | str | Path | None,
    image: Any,
    layer: str | Sequence[str] = "auto",
    target: str | int | Sequence[str | int] = "predicted",
    method: str | Sequence[str] = "smoothgradcam++",
    *,
    labels: str | Path | Sequence[str] | None = None,
    **settings: Any,
) -> ExplainedImage | list[ExplainedImage]:
    """Explain what a classifier looked at in an image, or in each of several.

    A second call on the same model does not trace it again. What is kept of a model is forgotten with it, and is found out
    anew when its weights have changed.

    Args:
        model: a Keras model; or the name of a bundled one or of keras.applications, or the path of a file, which is opened with
            its card and stays open; or what `load_network` returned. None: the bundled model that has the layer. A Keras model
            is never changed.
        image: a path, a PIL image, or an array: uint8 pictures, (rows, columns, channels), are prepared as the model needs it,
            and floating-point arrays are its input as it is. Or a list of these, or an array of many images.
        layer: path or unique end of the path of a layer, `auto` for the model's own choice; or several.
        target: name, WordNet id or index of a class, `predicted` or `topN`, such as `top5`; or several.
        method: name of a method, such as `gradcam++`; or several.
        labels: names of the classes in the order of the model's output, or the file that has them.
        settings: any other setting of a run that is about the model, its maps or their pictures, under its name in a config:
            nsamples, std_dev, filters, region, subset, seed, fit, mean, std, ...

    Returns:
        An `ExplainedImage`, or a list of them if several images were given.

    Raises:
        UsageError: an argument has a value that cannot be; the message names both. ModelError: the model cannot be opened or
            explained. ImageError: an image cannot be read.
    """
    names = _named(labels)
    config = _config(layer, method, None if names else labels, settings)
    images, is_one = separate(image)
    model, fed, known = _network(model, config)
    layers = tuple(fed.default_layer if name == "auto" and fed.default_layer else name for name in config.layers)
    how = DecodeSettings(fed.shape[:2], fed.preprocessing, config.picture_size, config.max_pixels, fed.shape[2])
    classes = known.facts.get("classes") or len((names or fed.labels).entries)
    if not classes:
        classes = explainer_of(model, fed.shape, layers, request_of(config), 1, fed.tokens, kept=known).analysis.classes
    targets = _targets(target, names or fed.labels, classes)
    precision = config.precision if config.precision != "auto" else "float32"
    explainer = explainer_of(model, fed.shape, layers, request_of(config), len(targets), fed.tokens, precision, known)
    known.facts["classes"] = explainer.analysis.classes
    _check_names(names, explainer.analysis.classes)
    found: list[ExplainedImage] = []
    step = explainer.images_in_a_pass
    for start in range(0, len(images), step):
        batch = [(name_of(each, n), each) for n, each in enumerate(images[start : start + step], start)]
        ready = [(name, decoded(each, name, how)) for name, each in batch]
        explanations = explainer.explain([Subject(picture.x, picture.sha256, targets) for _, picture in ready])
        for (name, picture), explanation in zip(ready, explanations, strict=True):
            found.append(_explained(name, picture, explanation, names or fed.labels, fed.remarks, config))
    return found[0] if is_one else found


def _explained(
    name: str,
    picture: DecodedImage,
    explanation: Explanation,
    labels: Labels,
    remarks: tuple[str, ...],
    config: RunConfig,
) -> ExplainedImage:
    def target(index: int) -> Prediction:
        label = labels[index]
        probability, logit = float(explanation.probabilities[index]), float(explanation.logits[index])
        return Prediction(index=index, label=label.name, wnid=label.wnid, probability=probability, logit=logit)

    maps = tuple(
        ExplainedMap(target(each.target), each, picture.picture, picture.box, config.colormap, config.opacity)
        for each in explanation.maps
    )
    return ExplainedImage(name, predictions(explanation, labels), maps, picture.notes, remarks)


def _config(layer: Any, method: Any, labels: Any, settings: dict[str, Any]) -> RunConfig:
    """Return the settings of a run that the arguments are; a mistake names the argument."""
    keys = {name: key for key, name in _ARGUMENTS.items()}
    values: dict[str, object] = {}
    for name, value in {"layer": layer, "method": method, "labels": labels, **settings}.items():
        if name not in keys:
            hint = near(name, [*keys, "target"]) or f"; there are {', '.join([*keys, 'target'])}"
            raise UsageError(f"unknown argument {name!r}{hint}")
        if value is not None:
            values[keys[name]] = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return validated(Tree("", values, {(key,): _ARGUMENTS[key] for key in values}), RunConfig)


def _network(model: Any, config: RunConfig) -> tuple[keras.Model, _Fed, KeptModel]:
    """Return the open model, how it is fed and what is kept of it; what is assumed is warned of when it is met first."""
    overrides = Overrides(**config.model_settings())
    if isinstance(model, Network):
        return model.model, _Fed.of(model), kept_of(model.model)
    if isinstance(model, keras.Model):
        kept = kept_of(model)
        if overrides not in kept.facts:
            network = network_of(model, overrides)
            _warn(network.remarks)
            if network.model is not model:
                return network.model, _Fed.of(network), kept_of(network.model)
            kept.facts[overrides] = _Fed.of(network)
        return model, kept.facts[overrides], kept
    if not isinstance(model, str | Path | None):
        raise UsageError(f"model is {model!r}; it must be a Keras model, the name of a model or the path of a file")
    source = find_source(None if model is None else str(model), config.layers, config.labels, config.weights)
    key = repr((source.identity(), overrides))
    if key not in _opened:
        network = load_network(source, overrides=overrides)
        _warn(network.remarks if source.named else ())
        _opened[key] = network
        while len(_opened) > MOST_OPENED:
            _opened.popitem(last=False)
    _opened.move_to_end(key)
    network = _opened[key]
    return network.model, _Fed.of(network), kept_of(network.model)


def _warn(remarks: Sequence[str]) -> None:
    """Warn of what is a guess; what the model itself tells is among the `remarks` alone."""
    for remark in filter(_GUESS.search, remarks):
        words = re.sub(
            r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), remark
        )  # arguments instead of flags
        warnings.warn(words, UserWarning, stacklevel=4)


def _named(labels: Any) -> Labels | None:
    """Return the names of classes that were given as a list; None if they are in a file, or not given."""
    if labels is None or isinstance(labels, str | Path):
        return None
    return Labels(
        tuple(Label(i, str(name)) for i, name in enumerate(check_sequence("labels", labels, "names", "['cat', 'dog']")))
    )


def _check_names(names: Labels | None, classes: int) -> None:
    if names is not None and len(names.entries) != classes:
        raise UsageError(f"labels has {len(names.entries)} names, and the model has {classes} classes; they must match")


def _targets(target: Any, labels: Labels, classes: int) -> tuple[int, ...]:
    """Return class indices, or -r for the class of rank r, for one target or several."""
    one = isinstance(target, str) or np.ndim(target) == 0
    indices: list[int] = []
    for each in [target] if one else check_sequence("target", target, "classes", "('ox', 'predicted')"):
        if isinstance(each, bool) or not isinstance(each, str | int | np.integer):
            raise UsageError(f"target is {each!r}; it must be the name or the index of a class, such as 'ox' or 345")
        if isinstance(each, str) or each >= 0:
            indices += labels.resolve(str(each), classes)
        elif -each > classes:
            raise UsageError(f"target is {each}; the model has {classes} classes, so -1 to -{classes} are their ranks")
        else:
            indices.append(int(each))
    return tuple(dict.fromkeys(indices))
