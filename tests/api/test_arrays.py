"""The Python calls: the paper's own, word for word, and `explain`."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import cam_cli
from cam_cli import Noise, Request, Selection, explain, grad_cam_plus_smooth, load_network
from cam_cli.errors import UsageError
from cam_cli.images.decode import decode
from cam_cli.images.fit import fit

SIZE = (28, 20)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((*SIZE, 3)),
            keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="first"),
            keras.layers.MaxPooling2D(2, name="pool"),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="second"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(4, activation="softmax", name="head"),
        ]
    )


@pytest.fixture(scope="module")
def img() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*SIZE, 3)).astype(np.float32)


def test_the_papers_call_works_word_for_word() -> None:
    network = load_network("vgg16-lite")
    model = network.model
    photo = decode((Path(__file__).parent.parent.parent / "sample_images" / "panda.jpg").read_bytes())
    img = fit(photo, (224, 224), network.preprocessing)[0][None]
    grads = grad_cam_plus_smooth(model, img, layer_name='block5_conv3', nsamples=5, std_dev=0.3,
                                 filters=[0], region=True, subset=[(0, 10), (12, 12)])  # fmt: skip
    assert grads.shape == (224, 224)
    assert grads.dtype == np.float32
    assert grads.min() >= 0
    assert grads.max() == 1
    outside = np.ones((224, 224), bool)
    outside[: 14 * 16, 9 * 16 : 14 * 16] = False
    assert not grads[outside].any()
    assert grads[: 13 * 16, 10 * 16 : 13 * 16].any()


def test_the_papers_defaults_are_grad_cam_plus_plus(model: keras.Model, img: np.ndarray) -> None:
    ours = grad_cam_plus_smooth(model, img, "second")
    raw = explain(model, img[None], ["second"], request=Request(methods=("gradcam++",)))[0].maps[0].values
    enlarged = np.asarray(Image.fromarray(raw).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours, enlarged / enlarged.max(), atol=1e-5)


def test_sigma_is_a_share_of_the_value_range(model: keras.Model, img: np.ndarray) -> None:
    wide = np.float32(2.0) * img
    spread = float(wide.max() - wide.min())
    absolute = Request(nsamples=4, noise=Noise(0.15 * spread, "absolute"))
    a = explain(model, wide[None], ["first"], request=absolute)[0].maps[0].values
    b = explain(model, wide[None], ["first"], request=Request(nsamples=4))[0].maps[0].values
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * a.max())
    other = explain(model, wide[None], ["first"], request=Request(nsamples=4, noise=Noise(0.3)))[0].maps[0].values
    assert not np.allclose(b, other, rtol=1e-2)


def test_a_blank_map_is_all_zero_and_warned_of(model: keras.Model, img: np.ndarray) -> None:
    off = keras.models.clone_model(model)
    off.get_layer("head").kernel.assign(np.zeros(off.get_layer("head").kernel.shape))
    with pytest.warns(RuntimeWarning, match="the map is blank"):
        assert not grad_cam_plus_smooth(off, img, "second").any()


def test_more_images_than_a_pass_holds(model: keras.Model) -> None:
    images = np.random.default_rng(5).uniform(-1, 1, (11, *SIZE, 3)).astype(np.float32)
    together = explain(model, images, ["second"], targets=[1, -1], request=Request(nsamples=0))
    assert len(together) == 11
    for number in (0, 5, 10):  # the first and the last of a pass, and the last of one that is not full
        x, found = images[number], together[number]
        alone = explain(model, x[None], ["second"], targets=[1, -1], request=Request(nsamples=0))[0]
        assert [m.target for m in alone.maps] == [m.target for m in found.maps]
        for a, b in zip(alone.maps, found.maps, strict=True):
            np.testing.assert_allclose(a.values, b.values, rtol=1e-5, atol=1e-7)


def test_filters_partition_and_disjoint_neurons_add_up(model: keras.Model, img: np.ndarray) -> None:
    """Holds before the ReLU, so it is checked where the score's weights leave nothing negative."""
    parts = (Selection(), Selection(filters=(0, 1, 2)), Selection(filters=(3, 4, 5, 6, 7)))
    halves = (Selection(region=True, subset=((0, 0), (13, 4))), Selection(region=True, subset=((0, 5), (13, 9))))
    found = explain(model, img[None], ["second"], request=Request(selections=(*parts, *halves), nsamples=3))[0]
    whole, *rest = (m.values for m in found.maps)
    for pair in (rest[:2], rest[2:]):
        np.testing.assert_allclose(pair[0] + pair[1], whole, rtol=1e-5, atol=1e-6 * whole.max())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, x: explain(m, x, ["second"]), r"images must have shape \(N, H, W, C\)"),
        (lambda m, x: explain(m, x[None], ["secnd"]), "no layer 'secnd' in this model; near it: 'second'"),
        (lambda m, x: grad_cam_plus_smooth(m, x[0], "second"), "img must be one image"),
        (lambda m, x: grad_cam_plus_smooth(m, x, "second", region=True), "exactly two coordinates"),
        (lambda m, x: grad_cam_plus_smooth(m, x, "second", filters=[8]), "filter 8 is past the end"),
        (lambda m, x: explain(m, x[None], ["second"], targets=[4]), "class 4 does not exist"),
    ],
)
def test_what_cannot_be_is_said(model: keras.Model, img: np.ndarray, call: object, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        call(model, img)


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cam_cli.nothing
    assert all(getattr(cam_cli, name) is not None for name in cam_cli.__all__)
