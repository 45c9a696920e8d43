"""What must hold for every network and every image, whatever the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from examples import explicit
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.head import Head
from cam_cli.engine.noise import Noise
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.engine.selection import Selection
from cam_cli.graph.trace import trace

Array = NDArray[np.float32]
SHAPE = (10, 8, 3)
SQUARE = (9, 9, 3)
CLASSES = 4
LAYERS = ("conv1", "conv2")
GRIDS = {"conv1": (10, 8, 4), "conv2": (5, 4, 6)}
few = explicit(12)
seeds = st.integers(0, 2**16)
layers = keras.layers


def network(seed: int, activation: str | None = None, shape: tuple[int, int, int] = SHAPE, nested: bool = False) -> Any:
    """Two explained layers, both below a ReLU network, so that noise matters at each."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv2")(x)
    if nested:
        inner, outer = keras.Model(inputs, x, name="in.1"), keras.Input(shape)
        middle = keras.Model(outer, inner(outer), name="mid.2")
        inputs = keras.Input(shape)
        x = middle(inputs)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.Dense(CLASSES, activation=activation, name="head")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(seed)
    model.set_weights(
        [rng.normal(0.05, 1 / np.sqrt(max(1, np.prod(w.shape[:-1]))), w.shape) for w in model.get_weights()]
    )
    return model


def image(seed: int, shape: tuple[int, int, int] = SHAPE) -> Array:
    return np.random.default_rng([seed, 1]).uniform(-1, 1, shape).astype(np.float32)


def engine(
    model: Any, request: Request, names: tuple[str, ...] = LAYERS, targets: int = 1, images: int | None = None
) -> Explainer:
    return Explainer(model, analyse(trace(model, model.input_shape[1:]), names), request, targets, images)


def run(
    model: Any, x: Array, request: Request, target: int = -1, names: tuple[str, ...] = LAYERS, identity: str = "a"
) -> Explanation:
    return engine(model, request, names, images=1).explain([Subject(x, identity, (target,))])[0]


def close(ours: Explanation, truth: Explanation, relative: float = 1e-5) -> None:
    assert len(ours.maps) == len(truth.maps)
    for a, b in zip(ours.maps, truth.maps, strict=True):
        near(a.values, b.values, relative)
        assert a.state == b.state


def near(a: Array, b: Array, relative: float = 1e-5) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=relative * max(float(np.abs(b).max()), 1e-12))


def normalised(values: Array) -> Array:
    peak = float(values.max())
    return values / peak if peak > 0 else values


@few
@given(seeds, st.integers(-1000, 1000), st.sampled_from(["exp", "logit"]))
@example(1, 997, "exp")
@example(2, -860, "logit")
def test_a_constant_on_all_logits_changes_nothing(seed: int, shift: int, score: str) -> None:
    """Whole numbers up to 1000 cost a logit up to 6e-5 of rounding, and e^S as much; raw exp overflows at 88."""
    model, request = network(seed), Request(score=score, nsamples=2)
    before = run(model, image(seed), request)
    model.get_layer("head").bias.assign_add(np.full(CLASSES, shift, np.float32))
    after = run(model, image(seed), request, before.targets[0])
    close(after, before, 1e-5 if score == "logit" else 1e-3)
    near(after.probabilities, before.probabilities, 1e-3)


@few
@given(seeds, st.integers(-12, 12), st.sampled_from(["second", "first"]))
@example(3, -12, "second")
@example(4, 9, "first")
def test_activations_and_head_rescaled_against_each_other_leave_the_map(seed: int, power: int, numerator: str) -> None:
    """conv2 times 2^p and what follows by 2^-p: an epsilon in the denominator shows here, the guard must not.

    The paper's Eq. 7 (`first`) has g over g^2, so that its maps do change by a factor; only the picture stays.
    """
    model, factor = network(seed), np.float32(2.0**power)
    request = Request(methods=("smoothgradcam++", "gradcam++", "gradcam"), nsamples=2, alpha_numerator=numerator)
    before = run(model, image(seed), request, names=("conv2",))
    for weight in model.get_layer("conv2").weights:
        weight.assign(weight * factor)
    model.get_layer("conv3").kernel.assign(model.get_layer("conv3").kernel / factor)
    after = run(model, image(seed), request, before.targets[0], ("conv2",))
    near(after.logits, before.logits)
    for a, b in zip(after.maps, before.maps, strict=True):
        near(normalised(a.values), normalised(b.values))
        assert a.guarded_cells == b.guarded_cells


