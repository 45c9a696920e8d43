"""The oracle against mathematics it does not contain: finite differences, closed forms and invariants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import factorial

import numpy as np
import oracle
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Array, Layer, Options, SmallNetwork

pytestmark = pytest.mark.pure

few = settings(deadline=None, max_examples=examples(15), derandomize=True)
seeds = st.integers(0, 10_000)
LAYERS: tuple[Layer, ...] = ("conv1", "conv2")
STENCIL = np.arange(-4, 5)


def case(seed: int, n: int = 0) -> tuple[SmallNetwork, Array, list[Array]]:
    """A random network, image (12, 10, 3) in [0, 1] and n noise arrays."""
    rng = np.random.default_rng([seed, 1])
    return SmallNetwork.random(seed), rng.random((12, 10, 3)), list(rng.standard_normal((n, 12, 10, 3)))


def random_samples(
    seed: int, n: int, grid: tuple[int, int] = (4, 5), maps: int = 6
) -> tuple[list[float], list[Array], Array]:
    """Logits, gradients and signed activations that no network constrains."""
    rng = np.random.default_rng([seed, 2])
    S = [float(s) for s in rng.normal(0, 2, n)]
    return S, list(rng.normal(0, 0.3, (n, *grid, maps))), rng.normal(0.2, 1, (*grid, maps))


def derivative(f: Callable[[float], float], order: int, step: float) -> float:
    """Nine-point central difference at 0; weights solve the moment equations of a Taylor series."""
    moments = np.vander(STENCIL, increasing=True).T.astype(float)
    target = np.zeros(len(STENCIL))
    target[order] = factorial(order)
    taps = np.linalg.solve(moments, target)
    return float(taps @ [f(float(k) * step) for k in STENCIL]) / step**order


def nudged(A: Array, cell: tuple[int, ...], t: float) -> Array:
    moved = A.copy()
    moved[cell] += t
    return moved


def kink_free_step(network: SmallNetwork, layer: Layer, A: Array, cell: tuple[int, ...]) -> float | None:
    """The largest step of a short list whose whole stencil keeps the sign of every ReLU above, if any."""

    def signs(t: float) -> list[bytes]:
        return [(z > 0).tobytes() for z in network.pre_activations(layer, nudged(A, cell, t))]

    return next((h for h in (0.05, 0.02, 0.01) if all(signs(float(k) * h) == signs(0.0) for k in STENCIL)), None)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [(12, 3, 2, (0, 1)), (11, 3, 2, (1, 1)), (7, 3, 1, (1, 1)), (5, 4, 1, (1, 2)), (4, 1, 2, (0, 0))],
)
def test_same_padding_puts_the_smaller_half_first(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert oracle.same_padding(size, kernel, stride) == pads


def test_conv2d_correlates_at_stride_two_from_the_first_row_and_column() -> None:
    x = np.arange(1.0, 17.0).reshape(4, 4, 1)
    corner = np.zeros((3, 3, 1, 1))
    corner[0, 2] = 1.0
    z = oracle.conv2d(x, corner, np.array([100.0]), 2)
    np.testing.assert_array_equal(z[:, :, 0], [[103.0, 100.0], [111.0, 100.0]])


@few
@given(seed=seeds, layer=st.sampled_from(LAYERS), c=st.integers(0, 4))
def test_gradient_is_the_slope_along_every_axis(seed: int, layer: Layer, c: int) -> None:
    network, x, _ = case(seed)
    A = network.activations(x)[layer]
    g = network.gradient(layer, A, c)
    h = 1e-6
    checked = 0
    for cell in list(np.ndindex(*A.shape))[:: 7 if layer == "conv1" else 1]:
        up, down = (network.pre_activations(layer, nudged(A, cell, t)) for t in (h, -h))
        if any(np.any((a > 0) != (b > 0)) for a, b in zip(up, down, strict=True)):
            continue
        low, high = (network.logits_from(layer, nudged(A, cell, t))[c] for t in (-h, h))
        assert (high - low) / (2 * h) == pytest.approx(g[cell], abs=1e-8)
        checked += 1
    assert checked > 50


def test_activations_and_logits_are_one_network() -> None:
    network, x, _ = case(3)
    held = network.activations(x)
    for layer in LAYERS:
        np.testing.assert_allclose(network.logits_from(layer, held[layer]), network.logits(x), rtol=1e-12)
    assert [w.shape for w in network.weights()] == [
        *((3, 3, 3, 5), (5,), (3, 3, 5, 4), (4,), (3, 3, 4, 6), (6,), (180, 5), (5,))
    ]
    assert SmallNetwork(*network.weights()) is not network
    np.testing.assert_array_equal(SmallNetwork(*network.weights()).logits(x), network.logits(x))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_derivatives_of_exp_are_powers_of_the_gradient_on_a_relu_network(layer: Layer, seed: int) -> None:
    network, x, _ = case(seed)
    A = network.activations(x)[layer]
    c, at_rest = 1, network.logits_from(layer, A)[1]
    g = network.gradient(layer, A, c)
    strongest = sorted(np.ndindex(*A.shape), key=lambda cell: -abs(g[cell]))[:60]
    steps = [(cell, kink_free_step(network, layer, A, cell)) for cell in strongest]
    tested = [(cell, h) for cell, h in steps if h is not None][:5]
    assert len(tested) >= 3
    for cell, h in tested:

        def relative_y(t: float, cell: tuple[int, ...] = cell) -> float:
            return float(np.exp(network.logits_from(layer, nudged(A, cell, t))[c] - at_rest))

        for order in (1, 2, 3):
            assert derivative(relative_y, order, h) == pytest.approx(g[cell] ** order, rel=1e-5, abs=1e-10)


def test_the_closed_form_fails_under_a_smooth_head_by_the_derivatives_of_the_score() -> None:
    network, x, _ = case(0)
    A = network.activations(x)["conv2"]

    def score(t: float, cell: tuple[int, ...]) -> float:
        z = oracle.conv2d(nudged(A, cell, t), network.kernel3, network.bias3, 1)
        return float(np.tanh(z).ravel() @ network.dense_kernel[:, 1])

    wrong = []
    for cell in [(1, 1, 0), (2, 3, 1), (4, 2, 2), (3, 3, 3)]:

        def relative_y(t: float, cell: tuple[int, ...] = cell) -> float:
            return float(np.exp(score(t, cell) - score(0.0, cell)))

        def score_here(t: float, cell: tuple[int, ...] = cell) -> float:
            return score(t, cell)

        s1, s2, s3 = (derivative(score_here, order, 0.05) for order in (1, 2, 3))
        y2, y3 = (derivative(relative_y, order, 0.05) for order in (2, 3))
        assert y2 == pytest.approx(s1**2 + s2, rel=1e-4, abs=1e-7)
        assert y3 == pytest.approx(s1**3 + 3 * s1 * s2 + s3, rel=1e-4, abs=1e-6)
        wrong.append(abs(y2 - s1**2) > 0.05 * s1**2 and abs(y3 - s1**3) > 0.05 * abs(s1) ** 3)
    assert all(wrong)


@few
@given(seed=seeds, n=st.integers(1, 6))
def test_smooth_sums_average_the_derivatives_of_exp(seed: int, n: int) -> None:
    S, g, _ = random_samples(seed, n)
    for power, averaged in enumerate(oracle.smooth_sums(S, g, "exp"), start=1):
        raw = sum(np.exp(s) * gm**power for s, gm in zip(S, g, strict=True)) / np.exp(S).sum()
        np.testing.assert_allclose(averaged, raw, rtol=1e-9, atol=1e-14)
    for power, averaged in enumerate(oracle.smooth_sums(S, g, "logit"), start=1):
        np.testing.assert_allclose(averaged, np.mean(np.stack(g) ** power, axis=0), rtol=1e-9, atol=1e-14)


def test_sum_of_a_times_d3_is_told_apart_from_the_sum_of_products() -> None:
    network, x, noises = case(5, 4)
    A = network.activations(x)["conv2"]
    S, g = oracle.samples(network, "conv2", x, 0, noises, 0.15)
    D1, D2, D3 = oracle.smooth_sums(S, g)
    right = oracle.alpha(D1, D2, D3, A)
    below = 2 * D2 + (A * D3).sum(axis=(0, 1))
    wrong = np.divide(D2, below, out=np.zeros_like(D2), where=(D2 > 0) & (below >= D2))
    assert np.abs(right - wrong).max() > 0.2
    maps = [oracle.combine(oracle.weights(a, D1), A) for a in (right, wrong)]
    assert np.linalg.norm(maps[0] - maps[1]) > 0.1 * np.linalg.norm(maps[0])
    unguarded = right > 0
    np.testing.assert_allclose(1 / right[unguarded], (2 + A.sum(axis=(0, 1)) * D3 / D2)[unguarded])


@few
@given(seed=seeds, n=st.integers(1, 5))
def test_alpha_lies_in_zero_to_one_and_zeros_are_counted(seed: int, n: int) -> None:
    S, g, A = random_samples(seed, n)
    for gm in g:
        gm[0, 0] = 0.0
    D1, D2, D3 = oracle.smooth_sums(S, g)
    a = oracle.alpha(D1, D2, D3, A)
    assert np.isfinite(a).all()
    assert a.min() >= 0
    assert a.max() <= 1
    assert np.all(a[0, 0] == 0)
    assert oracle.guarded_cells(D2, D3, A) == np.count_nonzero(a[D2 > 0] == 0)


@few
@given(seed=seeds)
def test_alpha_of_one_sample_is_the_reciprocal_closed_form(seed: int) -> None:
    _, (g,), A = random_samples(seed, 1)
    inverse = 2 + A.sum(axis=(0, 1)) * g
    guarded = inverse < 1
    assert guarded.any()
    second = oracle.alpha(g, g**2, g**3, A)
    first = oracle.alpha(g, g**2, g**3, A, "first")
    np.testing.assert_allclose(second[~guarded], 1 / inverse[~guarded], rtol=1e-9)
    np.testing.assert_allclose(first[~guarded], 1 / (inverse * g)[~guarded], rtol=1e-9)
    assert not second[guarded].any()
    assert not first[guarded].any()
    assert oracle.guarded_cells(g**2, g**3, A) == guarded.sum()


@few
@given(seed=seeds, factor=st.sampled_from([1e-6, 0.5, 30.0]))
def test_the_guard_does_not_change_when_score_and_activations_trade_scale(seed: int, factor: float) -> None:
    _, (g,), A = random_samples(seed, 1)
    scaled = factor * g
    np.testing.assert_allclose(
        oracle.alpha(scaled, scaled**2, scaled**3, A / factor), oracle.alpha(g, g**2, g**3, A), rtol=1e-9
    )


@few
@given(seed=seeds, layer=st.sampled_from(LAYERS))
def test_the_guard_has_no_effect_on_one_sample_of_a_nonnegative_layer(seed: int, layer: Layer) -> None:
    network, x, _ = case(seed)
    A = network.activations(x)[layer]
    g = network.gradient(layer, A, 2)
    unguarded = oracle.relu(g) / (2 + A.sum(axis=(0, 1)) * oracle.relu(g))
    plain = np.einsum("ijl,l->ij", A, unguarded.sum(axis=(0, 1)))
    np.testing.assert_allclose(oracle.grad_cam_pp(network, layer, x, 2).pre_relu, plain, atol=1e-12)


@few
@given(
    seed=seeds,
    shift=st.floats(-50, 50),
    layer=st.sampled_from(LAYERS),
    options=st.builds(Options, score=st.sampled_from(["exp", "logit"]), filters=st.just([0, 2])),
)
def test_a_constant_shift_of_all_logits_leaves_the_map(seed: int, shift: float, layer: Layer, options: Options) -> None:
    network, x, noises = case(seed, 3)
    moved = replace(network, dense_bias=network.dense_bias + shift)
    before, after = (oracle.smooth_grad_cam_pp(n, layer, x, 0, noises, 0.2, options) for n in (network, moved))
    np.testing.assert_allclose(after.pre_relu, before.pre_relu, rtol=1e-9, atol=1e-12)


@few
@given(seed=seeds, n=st.integers(1, 4), layer=st.sampled_from(LAYERS))
def test_without_noise_any_n_equals_grad_cam_plus_plus(seed: int, n: int, layer: Layer) -> None:
    network, x, noises = case(seed, n)
    silent = oracle.smooth_grad_cam_pp(network, layer, x, 1, noises, 0.0)
    clean = oracle.grad_cam_pp(network, layer, x, 1)
    np.testing.assert_allclose(silent.map, clean.map, rtol=1e-9, atol=1e-12)
    loud = oracle.smooth_grad_cam_pp(network, layer, x, 1, noises, 0.3)
    assert not np.allclose(loud.pre_relu, clean.pre_relu, rtol=1e-3, atol=1e-6)


@few
@given(seed=seeds, layer=st.sampled_from(LAYERS))
def test_noise_reaches_the_gradient_and_never_the_activations(seed: int, layer: Layer) -> None:
    """Bug it fails for: the last noisy sample's A in the denominator or in the final sum."""
    network, x, (noise,) = case(seed, 1)
    A = network.activations(x)[layer]
    g = oracle.relu(network.gradient(layer, network.activations(x + 0.3 * noise)[layer], 1))
    expected = A @ (g / (2 + A.sum(axis=(0, 1)) * g)).sum(axis=(0, 1))
    result = oracle.smooth_grad_cam_pp(network, layer, x, 1, [noise], 0.3)
    np.testing.assert_allclose(result.pre_relu, expected, rtol=1e-9, atol=1e-12)


