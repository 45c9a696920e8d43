"""The description (`config.json`) of a network in a model file: read with a size limit, and checked against an allow list.

Keras builds whatever a description names, and its safe mode refuses what is known to do harm. Here only the parts of a network
may be named. (Keras 3.15.1 in safe mode lets a Lambda layer call any function of Keras, also one that writes files.)
"""

import json
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import keras

from cam_cli.models.formats import Format

MOST_BYTES = 64 * 1024**2
"""A description larger than this is refused; that of EfficientNet-Lite0 has 0.15 MB."""

RUN_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
"""Layers that run code from the file."""

_CLASSES = {
    "keras", "keras.constraints", "keras.dtype_policies", "keras.initializers", "keras.layers", "keras.losses",
    "keras.metrics", "keras.models", "keras.optimizers", "keras.optimizers.schedules", "keras.quantizers", "keras.random",
    "keras.regularizers",
}  # fmt: skip
"""The modules of the classes that a network may consist of."""

_BUILTINS = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")
"""The modules in which Keras looks for a function whose module is `builtins`."""

_FUNCTIONS = ("keras.activations", "keras.losses", "keras.metrics", "keras.ops", "keras.random")
_LOOK_UPS = {"get", "serialize", "deserialize"}
_OBJECTS = {"__tensor__", "__numpy__", "__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__", "__typespec__"}


def read_description(path: Path, kind: Format) -> Any:
    """Return the description of a network as a JSON value.

    Raises:
        ValueError: it is not JSON, too large or too deep. KeyError: there is none. OSError, BadZipFile: the file cannot be
            read.
    """
    if kind.suffix == ".h5":
        with h5py.File(path) as file:
            text = file.attrs["model_config"]
    elif kind.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
            text = member.read(MOST_BYTES + 1)
    else:
        with (path / "config.json").open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def code_runners(description: Any) -> list[str]:
    """Return the names of layers that would run code from the file."""
    return sorted({name for entry, _ in _entries(description) for name in _names(entry) if name in RUN_CODE})


def strangers(description: Any) -> list[str]:
    """Return the names that are neither parts of a network in Keras nor registered with it."""
    return sorted({_names(entry)[0] for entry, layer in _entries(description) if not _is_known(entry, layer=layer)})


def _entries(description: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the description of each object, `{"class_name", "config", ...}`, and whether it is a layer or the model itself."""
    waiting = [(description, True)]
    while waiting:
        value, layer = waiting.pop()
        if isinstance(value, list):
            waiting += [(item, layer) for item in value]
        elif isinstance(value, dict):
            if "class_name" in value:
                yield value, layer
            waiting += [
                (item, key == "layers" or (key == "config" and isinstance(item, list))) for key, item in value.items()
            ]


def _names(entry: dict[str, Any]) -> list[str]:
    """Return the name of an entry, and other names that Keras may look it up by."""
    name, inner = str(entry["class_name"]), entry.get("config")
    return [inner, name] if name == "function" and isinstance(inner, str) else [name]


def _is_known(entry: dict[str, Any], *, layer: bool) -> bool:
    name, module = _names(entry)[0], entry.get("module")
    if any(keras.saving.get_registered_object(str(key)) for key in (name, entry.get("registered_name") or name)):
        return True
    if entry["class_name"] == "function":
        owners = [getattr(keras, owner) for owner in _BUILTINS] if module == "builtins" else []
        owners += [import_module(str(module))] if str(module).startswith(_FUNCTIONS) else []
        return name not in _LOOK_UPS and any(hasattr(owner, name) for owner in owners)
    if name in _OBJECTS:
        return True
    if module is None and "registered_name" not in entry:  # written by Keras 2, looked up among the layers
        return (
            not layer or name == "Functional" or any(_has_class(owner, name) for owner in (keras.layers, keras.models))
        )
    if str(module).startswith("keras.src."):  # Keras itself takes only parts of models from there
        return True
    return module in _CLASSES and _has_class(import_module(str(module)), name)


def _has_class(module: ModuleType, name: str) -> bool:
    return isinstance(getattr(module, name, None), type)
