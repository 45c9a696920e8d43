"""Layers of one's own, and of other packages, from installed modules that the user names."""

from collections.abc import Iterable
from importlib import import_module

import keras

from cam_cli.errors import UsageError
from cam_cli.text import reason_of


def import_layers(modules: Iterable[str]) -> None:
    """Import modules, and let model files have the layers that are defined in them, or in the package that they are.

    What a module registers with Keras itself may be used too. Importing a module runs its code.

    Raises:
        UsageError: a module cannot be imported.
    """
    for name in modules:
        try:
            module = import_module(name)
        except Exception as error:
            raise UsageError(f"cannot import {name!r} ({reason_of(error)}); install it, or correct --import") from error
        for value in vars(module).values():
            is_layer = isinstance(value, type) and issubclass(value, keras.Layer) and _is_in(name, value.__module__)
            if is_layer and not hasattr(keras.layers, value.__name__):
                keras.saving.get_custom_objects().setdefault(value.__name__, value)


def _is_in(name: str, module: str) -> bool:
    return module == name or module.startswith(f"{name}.")
