"""Translate descriptions of networks that Keras 2 wrote into those that Keras 3 reads."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import keras

from cam_cli.model_files.legacy_layers import as_of_applications, modern_arguments, modern_class, modern_initialiser
from cam_cli.model_files.legacy_nodes import OPERATIONS, modern_graph

OPERATION = {
    "module": "cam_cli.model_files.legacy_operations",
    "class_name": "TensorFlowOperation",
    "registered_name": "smoothcam>TensorFlowOperation",
}
MODELS = {"Functional", "Sequential"}
_PARTS = ("initializers", "regularizers", "constraints")
_DEFAULTS_WILL_DO = ("_initializer", "_regularizer", "_constraint")


def modernise(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a Keras 2 layer or model, `{"class_name", "config", ...}`, in the form of Keras 3.

    The layers stay in their order, and their names are the same, except that `/` becomes `_`.

    Raises:
        ModelError: something in it has no counterpart in Keras 3.
        KeyError, TypeError, AttributeError: it is no such description.
    """
    kind, config = entry["class_name"], entry["config"]
    if _is_registered(entry):
        return {**entry, "config": _without_policies(config)}
    if isinstance(config, list):
        config = {"name": "sequential", "layers": config}
    if modern_class(kind) in MODELS and "layers" in config:
        return _written_by_keras_3(entry, modern_class(kind), _modern_model(kind, config))
    if kind in OPERATIONS:
        operation = {key: config[key] for key in ("name", "function", "first", "keywords")}
        return _written_by_keras_3({**entry, **OPERATION}, OPERATION["class_name"], operation)
    if of_applications := as_of_applications(entry):
        kept = _written_by_keras_3(of_applications, of_applications["class_name"], of_applications["config"])
        return {**kept, "config": _without_policies(kept["config"])}
    arguments = _without_policies(modern_arguments(kind, config))
    arguments = {key: _modern_part(key, value) for key, value in arguments.items()}
    if kind == "InputLayer":
        arguments["batch_shape"] = arguments.pop("batch_input_shape", arguments.get("batch_shape"))
    else:
        arguments.pop("batch_input_shape", None)
    return _written_by_keras_3(entry, modern_class(kind), arguments)


def operations_of(description: Any) -> Iterator[str]:
    """Yield the function of TensorFlow that each operation in a description of Keras 2 names."""
    if isinstance(description, dict):
        if description.get("class_name") in OPERATIONS and isinstance(description.get("config"), dict):
            yield str(description["config"].get("function"))
        description = list(description.values())
    for item in description if isinstance(description, list) else ():
        yield from operations_of(item)


def _modern_model(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key not in ("batch_input_shape", "dtype")}
    if kind == "Sequential":
        config["layers"] = [*_input_of(config["layers"]), *config["layers"]]
    else:
        config |= modern_graph(config)
    config["layers"] = [modernise(layer) for layer in config["layers"]]
    return _without_slashes(config)


def _is_registered(entry: dict[str, Any]) -> bool:
    """Return True for a layer of the user's own, which takes what it wrote itself."""
    names = (entry.get("registered_name"), entry["class_name"])
    return any(name and keras.saving.get_registered_object(str(name)) for name in names)


def _written_by_keras_3(entry: dict[str, Any], name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the module in which Keras 3 has the class; without it, if it has no such class."""
    kept = {key: value for key, value in entry.items() if key in ("name", "inbound_nodes")}
    module = _module_of(name)
    found = {"module": module, "registered_name": "Lambda" if name == "Lambda" else None} if module else {}
    if not module and "module" in entry:
        found = {key: entry[key] for key in ("module", "registered_name") if key in entry}
    return {**found, "class_name": name, "config": config, **kept}


@cache
def _module_of(name: str) -> str | None:
    if name == "Functional":
        return "keras.src.models.functional"
    if name == "Sequential":
        return "keras"
    modules = ("layers", *_PARTS)
    return next(
        (f"keras.{module}" for module in modules if isinstance(getattr(getattr(keras, module), name, None), type)), None
    )


def _modern_part(key: str, value: Any) -> Any:
    """Return an argument of a layer in which layers, initialisers and the like are in the form of Keras 3.

    An initialiser, regulariser or constraint of another package is left out: the weights come from the file.
    """
    if isinstance(value, list):
        return [_modern_part(key, item) for item in value]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    name, config = value["class_name"], value.get("config")
    if key.endswith(_DEFAULTS_WILL_DO):
        module = next((part for part in _PARTS if hasattr(getattr(keras, part), str(name))), None)
        if module is None or not isinstance(config, dict):
            return None
        return _written_by_keras_3(value, name, modern_initialiser(config))
    if isinstance(config, dict) and not str(name).startswith("__") and name != "function":
        return modernise(value)
    return value


def _without_policies(config: Any) -> Any:
    """Return arguments with `dtype` as a name, not as the object of a policy of Keras 2."""
    policy = config.get("dtype") if isinstance(config, dict) else None
    if isinstance(policy, dict) and str(policy.get("class_name")).startswith("Policy"):
        return {**config, "dtype": policy["config"]["name"]}
    return config


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
    ends: dict[str, Any] = {key: follow(config[key]) for key in ("input_layers", "output_layers") if key in config}
    return {**config, **ends, "layers": layers}


def _input_of(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the input layer that a Sequential model declares by its first layer's `batch_input_shape`."""
    first = layers[0] if layers else {}
    config = first.get("config", {})
    if first.get("class_name") == "InputLayer" or "batch_input_shape" not in config:
        return []
    name = f"{config['name']}_input"
    shape = {"batch_input_shape": config["batch_input_shape"], "dtype": "float32", "name": name}
    return [{"class_name": "InputLayer", "config": shape}]
