"""A copy of a model whose weights are shuffled layer by layer from the top, as Adebayo et al. 2018 test maps."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cam_cli.errors import ModelError
from cam_cli.graph.trace import run_model, trace, walk
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import reason_of


def randomised(model: keras.Model, input_shape: tuple[int, int, int], seed: int) -> Iterator[tuple[str, keras.Model]]:
    """Yield the path of a layer, and the model with all weights from the score down to it shuffled (section 3.1, cascading).

    Every weight tensor keeps its values in another order, so that signals keep their size and variances stay positive. The
    seed and the layer's path decide the order.

    The model is not changed. It is the same copy each time, with one more layer shuffled; layers without weights are skipped.

    Raises:
        ModelError: the model cannot be copied, or does not take such an image.
    """
    copy = _copied(model, input_shape)
    weights = _owned(dict(walk(copy)), copy)
    for path in layers_with_weights(copy, input_shape):
        digest = hashlib.sha256(f"{seed}\n{path}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        for variable in weights[path]:
            values = np.asarray(variable)
            variable.assign(random.permutation(values.ravel()).reshape(values.shape))
        yield path, copy


def layers_with_weights(model: keras.Model, input_shape: tuple[int, int, int]) -> list[str]:
    """Return the paths of the layers that run and have weights of their own, the last to run first.

    Weights of the model itself, which a subclass may have, come last, under the model's name.
    """
    traced = trace(model, input_shape)
    when = {op.name: number for number, op in enumerate(traced.output.graph.get_operations())}
    ends = {
        path: max(
            (when.get(tensor.op.name, -1) for tensor in tf.nest.flatten(calls) if tf.is_tensor(tensor)), default=-1
        )
        for path, calls in traced.calls.items()
    }
    paths = [path for path in _owned(traced.layers, model) if traced.calls.get(path, [model])]
    return sorted(paths, key=lambda path: ends.get(path, -1), reverse=True)


def _owned(layers: Mapping[str, Any], model: keras.Model) -> dict[str, list[Any]]:
    """Return the weights of each layer itself, without those of inner layers; a shared layer counts where it is met last."""
    owner: dict[int, tuple[str, Any]] = {}
    for path, layer in ((model.name, model), *layers.items()):
        owner.update((id(variable), (path, variable)) for variable in getattr(layer, "weights", ()))
    owned: dict[str, list[Any]] = {}
    for path, variable in owner.values():
        owned.setdefault(path, []).append(variable)
    return owned


def _copied(model: keras.Model, input_shape: tuple[int, int, int]) -> keras.Model:
    by_layers = isinstance(model, keras.Sequential) or getattr(model, "_inputs_struct", None) is not None
    options = {"clone_function": _twin, "recursive": True} if by_layers else {}
    try:
        with native_chatter_silenced():
            copy = keras.models.clone_model(model, **options)
            run_model(copy, tf.zeros((1, *input_shape)))
            copy.set_weights(model.get_weights())
        for (_, own), (_, copied) in zip([*walk(model)], [*walk(copy)], strict=True):
            copied.name = own.name
    except Exception as error:
        raise ModelError(
            f"the model cannot be copied, which randomising its weights needs ({reason_of(error)}); leave the sanity check out"
        ) from error
    return copy


def _twin(layer: Any) -> Any:
    """Return a new layer of the same kind; the code of a Lambda layer is running already, so it may run here too."""
    trusted = {"safe_mode": False} if isinstance(layer, keras.layers.Lambda) else {}
    return type(layer).from_config(layer.get_config(), **trusted)