@few
@given(seed=seeds, data=st.data())
def test_maps_over_a_partition_of_the_filters_add_up(seed: int, data: st.DataObject) -> None:
    S, g, A = random_samples(seed, 3)
    order = data.draw(st.permutations(range(6)))
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, 5), max_size=3))), 6]
    parts = [Options(filters=order[a:b]) for a, b in pairwise(cuts)]
    total = sum(oracle.saliency_from_samples(S, g, A, part).pre_relu for part in parts)
    np.testing.assert_allclose(total, oracle.saliency_from_samples(S, g, A).pre_relu, rtol=1e-9, atol=1e-12)


@few
@given(seed=seeds, picks=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12))
def test_disjoint_neuron_selections_add_up(seed: int, picks: set[tuple[int, int]]) -> None:
    S, g, A = random_samples(seed, 3)
    rest = set(np.ndindex(4, 5)) - picks
    full, chosen, others = (
        oracle.saliency_from_samples(S, g, A, Options(subset=subset)).pre_relu
        for subset in (None, sorted(picks), sorted(rest))
    )
    np.testing.assert_allclose(chosen + others, full, rtol=1e-12)
    assert {cell for cell in np.ndindex(4, 5) if chosen[cell] != 0} == picks


@few
@given(a=st.tuples(st.integers(0, 3), st.integers(0, 4)), b=st.tuples(st.integers(0, 3), st.integers(0, 4)))
def test_a_region_is_the_inclusive_box_of_any_two_corners(a: tuple[int, int], b: tuple[int, int]) -> None:
    mask = oracle.neuron_mask((4, 5), True, [a, b])
    inside = {(i, j) for i, j in np.ndindex(4, 5) if (i - a[0]) * (i - b[0]) <= 0 >= (j - a[1]) * (j - b[1])}
    assert {cell for cell in np.ndindex(4, 5) if mask[cell]} == inside


