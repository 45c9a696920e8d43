"""Load a model by name, with its input, preprocessing and class names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from cam_cli.errors import ModelError, UsageError
from cam_cli.frozen_graphs.description import Choice, GraphDescription
from cam_cli.frozen_graphs.model import GraphModel
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import Trace, choose_output, classes_of
from cam_cli.images.fit import Preprocessing
from cam_cli.model_files.open import open_model
from cam_cli.models.applications import application_card, applications, load_application, sha256_of_weights
from cam_cli.models.bundled import bundled_models
from cam_cli.models.card import InputCard, ModelCard
from cam_cli.models.inputs import Overrides, settle_input
from cam_cli.models.labels import Labels, read_labels
from cam_cli.models.outputs import with_output
from cam_cli.models.source import ModelSource, find_source, no_such_model
from cam_cli.text import reason_of, shown

__all__ = ["Network", "Overrides", "load_network", "network_of"]


@dataclass(frozen=True)
class Network:
    """A loaded model with everything that is known about it.

    input_shape: (H, W, C). tokens: of a transformer, if its card declares them. remarks: the assumptions that were made, for
    the user. traced: the trace of the model, if its preprocessing was settled by it.
    """

    name: str
    sha256: str
    model: keras.Model
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: Labels
    default_layer: str | None
    tokens: Tokens | None = None
    remarks: tuple[str, ...] = ()
    traced: Trace | None = None


def load_network(
    source: ModelSource | str | None, layers: Sequence[str] = ("auto",), overrides: Overrides | None = None
) -> Network:
    """Load a model.

    Args:
        source: what `find_source` returned, whose file is then not hashed again; or a bundled name, a keras.applications
            name in any case, or a path to a `.keras`, `.h5`, `.pb` or `.tflite` file or a SavedModel. None takes the bundled
            model that has `layers`.
        layers: the layers to be explained; they only matter if `source` is None.
        overrides: values that count instead of the card's, and how to open the model.

    Raises:
        UsageError: no such model, a module to import is not there, or not enough is known about its input.
        ModelError: the file cannot be opened as a model, there are no weights, or it does not take images.
        ConfigError: a mistake in its card.
    """
    overrides = overrides or Overrides()
    found = source if isinstance(source, ModelSource) else find_source(source, layers)
    card, name, digest = found.card, found.chosen.lower(), found.sha256
    if found.chosen not in bundled_models() and name in applications():
        model, card = load_application(name, overrides.weights or "imagenet")
        digest = sha256_of_weights(name, model)
    elif overrides.weights is not None:
        raise UsageError(f"--weights goes with a keras.applications name such as resnet50, not with '{found.chosen}'")
    elif found.path is None:
        raise no_such_model(found.chosen)
    else:
        model, name = _opened(found.path, card, overrides), found.path.name
    assert digest is not None
    graph = model.description if isinstance(model, GraphModel) else None
    if graph is None:
        model = _with_output(model, overrides)
    fed = card.input if card else _input_of(graph)
    shape, preprocessing, assumptions, traced = settle_input(model, fed, overrides)
    classes, outputs = _outputs(model, shape)
    labels, taken = _labels(found, overrides, card, classes)
    assumed = [] if found.named else [f"no model named: taking the bundled {found.chosen}"]
    assumed += graph.remarks if graph else ()
    if graph and graph.scaling_remark and card is None and overrides.mean is None is overrides.std:
        assumed.append(graph.scaling_remark)
    return Network(
        name=card.name if card else name,
        sha256=digest,
        model=model,
        input_shape=shape,
        preprocessing=preprocessing,
        labels=labels,
        default_layer=card.layer if card else None,
        tokens=card.tokens if card else None,
        remarks=(*assumed, *assumptions, *outputs, *taken),
        traced=traced,
    )


def network_of(model: keras.Model, overrides: Overrides | None = None) -> Network:
    """Return what is known of a model that is open already.

    One with the name and the 1000 classes of a network of keras.applications is taken for that network. Of any other one,
    preprocessing is found as for a file without a card.

    Args:
        overrides: values that count instead of what is found.

    Raises:
        UsageError, ModelError: as `load_network` does.
    """
    overrides = overrides or Overrides()
    model, name = _with_output(model, overrides), str(model.name).lower()
    card = (
        application_card(name, model)
        if name in applications() and getattr(model, "output_shape", None) == (None, 1000)
        else None
    )
    remarks = (
        [f"the model is taken for keras.applications' {name}, with its preprocessing and class names"] if card else []
    )
    shape, preprocessing, assumptions, traced = settle_input(model, card.input if card else None, overrides)
    named = overrides.labels or (card.labels if card else None)
    return Network(
        name=model.name,
        sha256="",
        model=model,
        input_shape=shape,
        preprocessing=preprocessing,
        labels=read_labels(named) if named else Labels(),
        default_layer=None,
        remarks=(*remarks, *assumptions, *_outputs(model, shape)[1]),
        traced=traced,
    )


def _opened(path: Path, card: ModelCard | None, overrides: Overrides) -> keras.Model:
    choice = Choice(overrides.signature, overrides.model_input, overrides.model_output)
    size = overrides.input_size or (card.input.size if card else None)
    return open_model(path, unsafe_lambda=overrides.unsafe_lambda, imports=overrides.imports, choice=choice, size=size)


def _with_output(model: keras.Model, overrides: Overrides) -> keras.Model:
    for flag, value in (("--signature", overrides.signature), ("--model-input", overrides.model_input)):
        if value is not None:
            raise UsageError(f"{flag} goes with a SavedModel or another graph of TensorFlow, not with a Keras model")
    return with_output(model, overrides.model_output)


def _input_of(graph: GraphDescription | None) -> InputCard | None:
    """Return how a graph's file says its input is prepared, if it does."""
    return InputCard(mean=graph.mean, std=graph.std) if graph and graph.mean and graph.std else None


def _labels(
    found: ModelSource, overrides: Overrides, card: ModelCard | None, classes: int | None
) -> tuple[Labels, list[str]]:
    named = overrides.labels or (card.labels if card else None)
    if named is not None:
        return read_labels(named), []
    if not found.labels_beside or found.labels is None:
        return Labels(), []
    labels, where = read_labels(found.labels), shown(found.labels)
    if len(labels.entries) != classes:
        reason = f"it names {len(labels.entries)} classes and the model has {classes}"
        return Labels(), [f"class names: {where} is left out, as {reason} (--labels names another file)"]
    return labels, [f"class names: taking {where} (--labels says otherwise)"]


def _outputs(model: keras.Model, input_shape: tuple[int, int, int]) -> tuple[int | None, list[str]]:
    """Return how many classes a model has, and the remark on which of its outputs is taken."""
    outputs = getattr(model, "outputs", None)
    if outputs is None:
        try:
            outputs = model.compute_output_spec(keras.KerasTensor((1, *input_shape)))
        except Exception as error:
            raise ModelError(f"the model does not take an image of shape {input_shape}: {reason_of(error)}") from error
    name, scores = choose_output(model, outputs)
    units = classes_of(scores)
    classes = 2 if units == 1 else units
    count = len(keras.tree.flatten(outputs))
    return classes, [] if count == 1 else [f"the model has {count} outputs: taking '{name}', the only row of scores"]
