"""Watch what a model's layers return while it is traced, however deep they are nested; the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cam_cli.errors import ModelError
from cam_cli.quiet import native_chatter_silenced


def walk(model: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield every layer below `model` with its path, outer names first, such as `backbone/Conv_1`."""
    for layer in model._flatten_layers(include_self=False, recursive=False):
        path = f"{prefix}{layer.name}"
        yield path, layer
        yield from walk(layer, f"{path}/")


@contextmanager
def watching(layers: Mapping[str, keras.Layer]) -> Iterator[dict[str, list[Any]]]:
    """Record, in the order of the calls, the output of each call of `layers` for as long as the context lasts.

    Yields:
        For each key of `layers`, the list of its outputs so far; a key without a call has an empty list.
    """
    seen: dict[str, list[Any]] = {path: [] for path in layers}
    with ExitStack() as restore:
        for path, layer in layers.items():
            restore.callback(_intercept(layer, seen[path].append))
        yield seen


def _intercept(layer: keras.Layer, record: Callable[[Any], None]) -> Callable[[], None]:
    own = layer.__dict__.get("call")
    call = layer.call

    def recorded(*args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        record(output)
        return output

    object.__setattr__(layer, "call", recorded)

    def restore() -> None:
        if own is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", own)

    return restore


def run_model(model: keras.Model, x: tf.Tensor) -> Any:
    """Call the model for inference in whatever form (tensor, list, dict) it wants its one input.

    Raises:
        ModelError: the model has several inputs.
    """
    structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        return model(x, training=False)
    count = len(tf.nest.flatten(structure))
    if count != 1:
        raise ModelError(f"the model has {count} inputs; smoothcam explains classifiers of one image")
    return model(tf.nest.pack_sequence_as(structure, [x]), training=False)


def is_map(output: Any) -> bool:
    """Say whether a layer's output is a stack of feature maps: one float tensor (batch, h, w, channels)."""
    return isinstance(output, tf.Tensor) and output.shape.rank == 4 and output.dtype.is_floating


@dataclass(frozen=True)
class Trace:
    """One symbolic run of a model for one image.

    layers: every layer by path. output: the model's output. calls: for each path the outputs of its calls in order, none for a
    layer that does not run.
    """

    input_shape: tuple[int, int, int]
    layers: dict[str, keras.Layer]
    output: Any
    calls: dict[str, list[Any]]


def trace(model: keras.Model, input_shape: tuple[int, int, int]) -> Trace:
    """Trace the model once, without running it.

    Args:
        input_shape: (H, W, C).

    Raises:
        ModelError: the model does not take an image of this shape.
    """
    layers = dict(walk(model))
    found: list[Trace] = []

    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> Any:
        with watching(layers) as seen:
            output = run_model(model, x)
        found.append(Trace(input_shape, layers, output, seen))
        return output

    try:
        with native_chatter_silenced():
            run.get_concrete_function(tf.TensorSpec((1, *input_shape), tf.float32))
    except ModelError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"the model does not take an image of shape {input_shape}: {first}") from error
    return found[-1]
