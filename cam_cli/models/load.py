"""Names to networks: find a model, open it, and gather what is known about its input and its classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from cam_cli.errors import ModelError, UsageError
from cam_cli.images.fit import Preprocessing
from cam_cli.models.bundled import bundled_models, choose_bundled
from cam_cli.models.calls import walk
from cam_cli.models.card import InputCard, ModelCard, read_card
from cam_cli.models.labels import Labels, read_labels
from cam_cli.quiet import native_chatter_silenced


@dataclass(frozen=True)
class Overrides:
    """What the person running the command says about the input, against or in place of a card."""

    input_size: tuple[int, int] | None = None
    fit: str | None = None
    channels: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Network:
    """A model ready to be explained, and what is known about it.

    input_shape: (H, W, C). remarks: what was assumed because nobody said it, to be told to the person.
    """

    name: str
    sha256: str
    model: keras.Model
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: Labels
    default_layer: str | None
    remarks: tuple[str, ...] = ()


def load_network(source: str | None, layers: Sequence[str] = ("auto",), overrides: Overrides | None = None) -> Network:
    """Load a model.

    Args:
        source: a bundled name, or a path to a `.keras` or `.h5` file; None takes the bundled model that has `layers`.
        layers: the layers to be explained, as far as they decide on the model.
        overrides: what to believe instead of the card.

    Raises:
        UsageError: no such model, or not enough is known about its input.
        ModelError: the file cannot be opened as a Keras model.
        ConfigError: a mistake in its card.
    """
    chosen = source or choose_bundled(layers)
    bundled = bundled_models()
    path = bundled.get(chosen, Path(chosen))
    if not path.is_file():
        raise UsageError(f"no model '{chosen}': neither a file nor one of the bundled models ({', '.join(bundled)})")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card, remarks = _card(path, digest)
    model = _open(path)
    remarks += [] if source else [f"no model named: taking the bundled {chosen}"]
    return _describe(path, digest, model, card, overrides or Overrides(), remarks)


def _card(path: Path, digest: str) -> tuple[ModelCard | None, list[str]]:
    place = path.with_suffix(".yaml")
    if not place.is_file():
        return None, []
    card = read_card(place)
    if card.sha256 and card.sha256 != digest:
        raise ModelError(
            f"'{path}' is not the file its card describes: its sha256 is {digest}, {place.name} says {card.sha256}"
        )
    return card, []


def _open(path: Path) -> keras.Model:
    try:
        with native_chatter_silenced():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ModelError(f"'{path}' cannot be opened as a Keras model: {first}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"'{path}' holds a {type(model).__name__}, not a model")
    return model


def _describe(
    path: Path, digest: str, model: keras.Model, card: ModelCard | None, overrides: Overrides, remarks: list[str]
) -> Network:
    said = card.input if card else None
    own = _own_input_shape(model)
    size = overrides.input_size or (said.size if said else None) or (own[:2] if own else None)
    if size is None or size[0] is None or size[1] is None:
        raise UsageError(f"'{path}' does not say how large its input is; give --input-size ROWSxCOLUMNS")
    if said is None:
        said, guesses = _guess(model, own[2] if own else None, overrides)
        remarks = [*remarks, *guesses]
    given = {k: v for k in ("fit", "channels", "mean", "std") if (v := getattr(overrides, k)) is not None}
    preprocessing = replace(said.preprocessing(), **given)
    labels = overrides.labels or (card.labels if card else None)
    return Network(
        name=card.name if card else path.name,
        sha256=digest,
        model=model,
        input_shape=(size[0], size[1], 1 if preprocessing.channels == "grey" else 3),
        preprocessing=preprocessing,
        labels=read_labels(labels) if labels else Labels(),
        default_layer=card.layer if card else None,
        remarks=tuple(remarks),
    )


def _own_input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None] | None:
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):
        return None
    return shape[1:] if isinstance(shape, tuple) and len(shape) == 4 else None


def _guess(model: keras.Model, channels: int | None, overrides: Overrides) -> tuple[InputCard, list[str]]:
    """Assume an input for a model without a card, and say so wherever no flag settles it."""
    if channels not in (None, 1, 3):
        raise ModelError(f"the model takes {channels} channels; photos have 1 (grey) or 3")
    order = "grey" if channels == 1 else "rgb"
    if any(type(layer).__name__ in ("Rescaling", "Normalization") for _, layer in walk(model)):
        return InputCard(channels=order), [
            "no model card: the model rescales its input itself, so it gets values from 0 to 255"
        ]
    remarks = []
    if overrides.mean is None or overrides.std is None:
        remarks = ["no model card: assuming input values x / 255 (--mean and --std, or a card, say otherwise)"]
    return InputCard(channels=order, std=(255.0,)), remarks
