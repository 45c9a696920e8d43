"""A path opened as a Keras model, or one line that says why not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import keras

from cam_cli.errors import ModelError
from cam_cli.models.formats import Format, recognise, under_its_suffix
from cam_cli.models.legacy import readable_by_keras_3
from cam_cli.quiet import native_chatter_silenced

_RECORDED_BY_KERAS_2 = {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"}


def open_model(path: Path, *, unsafe_lambda: bool = False) -> keras.Model:
    """Open a `.keras` file or folder, or an `.h5` file of Keras 2 or 3.

    Args:
        unsafe_lambda: run the Python code that Lambda layers carry; the file can then do anything.

    Raises:
        ModelError: the file is no such model, needs code that is not here, or carries code that may not run.
    """
    kind = recognise(path)
    if not kind.has_network:
        raise ModelError(
            f"{str(path)!r} holds weights alone, not the network; give the whole model (model.save('model.keras')), or "
            "for a keras.applications network --model NAME --weights FILE"
        )
    try:
        with under_its_suffix(path, kind.suffix) as named:
            reading = readable_by_keras_3(named) if kind.suffix == ".h5" else nullcontext(named)
            with reading as readable, native_chatter_silenced():
                model = keras.saving.load_model(readable, compile=False, safe_mode=not unsafe_lambda)
    except Exception as error:
        raise ModelError(f"{str(path)!r} {_why_not(path, kind, error, unsafe_lambda)}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{str(path)!r} holds a {type(model).__name__}, not a model")
    return model


def load_weights(model: keras.Model, path: Path) -> None:
    """Load a `.weights.h5`, `.h5` or `.keras` file into a model of the same architecture.

    Raises:
        ModelError: no such file, no weights in it, or those of another architecture.
    """
    source = path / "model.weights.h5" if path.is_dir() else path
    kind = recognise(source)
    try:
        with under_its_suffix(source, kind.suffix) as named, native_chatter_silenced():
            model.load_weights(named)
    except Exception as error:
        raise ModelError(f"weights {str(path)!r} do not fit {model.name}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return the first line of an error's message that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _why_not(path: Path, kind: Format, error: Exception, unsafe_lambda: bool) -> str:
    try:
        config = _config(path, kind)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return f"is damaged: the description of its layers cannot be read ({one_line(error)}); copy or fetch it again"
    entries = list(_entries(config))
    if not unsafe_lambda and any(entry["class_name"] in ("Lambda", "__lambda__") for entry, _ in entries):
        return "has a Lambda layer, which runs Python code from the file; if you trust it, add --unsafe-lambda"
    if unknown := sorted({name for entry in entries if (name := _unknown(*entry))}):
        listed = ", ".join(map(repr, unknown))
        if set(unknown) <= _RECORDED_BY_KERAS_2:
            return (
                f"holds TensorFlow operations as Keras 2 recorded them ({listed}), which Keras 3 cannot rebuild; build the "
                "network in Keras 3 and load the weights from this file (keras.applications: --model NAME --weights FILE)"
            )
        return (
            f"uses {listed}, not part of Keras; in Python, mark the code with @keras.saving.register_keras_serializable(), "
            "load the model and call cam_cli.explain(model, images)"
        )
    return f"cannot be opened as a Keras model: {one_line(error)}"


def _config(path: Path, kind: Format) -> Any:
    if kind.suffix == ".h5":
        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    if kind.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    return json.loads((path / "config.json").read_bytes())


def _entries(config: Any, in_layers: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield every description of an object, `{"class_name", "config", ...}`, and whether it stands in a list of layers."""
    if isinstance(config, list):
        for value in config:
            yield from _entries(value, in_layers)
    elif isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config, in_layers
        for key, value in config.items():
            yield from _entries(value, key == "layers")


def _unknown(entry: dict[str, Any], in_layers: bool) -> str | None:
    """Return the name of a described object that is neither Keras's own nor registered."""
    name = str(entry["class_name"])
    if registered := entry.get("registered_name"):
        if name == "function":
            name = registered = str(entry["config"])
        return None if keras.saving.get_registered_object(registered) else name
    known = "registered_name" in entry or any(hasattr(home, name) for home in (keras.layers, keras.models))
    return name if in_layers and not known and name != "Functional" else None
