"""What `--best` takes for a network: the method that localised best on real images, as far as the network allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.layers import LayerInfo, choose_scales
from cam_cli.models.inputs import traced_at_sizes
from cam_cli.models.load import Network

FACTORS = (1, 10 / 7, 2)
"""The input sizes, as multiples of the network's own: 224, 320 and 448 for one of 224."""


def best_settings(config: RunConfig, network: Network, infos: Sequence[LayerInfo]) -> tuple[RunConfig, list[str]]:
    """Return the settings with the method and the sizes that are taken, and what the user is told.

    It is `twoscale` over three input sizes; over the model's own where it takes no other; Grad-CAM where a network has
    activations on one grid only.

    Args:
        config: settings with `best`.
        network: the network.
        infos: its layers.
    """
    try:
        scales = choose_scales(infos)
    except ModelError:
        scales = None
    if scales is None:
        chosen: dict[str, Any] = {"methods": ("gradcam",)}
        return _with(config, chosen), ["best: taking gradcam, as the network has activations on one grid only"]
    rows, columns, channels = network.input_shape
    sizes = tuple((round(rows * factor), round(columns * factor)) for factor in FACTORS)
    try:
        traced_at_sizes(network.model, sizes, channels)
    except UsageError:
        told = "best: taking twoscale at the model's own size, the only one it takes"
        return _with(config, {"methods": ("twoscale",)}), [told]
    listed = ", ".join(f"{r}x{c}" if r != c else str(r) for r, c in sizes)
    return _with(config, {"methods": ("twoscale",), "sizes": sizes}), [f"best: taking twoscale over inputs of {listed}"]


def _with(config: RunConfig, chosen: Mapping[str, Any]) -> RunConfig:
    return config.model_copy(update={**chosen, "best": False})
