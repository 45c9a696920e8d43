"""What is kept of a model between two calls from Python, so that the second one does not trace it again.

It is forgotten with the model: nothing here refers to it, except weakly. It counts for one set of weights: a model that is
trained on is traced again.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from cam_cli.engine.analysis import ModelAnalysis, analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request
from cam_cli.engine.runner import PassRunner
from cam_cli.errors import ModelError
from cam_cli.graph.layer_names import find_layer
from cam_cli.graph.layers import LayerInfo, choose_layer, choose_scales, describe_layers
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import Trace, trace, walk
from cam_cli.methods import METHODS, families

MOST_PASSES = 4
"""So many compiled passes are kept for a model; each holds a copy of its weights."""

Shape = tuple[int, int, int]


class Passes(OrderedDict[str, PassRunner]):
    """Compiled passes by name; the one that was added first goes when there are more than `MOST_PASSES`."""

    def __setitem__(self, name: str, runner: PassRunner) -> None:
        super().__setitem__(name, runner)
        while len(self) > MOST_PASSES:
            self.popitem(last=False)


@dataclass
class KeptModel:
    """What was found out about a model while it had these weights.

    layers: paths of all of them and descriptions of those that run, by the shape of the input and the tokens. facts: whatever
    else is found out once, by a name for it.
    """

    weights: str
    layers: dict[tuple[Shape, Tokens | None], tuple[tuple[str, ...], tuple[LayerInfo, ...]]] = field(
        default_factory=dict
    )
    analyses: dict[Any, ModelAnalysis] = field(default_factory=dict)
    passes: Passes = field(default_factory=Passes)
    facts: dict[Any, Any] = field(default_factory=dict)


_KEPT: weakref.WeakKeyDictionary[keras.Model, KeptModel] = weakref.WeakKeyDictionary()


def kept_of(model: keras.Model) -> KeptModel:
    """Return what is kept of a model; nothing yet if its weights or its activation functions have changed."""
    weights = _digest(model)
    known = _KEPT.get(model)
    if known is None or known.weights != weights:
        known = _KEPT[model] = KeptModel(weights)
    return known


def explainer_of(
    model: keras.Model,
    shape: Shape,
    layers: tuple[str, ...],
    request: Request,
    targets: int,
    tokens: Tokens | None = None,
    precision: str = "float32",
    kept: KeptModel | None = None,
    against: int = 0,
) -> Explainer:
    """Return an explainer for a model and inputs of this shape, (H, W, C); the model is traced only if it was not before.

    Args:
        layers: paths or unique ends of paths; `auto` takes the one that `choose_layer` finds.
        targets: how many each image has.
        kept: what `kept_of` returned, if it was asked already: it reads all weights.
        against: how many classes each target is explained against, at the most.

    Raises:
        UsageError: no such layer, filter or neuron. ModelError: the model cannot be explained.
    """
    kept = kept or kept_of(model)
    traced: list[Trace] = []

    def trace_once() -> Trace:
        if not traced:
            traced.append(trace(model, shape))
        return traced[0]

    if (shape, tokens) not in kept.layers:
        kept.layers[shape, tokens] = tuple(trace_once().layers), describe_layers(trace_once(), tokens)
    paths, scales = _chosen(*kept.layers[shape, tokens], layers, request)
    key = (shape, tokens, paths, scales)
    if key not in kept.analyses:
        kept.analyses[key] = analyse(trace_once(), paths, scales, tokens)
    analysis = kept.analyses[key]
    return Explainer(
        _opening(model), analysis, request, targets, precision=precision, passes=kept.passes, against=against
    )


def _chosen(
    known: tuple[str, ...], infos: tuple[LayerInfo, ...], layers: tuple[str, ...], request: Request
) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """Return the paths of the layers that are named, and the two of `twoscale` where it is asked for."""
    by_layer = any(METHODS[name].needs_layer for name in request.methods)
    paths = []
    for name in layers:
        try:
            paths.append(find_layer(known, choose_layer(infos).path if name == "auto" else name))
        except ModelError:
            if by_layer:
                raise
    return tuple(dict.fromkeys(paths)), choose_scales(infos) if "two layers" in families(request.methods) else None


def _opening(model: keras.Model) -> Callable[[], keras.Model]:
    """Return a function that gives the model, and does not keep it alive."""
    reference = weakref.ref(model)

    def open_model() -> keras.Model:
        found = reference()
        if found is None:
            raise ModelError("the model is gone; keep a reference to it while it is explained")
        return found

    return open_model


def _digest(model: keras.Model) -> str:
    """Return a sha256 of a model's weights and of the activation functions of its layers, which are often taken away."""
    total = hashlib.sha256()
    for path, layer in walk(model):
        total.update(f"{path}\n{id(getattr(layer, 'activation', None))}\n".encode())
    for weight in model.weights:
        values = np.ascontiguousarray(weight.numpy())
        total.update(f"{values.dtype}{values.shape}\n".encode())
        total.update(values.data)
    return total.hexdigest()