def test_a_full_grid_region_is_no_region() -> None:
    S, g, A = random_samples(1, 3)
    boxed = oracle.saliency_from_samples(S, g, A, Options(region=True, subset=[(0, 0), (3, 4)]))
    np.testing.assert_array_equal(boxed.pre_relu, oracle.saliency_from_samples(S, g, A).pre_relu)


@pytest.mark.parametrize("cell", [(4, 0), (0, 5), (-1, 0)])
def test_a_neuron_outside_the_grid_is_refused(cell: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="4x5"):
        oracle.neuron_mask((4, 5), False, [cell])


def test_weights_stay_finite_at_extreme_logits() -> None:
    _, g, A = random_samples(2, 3)
    extreme = oracle.saliency_from_samples([1000.0, -1000.0, 0.0], g, A)
    alone = oracle.saliency_from_samples([0.0], g[:1], A)
    assert np.isfinite(extreme.pre_relu).all()
    np.testing.assert_allclose(extreme.pre_relu, alone.pre_relu, rtol=1e-12)


@few
@given(seed=seeds)
def test_grad_cam_and_cam_agree_where_the_head_is_pooling_and_one_dense_layer(seed: int) -> None:
    """There dS_c/dA_ijk is W_kc / (number of cells), so Grad-CAM is CAM divided by the number of cells."""
    rng = np.random.default_rng(seed)
    A, kernel = rng.normal(0, 1, (4, 5, 6)), rng.normal(0, 1, (6, 3))
    g = np.broadcast_to(kernel[:, 1] / 20, A.shape)
    np.testing.assert_allclose(oracle.combine(g.mean(axis=(0, 1)), A) * 20, oracle.cam(kernel, A, 1), atol=1e-12)
    assert oracle.cam(kernel, A, 1).mean() == pytest.approx(A.mean(axis=(0, 1)) @ kernel[:, 1])


