"""The bundled models and networks of keras.applications, exported and read again: their maps are those of the Keras path."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from frozen_files import KINDS, largest_difference, opened, with_random_weights, written

from cam_cli.frozen_graphs.description import Kind
from cam_cli.graph.layers import choose_layer, describe_layers
from cam_cli.graph.trace import trace
from cam_cli.model_files.open import open_model
from cam_cli.models.bundled import bundled_models

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]

NETWORKS = {
    "efficientnet-lite0": ("block5c_add", "top_activation"),
    "vgg16-lite": ("block3_conv3", "block5_conv3"),
    "MobileNetV2": ("block_6_expand_relu", "out_relu"),
    "ResNet50V2": ("conv3_block4_out", "post_relu"),
    "EfficientNetB0": ("block4a_expand_activation", "top_activation"),
    "ConvNeXtTiny": ("convnext_tiny_stage_2_block_0_gelu", "convnext_tiny_stage_3_block_2_layer_scale"),
}
"""Two layers of each. ConvNeXt has layers of Keras's own whose parts are operations."""


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    name = request.param
    if name in bundled_models():
        return name, open_model(bundled_models()[name])
    make = getattr(keras.applications, name)
    return name, with_random_weights(make(weights=None, input_shape=(96, 96, 3), classes=10))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_a_network_that_was_exported_are_those_of_the_keras_path(
    kind: Kind, network: tuple[str, keras.Model], tmp_path: Path
) -> None:
    name, model = network
    graph = opened(written(model, kind, tmp_path), kind)
    shape = model.input_shape[1:]
    images = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    known = {info.path: info.grid for info in describe_layers(trace(graph, shape))}
    layers = [layer for layer in NETWORKS[name] if layer in known]
    assert layers
    assert largest_difference(model, graph, images, layers, ("smoothgradcam++", "gradcam", "layercam")) < 1e-5
    if name != "ConvNeXtTiny":
        infos = describe_layers(trace(graph, shape))
        assert choose_layer(infos).path == choose_layer(describe_layers(trace(model, shape))).path
