"""Groups of maps: the embedding against SciPy and scikit-learn, and what is a group and what is not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from cam_cli.metrics.strategies import (
    SIDE,
    SIGNIFICANT,
    affinities,
    cluster_qr,
    distances,
    grouped,
    leanings,
    margin,
    p_value,
    roots_of,
)

pytestmark = pytest.mark.pure
Array = NDArray[np.float64]
AT = (np.arange(SIDE) + 0.5) / SIDE


def spots(x: Array, y: Array, width: float = 0.15) -> Array:
    """Maps (n, SIDE, SIDE) with a spot at (x, y), 0..1."""
    across, down = (np.exp(-((AT - c[:, None]) ** 2) / (2 * width**2)) for c in (x, y))
    return np.asarray(down[:, :, None] * across[:, None, :])


def around_the_middle(draw: np.random.Generator, count: int) -> Array:
    return spots(*draw.normal(0.5, 0.1, (2, count))) + 0.05 * draw.random((count, SIDE, SIDE))


def with_marks(draw: np.random.Generator, count: int, marked: int) -> Array:
    """Maps around the middle, of which the first `marked` look half at a corner."""
    maps = around_the_middle(draw, count)
    corner = spots(np.array([0.93]), np.array([0.93]), 0.08)[0]
    maps[:marked] = 0.5 * maps[:marked] / maps[:marked].sum((1, 2), keepdims=True) + 0.5 * corner / corner.sum()
    return maps


def is_flagged(maps: Array) -> bool:
    roots = roots_of(maps)
    p = p_value(roots, grouped(roots))
    return p is not None and p <= SIGNIFICANT


@pytest.fixture(scope="module")
def roots() -> Array:
    return roots_of(with_marks(np.random.default_rng(1), 60, 12))


def test_distances_are_hellingers(roots: Array) -> None:
    spatial = pytest.importorskip("scipy.spatial")
    expected = spatial.distance.cdist(roots, roots) / np.sqrt(2)
    assert distances(roots) == pytest.approx(expected, abs=1e-7)


def test_neighbours_are_scikit_learns_with_local_scales(roots: Array) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    far = distances(roots)
    k = round(np.log2(len(roots)))
    graph = neighbors.kneighbors_graph(roots, k, mode="connectivity", include_self=False).toarray()
    linked = np.maximum(graph, graph.T) > 0
    weights = affinities(far)
    assert ((weights > 0) == linked).all()
    scale = np.sort(far, axis=1)[:, k]
    i, j = np.argwhere(linked)[7]
    assert weights[i, j] == pytest.approx(np.exp(-(far[i, j] ** 2) / (scale[i] * scale[j])))


def test_eigenvalues_are_those_of_scipys_laplacian_and_groups_those_of_scikit_learn(roots: Array) -> None:
    csgraph = pytest.importorskip("scipy.sparse.csgraph")
    cluster = pytest.importorskip("sklearn.cluster")
    weights = affinities(distances(roots))
    values, vectors = np.linalg.eigh(csgraph.laplacian(weights, normed=True))
    found = grouped(roots)
    assert found.eigenvalues == pytest.approx(values[: len(found.eigenvalues)], abs=1e-8)
    theirs = cluster.SpectralClustering(3, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the graph is in two parts, as it should be
        their_labels = theirs.fit_predict(weights)
    for labels in (cluster_qr(vectors[:, :3]), their_labels):
        assert {*labels[:12]}.isdisjoint({*labels[12:]}), "the marked ones are in groups of their own"


def test_groups_are_scikit_learns_where_they_lie_apart() -> None:
    spectral = pytest.importorskip("sklearn.cluster._spectral")
    draw = np.random.default_rng(3)
    vectors = np.linalg.qr(np.repeat(np.eye(4), (20, 14, 9, 7), axis=0) + 0.02 * draw.normal(size=(50, 4)))[0]
    ours, theirs = cluster_qr(vectors), spectral.cluster_qr(vectors)
    assert len({*zip(ours.tolist(), theirs.tolist(), strict=True)}) == 4


def test_leaning_leaves_a_map_out_of_the_mean_it_is_compared_with(roots: Array) -> None:
    members = np.arange(len(roots)) < 12
    others = roots[1:12].sum(axis=0)
    rest = roots[12:].sum(axis=0)
    expected = roots[0] @ others / np.linalg.norm(others) - roots[0] @ rest / np.linalg.norm(rest)
    assert leanings(roots, members)[0] == pytest.approx(expected)


def test_the_margin_is_wide_between_groups_and_not_where_one_is_cut_in_two(roots: Array) -> None:
    first = np.arange(len(roots)) < 12
    assert margin(roots, first) > 0.45
    assert margin(roots, ~first) > 0.45
    line = roots_of(spots(np.linspace(0.2, 0.8, 60), np.full(60, 0.5)))
    assert abs(margin(line, np.arange(60) < 20)) < 0.2
    assert margin(roots, np.zeros(60, np.bool_)) == margin(roots, np.ones(60, np.bool_)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_mark_in_a_corner_is_a_group_of_its_own(seed: int) -> None:
    maps = with_marks(np.random.default_rng(seed), 100, 15)
    found = grouped(roots_of(maps))
    members = found.labels == found.most_apart
    assert members[:15].mean() >= 0.9
    assert members[:15].sum() >= 0.9 * members.sum()
    assert is_flagged(maps)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("few", [0, 2, 3, 5])
def test_a_few_odd_images_are_no_way_of_looking(few: int, seed: int) -> None:
    maps = with_marks(np.random.default_rng(seed), 100, few)
    assert not is_flagged(maps)
    assert np.bincount(grouped(roots_of(maps)).labels).min() >= 6


@pytest.mark.parametrize("seed", range(5))
def test_attention_that_is_spread_evenly_is_not_flagged(seed: int) -> None:
    draw = np.random.default_rng(100 + seed)
    assert not is_flagged(spots(*draw.random((2, 80)), 0.12))
    assert not is_flagged(spots(draw.uniform(0.1, 0.9, 80), draw.normal(0.5, 0.03, 80)))
    assert not is_flagged(np.exp(draw.normal(0, 1, (80, SIDE, SIDE))))


@pytest.mark.parametrize("n", [12, 40])
def test_maps_that_are_all_the_same_are_one_group(n: int) -> None:
    found = grouped(roots_of(np.tile(spots(np.array([0.3]), np.array([0.6])), (n, 1, 1))))
    assert found.labels.tolist() == [0] * n
    assert found.eigengap == 0


def test_the_largest_group_is_the_first_and_the_order_of_maps_does_not_count() -> None:
    draw = np.random.default_rng(8)
    maps = with_marks(draw, 90, 20)
    found = grouped(roots_of(maps))
    sizes = np.bincount(found.labels)
    assert (np.diff(sizes) <= 0).all()
    order = draw.permutation(90)
    again = grouped(roots_of(maps[order]))
    assert again.eigenvalues == pytest.approx(found.eigenvalues, abs=1e-9)
    assert sorted(again.margins) == pytest.approx(sorted(found.margins))
