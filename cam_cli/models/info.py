"""A model's layers as a person wants to see them before choosing one."""

from __future__ import annotations

from dataclasses import dataclass

from cam_cli.models.calls import trace
from cam_cli.models.layers import LayerInfo, choose_layer, describe_layers
from cam_cli.models.load import Overrides, load_network


@dataclass(frozen=True)
class Survey:
    """The layers of a model in the order they run, the path of the one that `auto` takes, and what to tell a person."""

    layers: tuple[LayerInfo, ...]
    auto: str
    remarks: tuple[str, ...]


def survey(model: str | None, overrides: Overrides) -> Survey:
    """Load a model and look at its layers; raises what `load_network` and `choose_layer` raise."""
    network = load_network(model, overrides=overrides)
    layers = describe_layers(trace(network.model, network.input_shape), network.tokens)
    return Survey(layers, network.default_layer or choose_layer(layers).path, network.remarks)
