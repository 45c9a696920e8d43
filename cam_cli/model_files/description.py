"""The description (`config.json`) of a network in a model file: read with a size limit, and checked against an allow list.

Keras builds whatever a description names, and its safe mode refuses what is known to do harm. Here only the parts of a network
may be named. (Keras 3.15.1 in safe mode lets a Lambda layer call any function of Keras, also one that writes files.)

What is for training alone (losses, metrics, optimisers, schedules, regularisers) is left out: it is not built, so it is not
judged.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import keras

from cam_cli.errors import ModelError
from cam_cli.model_files.formats import Format
from cam_cli.model_files.legacy import modernise, operations_of
from cam_cli.model_files.legacy_operations import refused_operations

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
_EXPORT = "build the network with layers of Keras instead, load its weights, and save it again"
_LOOK_UPS = {"get", "serialize", "deserialize"}
_OBJECTS = {"__tensor__", "__numpy__", "__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__", "__typespec__"}


_FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")
"""Endings of the arguments of a layer that do not matter once it has its weights."""


@dataclass(frozen=True)
class Description:
    """What is built from a model file.

    network: a JSON value, as Keras 3 reads it. keras_2: the file was written by Keras 2, and the network is a translation.
    changed: the network is not what Keras 3 would find in the file, apart from settings of the whole model's training.
    """

    network: Any
    keras_2: bool
    changed: bool


def read_description(path: Path, kind: Format) -> Description:
    """Read the description of a network, and leave out what is for training alone.

    Raises:
        ValueError: it is not JSON, too large or too deep. KeyError: there is none. OSError, BadZipFile: the file cannot be
            read. ModelError: Keras 2 wrote it, and something in it has no counterpart in Keras 3; the message lacks the path.
    """
    text, version = _h5_texts(path) if kind.suffix == ".h5" else _keras_texts(path)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        written = json.loads(text)
        if version.startswith(("0.", "1.")):
            raise ModelError("was written by Keras 1; open it with Keras 2.2 and save it again")
        keras_2 = not version.startswith("3")
        if keras_2 and (refused := ", ".join(refused_operations(operations_of(written)))):
            raise ModelError(
                f"calls {refused}, which is not among the operations of TensorFlow that are rebuilt; {_EXPORT}"
            )
        if isinstance(written, dict):
            written.pop("compile_config", None)
        network = _without_training(modernise(written) if keras_2 else written)
        return Description(network, keras_2, network != written)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"it is no network: {error}") from error


def _h5_texts(path: Path) -> tuple[str | bytes, str]:
    """Return the description in an `.h5` file, and the version of Keras that wrote it."""
    with h5py.File(path) as file:
        version = file.attrs.get("keras_version", "2")
        return file.attrs["model_config"], version.decode() if isinstance(version, bytes) else str(version)


def _keras_texts(path: Path) -> tuple[bytes, str]:
    """Return the description in a `.keras` file or folder, and the version of Keras that wrote it."""
    texts = {}
    if path.is_dir():
        for name in ("config.json", "metadata.json"):
            if name == "config.json" or (path / name).is_file():
                with (path / name).open("rb") as stream:
                    texts[name] = stream.read(MOST_BYTES + 1)
    else:
        with zipfile.ZipFile(path) as archive:
            for name in ("config.json", "metadata.json"):
                if name == "config.json" or name in archive.namelist():
                    with archive.open(name) as member:
                        texts[name] = member.read(MOST_BYTES + 1)
    metadata = json.loads(texts.get("metadata.json", b"{}"))
    return texts["config.json"], str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"


def _without_training(value: Any) -> Any:
    """Return a description without settings of training, and without initialisers and the like that are not of Keras."""
    if isinstance(value, list):
        return [_without_training(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" in value and "config" in value:
        value = {key: item for key, item in value.items() if key != "compile_config"}
        config = value["config"]
        if isinstance(config, dict) and str(value.get("module", "keras")).startswith("keras"):
            value["config"] = {key: item for key, item in config.items() if not _is_own_for_training(key, item)}
    return {key: _without_training(item) for key, item in value.items()}


def _is_own_for_training(key: str, item: Any) -> bool:
    return key.endswith(_FOR_TRAINING) and isinstance(item, dict) and "class_name" in item and bool(strangers(item))


def code_runners(description: Any) -> list[str]:
    """Return the names of layers that would run code from the file."""
    return sorted({name for entry, _ in _entries(description) for name in _names(entry) if name in RUN_CODE})


def strangers(description: Any) -> list[str]:
    """Return the names that are neither parts of a network in Keras nor registered with it."""
    return sorted({_names(entry)[0] for entry in strange_entries(description)})


def strange_entries(description: Any) -> list[dict[str, Any]]:
    """Return the descriptions of the objects that are neither parts of a network in Keras nor registered with it."""
    return [entry for entry, layer in _entries(description) if not _is_known(entry, layer=layer)]


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
