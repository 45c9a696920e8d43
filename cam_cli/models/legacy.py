"""Translate model descriptions that Keras 2 wrote into the form that Keras 3 reads."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py

_ENDS = ("input_layers", "output_layers")
_KERNEL = {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}
_NO_LONGER_TAKEN = {
    "DepthwiseConv2D": {"groups"},
    "Conv2DTranspose": {"groups"},
    "SeparableConv2D": {"groups", *_KERNEL},
}
"""Arguments that Keras 2 wrote, that have no effect on these layers, and that Keras 3 refuses."""


@contextmanager
def readable_by_keras_3(path: Path) -> Iterator[Path]:
    """Yield the path of an HDF5 model that Keras 3 can read: a translated copy, if Keras 2 wrote the model."""
    with h5py.File(path) as file:
        written = json.loads(file.attrs["model_config"])
        version = file.attrs.get("keras_version", "2")
        version = version.decode() if isinstance(version, bytes) else version
    translated = written if version.startswith("3") else modernise(written)
    if translated == written:
        yield path
        return
    with TemporaryDirectory(prefix="smoothcam-") as folder:
        copy = Path(folder, "model.h5")
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(translated)
        yield copy


def modernise(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a Keras 2 layer or model, `{"class_name", "config", ...}`, in the form of Keras 3."""
    kind, config = entry["class_name"], entry["config"]
    if isinstance(config, list):
        config = {"name": "sequential", "layers": config}
    refused = _NO_LONGER_TAKEN.get(kind, set()) | {"rng_type"}
    config = {key: value for key, value in config.items() if key not in refused}
    if isinstance(policy := config.get("dtype"), dict) and policy.get("class_name") == "Policy":
        config["dtype"] = policy["config"]["name"]
    if kind == "BatchNormalization" and isinstance(axis := config.get("axis"), list) and len(axis) == 1:
        config["axis"] = axis[0]
    if isinstance(inner := config.get("layer"), dict):
        config["layer"] = modernise(inner)
    if kind not in ("InputLayer", "Sequential", "Functional", "Model"):
        config.pop("batch_input_shape", None)
    if isinstance(layers := config.get("layers"), list):
        config["layers"] = [*_input_of(kind, layers), *map(modernise, layers)]
        config = _without_slashes(config)
        config |= {key: ends[0] for key in _ENDS if isinstance(ends := config.get(key), list) and len(ends) == 1}
    return {**entry, "config": config}


def _without_slashes(config: dict[str, Any]) -> dict[str, Any]:
    """Return a model's config with `/` in the names of layers replaced by `_`, in all references too."""
    names = {layer["config"]["name"] for layer in config["layers"]}
    renamed = {name: name.replace("/", "_") for name in names if "/" in name}
    if len(names | set(renamed.values())) != len(names) + len(renamed):
        return config

    def follow(value: Any) -> Any:
        if isinstance(value, str):
            return renamed.get(value, value)
        if isinstance(value, list):
            return [follow(item) for item in value]
        return {key: follow(item) for key, item in value.items()} if isinstance(value, dict) else value

    layers = [
        {
            **layer,
            **{key: follow(layer[key]) for key in ("name", "inbound_nodes") if key in layer},
            "config": {**layer["config"], "name": follow(layer["config"]["name"])},
        }
        for layer in config["layers"]
    ]
    ends = {key: follow(config[key]) for key in _ENDS if key in config}
    return {**config, **ends, "layers": layers}


def _input_of(kind: str, layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the input layer that a Sequential model declares by its first layer's `batch_input_shape`."""
    first = layers[0] if layers else {}
    config = first.get("config", {})
    if kind != "Sequential" or first.get("class_name") == "InputLayer" or "batch_input_shape" not in config:
        return []
    name = f"{config['name']}_input"
    shape = {"batch_input_shape": config["batch_input_shape"], "dtype": "float32", "name": name}
    return [{"class_name": "InputLayer", "config": shape}]