@few
@given(seeds)
@example(5)
def test_maps_over_a_partition_of_the_filters_sum_to_the_whole(seed: int) -> None:
    """The layers are not negative, nor are the weights, so that the ReLU of each part is idle."""
    draw = np.random.default_rng([seed, 2])
    for layer in LAYERS:
        order = draw.permutation(GRIDS[layer][2]).tolist()
        cut = int(draw.integers(1, len(order)))
        chosen = (Selection(), Selection(filters=tuple(order[:cut])), Selection(filters=tuple(order[cut:])))
        found = run(network(seed), image(seed), Request(selections=chosen, nsamples=2), names=(layer,)).maps
        whole, one, other = (m.values for m in found)
        near(one + other, whole)
        assert found[0].guarded_cells == found[1].guarded_cells + found[2].guarded_cells


@few
@given(seeds)
@example(6)
def test_disjoint_neurons_add_up(seed: int) -> None:
    h, w, _ = GRIDS["conv2"]
    draw = np.random.default_rng([seed, 2])
    cells = [(i, j) for i, j in draw.permutation([(i, j) for i in range(h) for j in range(w)]).tolist()]
    cut = int(draw.integers(1, len(cells)))
    chosen = (Selection(), Selection(subset=tuple(cells[:cut])), Selection(subset=tuple(cells[cut:])))
    found = run(network(seed), image(seed), Request(selections=chosen, nsamples=2), names=("conv2",)).maps
    whole, one, other = (m.values for m in found)
    np.testing.assert_array_equal(one + other, whole)
    assert not (one * other).any()


@few
@given(seeds, st.booleans())
@example(7, True)
def test_a_region_of_the_whole_grid_equals_none(seed: int, upside_down: bool) -> None:
    for layer, (h, w, _) in GRIDS.items():
        corners = ((0, 0), (h - 1, w - 1))
        box = Selection(region=True, subset=corners[::-1] if upside_down else corners)
        found = run(network(seed), image(seed), Request(selections=(Selection(), box), nsamples=2), names=(layer,)).maps
        np.testing.assert_array_equal(found[1].values, found[0].values)


@few
@given(seeds)
@example(8)
def test_a_transposed_image_through_a_symmetric_network_gives_a_transposed_map(seed: int) -> None:
    """Catches rows taken for columns, and sums over the wrong axes; 'same' padding of an odd square is symmetric."""
    model = network(seed, shape=SQUARE)
    for name in ("conv1", "conv2", "conv3"):
        kernel = model.get_layer(name).kernel
        kernel.assign((kernel + np.transpose(kernel, (1, 0, 2, 3))) / 2)
    head = model.get_layer("head").kernel
    cells = np.reshape(head, (5, 5, 5, CLASSES))
    head.assign(np.reshape((cells + cells.transpose(1, 0, 2, 3)) / 2, (125, CLASSES)))
    box = Selection(region=True, subset=((0, 1), (2, 4)))
    flipped = Selection(region=True, subset=((1, 0), (4, 2)))
    x, methods = image(seed, SQUARE), ("gradcam++", "gradcam")
    upright = run(model, x, Request(methods, (Selection(), box), 0), 1)
    turned = run(model, x.transpose(1, 0, 2), Request(methods, (Selection(), flipped), 0), 1)
    near(turned.logits, upright.logits)
    for a, b in zip(turned.maps, upright.maps, strict=True):
        near(a.values.T, b.values, 1e-4)
        assert a.values.max() == 0 or not np.allclose(a.values, b.values, rtol=1e-3)


@few
@given(seeds, st.integers(0, 20), st.sampled_from(["range", "absolute"]))
@example(9, 13, "absolute")
def test_no_spread_is_grad_cam_plus_plus(seed: int, nsamples: int, scale: str) -> None:
    request = Request(methods=("smoothgradcam++", "gradcam++"), nsamples=nsamples, noise=Noise(0.0, scale))
    found = run(network(seed), image(seed), request).maps
    for smooth, plain in zip(found[::2], found[1::2], strict=True):
        assert (smooth.method, plain.method) == request.methods
        np.testing.assert_array_equal(smooth.values, plain.values)


