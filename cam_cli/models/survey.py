"""A model's layers as a person wants to see them before choosing one."""

from __future__ import annotations

from cam_cli.models.calls import trace
from cam_cli.models.layers import LayerInfo, choose_layer, describe_layers
from cam_cli.models.load import Overrides, load_network


def survey(model: str | None, overrides: Overrides) -> tuple[str, tuple[LayerInfo, ...]]:
    """Return the path of the layer that `auto` takes, and all layers in the order they run."""
    network = load_network(model, overrides=overrides)
    infos = describe_layers(trace(network.model, network.input_shape))
    return network.default_layer or choose_layer(infos).path, infos