def test_grad_cam_weighs_by_the_mean_gradient_and_keeps_signs_before_its_relu() -> None:
    network, x, _ = case(4)
    A = network.activations(x)["conv2"]
    results = [oracle.grad_cam(network, "conv2", x, c) for c in range(5)]
    for c, result in enumerate(results):
        w = network.gradient("conv2", A, c).reshape(30, 4).sum(axis=0) / 30
        np.testing.assert_allclose(result.pre_relu, A @ w, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(result.map, np.where(result.pre_relu > 0, result.pre_relu, 0.0))
    assert min(result.pre_relu.min() for result in results) < 0


def test_sigma_scales_with_the_range_or_not_at_all() -> None:
    x = np.array([[[-1.0], [3.0]]])
    assert oracle.sigma(x, 0.15) == pytest.approx(0.6)
    assert oracle.sigma(x, 0.15, "absolute") == 0.15


@few
@given(values=st.lists(st.floats(0.5, 2.0), min_size=2, max_size=8))
def test_the_jackknife_of_a_linear_map_is_the_classical_standard_error(values: list[float]) -> None:
    """With A = (1, -1) the activations sum to 0, alpha is 1/2, and L = (mean g, 0): the error of a mean."""
    A = np.array([[[1.0], [-1.0]]])
    g = [np.full((1, 2, 1), value) for value in values]
    classical = np.std(values, ddof=1) / np.sqrt(len(values))
    expected = classical / np.sqrt(2) / np.mean(values)
    got = oracle.jackknife_standard_error([0.0] * len(values), g, A, Options(score="logit"))
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


@few
@given(seed=seeds)
def test_the_jackknife_of_two_samples_is_half_their_maps_difference(seed: int) -> None:
    """The map is not linear in the samples, so centring on L instead of the mean of L_(-m) would show."""
    S, g, A = random_samples(seed, 2)
    one, two = (oracle.saliency_from_samples(S[m : m + 1], g[m : m + 1], A).map for m in (0, 1))
    peak = oracle.saliency_from_samples(S, g, A).map.max()
    expected = np.sqrt(np.mean((one - two) ** 2)) / 2 / peak
    assert oracle.jackknife_standard_error(S, g, A) == pytest.approx(expected, rel=1e-9)


@few
@given(seed=seeds, order=st.permutations(range(5)), scale=st.floats(0.1, 10))
def test_the_standard_error_ignores_order_and_scale_and_vanishes_for_equal_samples(
    seed: int, order: list[int], scale: float
) -> None:
    S, g, A = random_samples(seed, 5)
    g = [np.abs(gm) for gm in g]
    once = oracle.jackknife_standard_error(S, g, A)
    shuffled = oracle.jackknife_standard_error([S[m] for m in order], [g[m] for m in order], A)
    assert shuffled == pytest.approx(once)
    rescaled = oracle.jackknife_standard_error(S, [gm * scale for gm in g], A / scale)
    assert rescaled == pytest.approx(once)
    assert oracle.jackknife_standard_error([S[0]] * 4, g[:1] * 4, A) == pytest.approx(0, abs=1e-12)


def test_a_standard_error_without_meaning_is_nan() -> None:
    S, g, A = random_samples(0, 3)
    assert np.isnan(oracle.jackknife_standard_error(S[:1], g[:1], A))
    assert np.isnan(oracle.jackknife_standard_error(S, [-np.abs(gm) for gm in g], A))


@few
@given(seed=seeds, gain=st.floats(0.1, 10), offset=st.floats(-5, 5))
def test_noise_effect_is_a_correlation(seed: int, gain: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    L, clean = rng.random((2, 4, 5))
    assert oracle.noise_effect(L, clean) == pytest.approx(np.corrcoef(L.ravel(), clean.ravel())[0, 1])
    assert oracle.noise_effect(gain * L + offset, L) == pytest.approx(1)
    assert oracle.noise_effect(-gain * L, L) == pytest.approx(-1)
    assert np.isnan(oracle.noise_effect(np.zeros((4, 5)), L))
