"""Mistakes in a run's settings that are found before TensorFlow is loaded, which takes many seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from cam_cli.config import RunConfig
from cam_cli.engine.selection import Selection
from cam_cli.errors import UsageError
from cam_cli.graph.layer_names import find_layer
from cam_cli.models.keras_file import layer_names
from cam_cli.plan.cache import NO_CACHE, Cache, cache_folder
from cam_cli.plan.plan import PlanInputs, targets_for
from cam_cli.text import shown

_NAME = "layers"


@dataclass(frozen=True)
class ModelFacts:
    """What was found out about a model when it was loaded before.

    classes: how many it has. layers: all of them by path, with the grid (h, w, K) of those whose feature maps have one.
    """

    classes: int
    layers: Mapping[str, tuple[int, int, int] | None]

    def keep(self, cache: Cache) -> None:
        """Keep them for the next start; the cache is that of the network."""
        cache.save(_NAME, json.dumps({"classes": self.classes, "layers": dict(self.layers)}).encode())

    @classmethod
    def kept(cls, cache: Cache) -> ModelFacts | None:
        """Return what was kept, or None."""
        if (data := cache.load(_NAME)) is not None:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                found = json.loads(data)
                return cls(found["classes"], {path: grid and tuple(grid) for path, grid in found["layers"].items()})
        return None


def caches_of(inputs: PlanInputs) -> tuple[Cache, Cache]:
    """Return the cache of plans that these inputs lead to, and that of the graphs of their network."""
    folder = cache_folder(os.environ) if inputs.config.cache else None
    return (Cache(folder, inputs.key), Cache(folder, inputs.network_key)) if folder else (NO_CACHE, NO_CACHE)


def check_early(inputs: PlanInputs) -> None:
    """Raise UsageError for a module, file, layer, filter, neuron or class that can be told not to be there."""
    config = inputs.config
    check_modules(config.imports)
    if config.targets_from is not None and not config.targets_from.exists():
        raise UsageError(f"targets_from is {shown(config.targets_from)}: no such file; correct the path")
    facts = ModelFacts.kept(caches_of(inputs)[1])
    _check_layers(config, facts, inputs)
    labels = inputs.source.labels
    classes = facts.classes if facts else 0
    if labels is not None and not inputs.source.labels_beside:
        classes = classes or len(inputs.labels(0).entries)
    if classes:
        targets_for(inputs, inputs.labels(classes), classes)


def check_modules(names: Iterable[str]) -> None:
    """Raise UsageError for a module whose package is not installed; nothing is imported."""
    for name in names:
        if find_spec(name.partition(".")[0]) is None:
            raise UsageError(f"cannot import {name!r} (no such module is installed); install it, or correct --import")


def _check_layers(config: RunConfig, facts: ModelFacts | None, inputs: PlanInputs) -> None:
    path = inputs.source.path
    known = facts.layers if facts else layer_names(path) if path is not None else None
    selection = None if isinstance(config.subset, str) else Selection(config.filters, config.region, config.subset)
    for name in config.layers if known else ():
        if name != "auto":
            found = find_layer(known or (), name)
            grid = facts.layers[found] if facts else None
            if grid and selection:
                selection.checked(found, grid)
