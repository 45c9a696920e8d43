"""Lambda layers of Keras 2: their code finds the names that it found in Keras 2."""

from types import FunctionType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.utils import python_utils

_FUNCTIONS = ("function", "_output_shape", "mask")


class LegacyLambda(keras.layers.Lambda):
    """A Lambda layer whose code in the file may use `K`, `tf`, `np`, `keras` and `layers`."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None, safe_mode: bool | None = None) -> Any:
        """Return the layer; raises ValueError in safe mode."""
        layer = super().from_config(config, custom_objects=custom_objects, safe_mode=safe_mode)
        for attribute in _FUNCTIONS:
            function = getattr(layer, attribute)
            if isinstance(function, FunctionType) and function.__globals__ is vars(python_utils):
                setattr(layer, attribute, _with_names(function))
        return layer


def _with_names(function: FunctionType) -> FunctionType:
    """Return a function that was read from bytecode with the names that its module had."""
    backend = tf.keras.backend
    names = {"K": backend, "backend": backend, "tf": tf, "np": np, "keras": tf.keras, "layers": tf.keras.layers}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
