"""`twoscale` over input sizes, against its definition by TensorFlow's own tape and Pillow, and other sizes for all methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from cam_cli.engine.analysis import ModelAnalysis, analyse, analyse_at_sizes
from cam_cli.engine.explain import Explainer
from cam_cli.engine.head import Head
from cam_cli.engine.request import FurtherInput, Request, Subject
from cam_cli.errors import UsageError
from cam_cli.graph.layers import choose_scales, describe_layers
from cam_cli.graph.trace import trace
from cam_cli.methods import drawing_of
from cam_cli.window import WHOLE, Window, part_of

SIZES = (24, 32, 48)
Array = NDArray[Any]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network of two activations on grids of 1/2 and 1/4 of the input's side, made for 24x24."""
    keras.utils.set_random_seed(3)
    x = keras.Input((24, 24, 3))
    fine = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="fine")(
        keras.layers.AveragePooling2D(2)(x)
    )
    pooled = keras.layers.AveragePooling2D(2)(fine)
    coarse = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="coarse")(pooled)
    return keras.Model(x, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(coarse)))


@pytest.fixture(scope="module")
def images() -> list[list[Array]]:
    """Five images, each at all sizes, bilinear from one of 48x48."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(5):
        large = random.random((48, 48, 3)).astype(np.float32)
        found.append([tf.image.resize(large, (side, side)).numpy() for side in SIZES])
    return found


def analysis_of(model: keras.Model, sides: Sequence[int], own: int = 24) -> ModelAnalysis:
    traced = trace(model, (own, own, 3))
    scales = choose_scales(describe_layers(traced))
    assert scales == ("coarse", "fine")
    return analyse_at_sizes(analyse(traced, (), scales), [trace(model, (side, side, 3)) for side in sides])


def definition(model: keras.Model, image: Sequence[Array], target: int) -> Array:
    """The formula as the documents have it: gradients by a tape, layer by layer, enlarging by Pillow."""
    side = max(len(one) for one in image) // 2

    def enlarged(values: Array) -> Array:
        return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))

    C, F = np.zeros((side, side)), np.zeros((side, side))
    for one in image:
        values: Any = tf.constant(one[None])
        held = {}
        with tf.GradientTape(persistent=True) as tape:
            for layer in model.layers[1:]:
                values = layer(values)
                tape.watch(values)
                held[layer.name] = values
            score = values[0, target]
        A, P = held["coarse"], held["fine"]
        dA, dP = tape.gradient(score, A)[0].numpy(), tape.gradient(score, P)[0].numpy()
        C += enlarged(A[0].numpy() @ dA.mean(axis=(0, 1)))
        detail = np.maximum((np.maximum(dP, 0) * P[0].numpy()).sum(axis=-1), 0)
        F += enlarged(detail / detail.max())
    C = np.maximum(C, 0)
    return np.asarray((C / C.max() * np.sqrt(F / F.max())) ** (2 / 3))


@pytest.mark.parametrize("sides", [(24,), (24, 32, 48), (48, 32)])
def test_maps_equal_the_definition_and_do_not_depend_on_their_batch(
    model: keras.Model, images: list[list[Array]], sides: tuple[int, ...]
) -> None:
    analysis = analysis_of(model, sides)
    order = [SIZES.index(side) for side in sides]
    subjects = [
        Subject(image[0], str(n), (1, 3), tuple(FurtherInput(image[i]) for i in order if i))
        for n, image in enumerate(images)
    ]
    request = Request(methods=("twoscale",))
    together = Explainer(model, analysis, request, 2).explain(subjects)
    alone = [Explainer(model, analysis, request, 2, images=1).explain([one])[0] for one in subjects[:2]]
    for image, found in zip(images, together, strict=True):
        for saliency in found.maps:
            truth = definition(model, [image[i] for i in order], saliency.target)
            np.testing.assert_allclose(saliency.values, truth, atol=2e-5)
            assert saliency.sizes == tuple((side, side) for side in sides)
            assert (saliency.layer, saliency.head, saliency.window) == ("coarse+fine", Head.PIECEWISE_LINEAR, WHOLE)
    for one, many in zip(alone, together, strict=False):
        for a, b in zip(one.maps, many.maps, strict=True):
            np.testing.assert_allclose(a.values, b.values, atol=1e-6)


def test_the_class_is_decided_at_the_model_s_own_size(model: keras.Model, images: list[list[Array]]) -> None:
    analysis = analysis_of(model, SIZES)
    own = Explainer(model, replace(analysis, sizes=()), Request(methods=("twoscale",)))
    over = Explainer(model, analysis, Request(methods=("twoscale",)))
    for n, image in enumerate(images[:2]):
        (a,), (b,) = own.explain([Subject(image[0], str(n))]), over.explain([subject(image, n)])
        assert a.targets == b.targets
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-6)
        assert a.maps[0].sizes == ()


def subject(image: Sequence[Array], number: int) -> Subject:
    return Subject(image[0], str(number), (-1,), tuple(map(FurtherInput, image[1:])))


def test_memory_that_runs_out_at_the_largest_size_halves_its_passes_alone(
    model: keras.Model, images: list[list[Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = Explainer(model, analysis_of(model, SIZES), Request(methods=("twoscale",)))
    subjects = [subject(image, n) for n, image in enumerate(images)]
    before = explainer.explain(subjects)
    assert explainer._further is not None
    runs = explainer._further._runs
    images_in_a_pass = [run.spec.images for run in runs]
    assert images_in_a_pass == [3, 2]  # six of 24x24 have as many pixels as 3.4 and 1.5
    real = type(runs[1]).__call__

    def scarce(self: Any, x: Array, *others: Any) -> Any:
        if x.shape[1] == 48 and len(x) > 1:
            raise MemoryError
        return real(self, x, *others)

    monkeypatch.setattr(type(runs[1]), "__call__", scarce)
    after = explainer.explain(subjects)
    assert [run.spec.images for run in explainer._further._runs] == [3, 1]
    assert explainer.halvings == 0
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a.maps[0].values, b.maps[0].values, atol=1e-6)


def test_an_image_without_its_further_sizes_is_refused(model: keras.Model, images: list[list[Array]]) -> None:
    explainer = Explainer(model, analysis_of(model, SIZES), Request(methods=("twoscale",)))
    with pytest.raises(UsageError, match="an image has no input of 32x32"):
        explainer.explain([Subject(images[0][0], "a")])
    with pytest.raises(UsageError, match="an image has no input of 48x48"):
        explainer.explain([Subject(images[0][0], "a", further=(FurtherInput(images[0][1]),) * 2)])


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, -0.125)])
def test_maps_of_all_sizes_lie_on_the_same_pixels(shift: tuple[float, float]) -> None:
    """A bright square is found at its own position, whatever the size, also where the larger input shows another part."""
    x = keras.Input((32, 32, 1))
    light = keras.layers.Conv2D(1, 1, activation="relu", kernel_initializer="ones", name="fine")(x)
    pooled = keras.layers.AveragePooling2D(2)(light)
    coarse = keras.layers.Conv2D(1, 1, activation="relu", kernel_initializer="ones", name="coarse")(pooled)
    model = keras.Model(
        x, keras.layers.Dense(2, kernel_initializer="ones")(keras.layers.GlobalAveragePooling2D()(coarse))
    )

    def input_of(side: int, left: float, top: float) -> Array:
        """A square from (0.5, 0.25) to (0.75, 0.5) of the first input, as an input of so many pixels shows it."""
        centres = (np.arange(side) + 0.5) / side
        across, down = centres + left, centres + top
        inside = ((across > 0.5) & (across < 0.75))[None] & ((down > 0.25) & (down < 0.5))[:, None]
        return inside.astype(np.float32)[..., None]

    left, top = shift
    window = Window(top, left, top + 1, left + 1)
    traced = trace(model, (32, 32, 1))
    analysis = analyse_at_sizes(
        analyse(traced, (), ("coarse", "fine")), [trace(model, (side, side, 1)) for side in (32, 64)]
    )
    one = Subject(input_of(32, 0, 0), "a", (0,), (FurtherInput(input_of(64, left, top), window),))
    (found,) = Explainer(model, analysis, Request(methods=("twoscale",))).explain([one])
    saliency = found.maps[0]
    assert saliency.values.shape == (64, 64)
    assert saliency.window == window
    rows, columns = np.nonzero(saliency.values > 0.5)
    assert (rows.min() / 64 + top, (rows.max() + 1) / 64 + top) == pytest.approx((0.25, 0.5), abs=1 / 64)
    assert (columns.min() / 64 + left, (columns.max() + 1) / 64 + left) == pytest.approx((0.5, 0.75), abs=1 / 64)


def test_the_affine_head_is_proved_at_another_size_and_its_noise_skipped(
    model: keras.Model, images: list[list[Array]]
) -> None:
    for side, x in zip(SIZES, images[0], strict=True):
        analysis = analyse(trace(model, (side, side, 3)), ["coarse"])
        assert analysis.heads["coarse"] is Head.AFFINE
        explainer = Explainer(model, analysis, Request(methods=("smoothgradcam++", "gradcam++"), nsamples=9))
        assert explainer.nsamples == 0
        smooth, plain = explainer.explain([Subject(x, "a")])[0].maps
        np.testing.assert_array_equal(smooth.values, plain.values)


def test_a_part_of_a_box_and_a_window_inside_a_part_are_where_they_were() -> None:
    whole, box = (10.0, 20.0, 110.0, 220.0), (35.0, 20.0, 85.0, 120.0)
    part = part_of(box, whole)
    assert part.within(whole) == pytest.approx(box)
    inner = Window(0.5, 0.0, 1.0, 0.25, mirrored=True)
    assert inner.inside(part).within(whole) == pytest.approx(inner.within(box))
    assert inner.inside(part).mirrored
    assert part_of(box, box) == WHOLE


def test_maps_of_before_the_power_was_in_them_are_drawn_as_they_were() -> None:
    assert drawing_of("twoscale").power == pytest.approx(2 / 3)
    assert drawing_of("twoscale", 2 / 3).power == 1
    assert drawing_of("gradcam").power == drawing_of("gradcam", 1.0).power == 1
