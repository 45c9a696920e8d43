"""Maps compared with xplique's, the maintained TensorFlow library, where both compute the same thing.

Its Grad-CAM is ours, enlarged bicubically at once. Its Grad-CAM++ takes the mean of A in alpha where the paper's
Eq. 19 (arXiv 1710.11063) has the sum; the tests show that this one word is the whole difference.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from oracle import SmallNetwork

import cam_cli
from cam_cli.engine import formulas
from cam_cli.engine.request import Explanation, Request
from cam_cli.images.decode import decode
from cam_cli.images.fit import fit
from cam_cli.models.load import load_network

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    attributions = pytest.importorskip("xplique.attributions")
    import keras

Array = NDArray[Any]
ROOT = Path(__file__).parent.parent.parent
SHAPE = (12, 10, 3)
CLASSES = 5
IMAGES = ("german_shepherd.jpg", "hens.jpg")
BOTH = Request(methods=("gradcam", "gradcam++"), nsamples=0)


@cache
def small() -> tuple[SmallNetwork, Any]:
    """A ReLU net whose weights the oracle shares; nothing is negative at either layer."""
    network = SmallNetwork.random(7, SHAPE, classes=CLASSES)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="conv1")(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv3")(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x)))
    model.set_weights([w.astype(np.float32) for w in network.weights()])
    return network, model


@cache
def lite() -> tuple[Any, Any, Array]:
    """EfficientNet-Lite0, its twin that ends in logits as xplique asks for, and the images as it takes them."""
    loaded = load_network("efficientnet-lite0")
    images = [
        fit(decode((ROOT / "sample_images" / name).read_bytes()), loaded.input_shape[:2], loaded.preprocessing)[0]
        for name in IMAGES
    ]
    twin = keras.models.clone_model(loaded.model)
    twin.set_weights(loaded.model.get_weights())
    twin.layers[-1].activation = keras.activations.linear
    return loaded.model, twin, np.stack(images)


@cache
def explained() -> list[Explanation]:
    """Our maps of these images, of both methods."""
    model, _, images = lite()
    return cam_cli.explain(model, images, ["top_activation"], (-1,), BOTH)


def theirs(method: str, model: Any, layer: str, images: Array, targets: list[int]) -> Array:
    """xplique's maps, (N, H, W): at the image's size, as it enlarges them itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = getattr(attributions, method)(model, conv_layer=layer)
        one_hot = tf.one_hot(targets, model.output_shape[-1])
        return np.asarray(explainer(tf.constant(images), one_hot))[..., 0]


def theirs_for_all(method: str, model: Any, layer: str, images: Array) -> Array:
    """xplique's maps for every image and class, (N, classes, H, W)."""
    targets = [target for _ in images for target in range(CLASSES)]
    flat = theirs(method, model, layer, np.repeat(images, CLASSES, axis=0), targets)
    return flat.reshape(len(images), CLASSES, *flat.shape[1:])


def enlarged(values: Array, size: tuple[int, int]) -> Array:
    return np.asarray(tf.image.resize(values[..., None], size, method="bicubic"))[..., 0]


def deviation(a: Array, b: Array) -> float:
    assert np.abs(b).max() > 0
    return float(np.abs(a - b).max() / np.abs(b).max())


def grad_cam_pp(gradients: Array, A: Array, area: Any) -> Array:
    """Our formulas, fed with activations whose sum is `area(A)`; (h, w, K) in, (h, w) out."""
    g = gradients.reshape(-1, gradients.shape[-1])
    w = formulas.channel_weights(g, g**2, g**3, area(A, axis=(0, 1)), "second")
    return np.maximum(A @ w, 0)


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_grad_cam_is_theirs_on_a_small_net(layer: str) -> None:
    _, model = small()
    images = np.random.default_rng(1).uniform(-1, 1, (3, *SHAPE)).astype(np.float32)
    ours = cam_cli.explain(model, images, [layer], range(CLASSES), BOTH)
    for found, peer in zip(ours, theirs_for_all("GradCAM", model, layer, images), strict=True):
        maps = [m for m in found.maps if m.method == "gradcam"]
        for map_, their in zip(maps, peer, strict=True):
            if map_.values.max() > 0:
                assert deviation(enlarged(map_.values, SHAPE[:2]), their) < 1e-5
            else:
                assert not their.any()


@pytest.mark.long
def test_grad_cam_is_theirs_on_images() -> None:
    _, twin, images = lite()
    ours = explained()
    targets = [found.targets[0] for found in ours]
    peer = theirs("GradCAM", twin, "top_activation", images, targets)
    assert len(set(targets)) == len(IMAGES)
    for found, map_ in zip(ours, peer, strict=True):
        assert deviation(enlarged(found.maps[0].values, images.shape[1:3]), map_) < 1e-4


def test_their_grad_cam_pp_is_ours_with_the_mean_of_the_activations() -> None:
    """Also up to 1/(h w), because they take the mean of alpha * ReLU(g) too, and without our guard, idle here."""
    network, model = small()
    images = np.random.default_rng(1).uniform(-1, 1, (3, *SHAPE)).astype(np.float32)
    ours = cam_cli.explain(model, images, ["conv2"], range(CLASSES), BOTH)
    peer = theirs_for_all("GradCAMPP", model, "conv2", images)
    compared, apart = 0, 0.0
    for x, found, their_maps in zip(images.astype(np.float64), ours, peer, strict=True):
        A = network.activations(x)["conv2"]
        for map_, their in zip([m for m in found.maps if m.method == "gradcam++"], their_maps, strict=True):
            truth = oracle.grad_cam_pp(network, "conv2", x, map_.target).map
            if truth.max() == 0:
                continue
            # Cells with g <= 0 weigh nothing in either.
            g = np.maximum(network.gradient("conv2", A, map_.target), 0).astype(np.float32)
            with_sum, with_mean = (grad_cam_pp(g, A.astype(np.float32), area) for area in (np.sum, np.mean))
            assert deviation(with_sum, truth) < 1e-5
            assert deviation(map_.values, truth) < 1e-5
            assert deviation(their * A[..., 0].size, enlarged(with_mean, SHAPE[:2])) < 1e-4
            apart = max(apart, deviation(with_mean / with_mean.max(), with_sum / with_sum.max()))
            compared += 1
    assert compared >= 10
    assert apart > 1e-3


def test_their_grad_cam_pp_on_images_is_ours_with_the_mean() -> None:
    _, twin, images = lite()
    ours = explained()
    targets = [found.targets[0] for found in ours]
    peer = theirs("GradCAMPP", twin, "top_activation", images, targets)
    bottom = keras.Model(twin.inputs[0], twin.get_layer("top_activation").output)
    kernel = np.asarray(twin.layers[-1].kernel)
    for found, map_, A, target in zip(ours, peer, np.asarray(bottom(images)), targets, strict=True):
        cells = A[..., 0].size
        g = np.broadcast_to(np.maximum(kernel[:, target], 0) / cells, A.shape).astype(np.float32)
        assert deviation(grad_cam_pp(g, A, np.sum), found.maps[1].values) < 1e-4
        assert deviation(map_ * cells, enlarged(grad_cam_pp(g, A, np.mean), images.shape[1:3])) < 1e-4