def test_a_flat_image_has_no_noise_in_range_units() -> None:
    """max(x) = min(x): the samples all run, and each is the clean image."""
    request = Request(methods=("smoothgradcam++", "gradcam++"), nsamples=7)
    found = run(network(3), np.full(SHAPE, 0.5, np.float32), request).maps
    for smooth, plain in zip(found[::2], found[1::2], strict=True):
        near(smooth.values, plain.values)


@few
@given(seeds, st.permutations(range(5)), st.integers(1, 9))
@example(10, [3, 0, 4, 1, 2], 3)
def test_a_map_does_not_depend_on_its_company(seed: int, order: list[int], nsamples: int) -> None:
    """Any batch, order and chunk draws the same noise for an image and a sample number."""
    model, request = network(seed), Request(nsamples=nsamples, noise=Noise(0.4))
    subjects = [Subject(image(i), f"image {i}", (1,)) for i in range(5)]
    alone: dict[int, Explanation] = {}
    with pytest.MonkeyPatch.context() as patch:
        for rows in (2, 8):
            patch.setattr("cam_cli.engine.explain.ROWS_IN_A_PASS", rows)
            explainer = engine(model, request)
            step = explainer.images_in_a_pass
            for start in range(0, 5, step):
                batch = order[start : start + step]
                for i, found in zip(batch, explainer.explain([subjects[i] for i in batch]), strict=True):
                    close(found, alone.setdefault(i, found))
        for i in order[:2]:
            close(explainer.explain([subjects[i]])[0], alone[i])
        other = explainer.explain([Subject(image(order[0]), "another name", (1,))])[0]
    a, b = alone[order[0]].maps[0].values, other.maps[0].values
    assert a.max() == 0 or not np.array_equal(a, b)


@few
@given(seeds, st.sampled_from([-1000.0, 1000.0]), st.sampled_from([1.0, 100.0]))
@example(11, 1000.0, 100.0)
@example(12, -1000.0, 1.0)
def test_logits_of_a_thousand_stay_finite(seed: int, level: float, spread: float) -> None:
    model = network(seed)
    head = model.get_layer("head")
    head.kernel.assign(head.kernel * spread)
    head.bias.assign(np.linspace(level, level + spread, CLASSES, dtype=np.float32))
    methods = ("smoothgradcam++", "gradcam++", "gradcam")
    for activation in ("softmax", None):
        head.activation = keras.activations.get(activation)
        found = run(model, image(seed), Request(methods, nsamples=2, noise=Noise(0.5)))
        assert abs(found.logits).max() > 500
        assert np.isfinite(found.logits).all()
        assert found.probabilities.sum() == pytest.approx(1)
        for m in found.maps:
            assert np.isfinite(m.values).all()
            assert m.standard_error is None or np.isfinite(m.standard_error)


def twin_of(change: Callable[[int], Any], names: tuple[str, ...] = LAYERS) -> Callable[[int], None]:
    def check(seed: int) -> None:
        request = Request(methods=("smoothgradcam++", "gradcam++", "gradcam"), nsamples=2)
        ours, truth = run(change(seed), image(seed), request, names=names), run(network(seed), image(seed), request)
        assert {m.head for m in truth.maps} == {Head.PIECEWISE_LINEAR}
        near(ours.logits, truth.logits)
        close(ours, truth)

    return check


@few
@given(seeds)
@example(13)
def test_nested_equals_flattened(seed: int) -> None:
    twin_of(lambda s: network(s, nested=True), ("mid.2/in.1/conv1", "mid.2/in.1/conv2"))(seed)


@few
@given(seeds, st.sampled_from(["softmax", "sigmoid"]))
@example(14, "softmax")
@example(15, "sigmoid")
def test_a_probability_model_equals_its_logit_twin(seed: int, activation: str) -> None:
    twin_of(lambda s: network(s, activation))(seed)


@few
@given(seeds, st.permutations(range(CLASSES)))
@example(16, [2, 0, 3, 1])
def test_a_target_does_not_depend_on_the_others_asked_with_it(seed: int, order: list[int]) -> None:
    model, request = network(seed), Request(nsamples=2)
    several = engine(model, request, targets=CLASSES, images=1).explain([Subject(image(seed), "a", tuple(order))])[0]
    single = run(model, image(seed), request, order[0]).maps
    for a, b in zip([m for m in several.maps if m.target == order[0]], single, strict=True):
        near(a.values, b.values)
