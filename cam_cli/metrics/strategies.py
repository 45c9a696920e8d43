"""Ways of looking: groups of maps that are alike, by spectral relevance analysis (Lapuschkin et al. 2019).

In this module a map is a row of `roots` (n, cells): the square roots of its shares of energy. So rows have length 1, and the
product of two of them is their Bhattacharyya coefficient, 0 (no common cell) to 1 (equal). Their distance is Hellinger's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.intp]
Members = NDArray[np.bool_]

SIDE: Final = 14
"""Maps are compared at so many rows and columns."""
FEWEST: Final = 30
"""A class with fewer images is not analysed."""
LEAST_SHARE, LEAST = 0.04, 6
"""A group has at least this share of the images, and at least so many."""
CLEAR_MARGIN = 0.45
SIMULATIONS = 99
SIGNIFICANT = 0.01
_MOST_GROUPS = 8
_NEIGHBOURS = (5, 10)
_SAME = 0.05
"""Maps that are nearer to each other than this are the same."""
_ROUNDS = 6
_SIMULATED = 150
_WIDTHS = (0.06, 0.2)


@dataclass(frozen=True)
class Grouping:
    """The groups of n maps.

    labels: the group of each map, 0 is the largest. eigenvalues: the smallest of the normalised graph Laplacian, 0..2.
    eigengap: between the last eigenvalue that stands for a group and the next one; 0 if there is one group. margins: of each
    group, see `margin`.
    """

    labels: Labels
    eigenvalues: Array
    eigengap: float
    margins: tuple[float, ...]

    @property
    def most_apart(self) -> int:
        """The group with the widest margin."""
        return int(np.argmax(self.margins))


def roots_of(maps: NDArray[np.floating] | NDArray[np.uint8]) -> Array:
    """Return the square roots of the shares of energy of maps (n, ...), as (n, cells); every map needs some energy."""
    energy = np.maximum(maps.reshape(len(maps), -1), 0).astype(np.float64)
    roots: Array = np.sqrt(energy / energy.sum(axis=1, keepdims=True))
    return roots


def distances(roots: Array) -> Array:
    """Return Hellinger's distance of each pair of maps, (n, n), 0..1."""
    far: Array = np.sqrt(np.clip(1 - roots @ roots.T, 0, 1))
    return far


def grouped(roots: Array, fewest: int = 1) -> Grouping:
    """Group maps (n, cells) by the normalised Laplacian of the graph of their neighbours.

    The widest gap between eigenvalues says how many groups there are (von Luxburg 2007); a column-pivoted QR decomposition of
    the eigenvectors says which map is in which (Damle, Minden and Ying 2019), without chance. Maps in groups that are too small
    are left out, and the others grouped again; in the end each joins the group of its nearest neighbour. The group that is the
    most apart is cut where the gap to the others is.
    """
    far, n = distances(roots), len(roots)
    least = max(LEAST, int(np.ceil(LEAST_SHARE * n)))
    kept, within = np.arange(n), np.zeros(n, np.intp)
    eigenvalues, eigengap = np.zeros(0), 0.0
    for _ in range(_ROUNDS):
        if len(kept) < 2 * least:
            return _one(n, eigenvalues)
        eigenvalues, vectors = _spectrum(affinities(far[np.ix_(kept, kept)]))
        gaps = np.diff(eigenvalues)
        count = int(np.argmax(gaps[fewest - 1 :])) + fewest
        within = cluster_qr(vectors[:, :count])
        small = np.bincount(within, minlength=count)[within] < least
        if not small.any():
            eigengap = float(gaps[count - 1])
            break
        kept = kept[~small]
    else:
        return _one(n, eigenvalues)
    if within.max() == 0:
        return _one(n, eigenvalues)
    labels = within[np.argmin(far[:, kept], axis=1)]
    labels[kept] = within
    labels = _cut(roots, labels, least)
    order = np.argsort(-np.bincount(labels), kind="stable")
    labels = np.argsort(order)[labels]
    return Grouping(labels, eigenvalues, eigengap, tuple(margin(roots, labels == g) for g in range(len(order))))


def affinities(far: Array) -> Array:
    """Return the weights (n, n) of the graph of nearest neighbours, 0..1, with local scales (Zelnik-Manor and Perona 2004)."""
    n = len(far)
    k = min(int(np.clip(round(np.log2(n)), *_NEIGHBOURS)), n - 1)
    others = far + np.diag(np.full(n, np.inf))
    nearest = np.argsort(others, axis=1, kind="stable")[:, :k]
    scale = np.maximum(np.take_along_axis(others, nearest[:, -1:], axis=1), _SAME)
    linked = np.zeros((n, n), np.bool_)
    np.put_along_axis(linked, nearest, values=True, axis=1)
    return np.where(linked | linked.T, np.exp(-(far**2) / (scale * scale.T)), 0.0)


def _spectrum(weights: Array) -> tuple[Array, Array]:
    """Return the smallest eigenvalues of I - D^-1/2 W D^-1/2, and their eigenvectors (n, as many)."""
    scale = 1 / np.sqrt(weights.sum(axis=1))
    values, vectors = np.linalg.eigh(np.eye(len(weights)) - weights * np.outer(scale, scale))
    return values[: _MOST_GROUPS + 1], vectors[:, : _MOST_GROUPS + 1]


def cluster_qr(vectors: Array) -> Labels:
    """Return the group of each row of k orthonormal columns, 0..k - 1 (Damle, Minden and Ying 2019, algorithm 1)."""
    rest, pivots = vectors.T.copy(), []
    for _ in range(vectors.shape[1]):
        pivots.append(int(np.argmax((rest**2).sum(axis=0))))
        direction = rest[:, pivots[-1]] / np.linalg.norm(rest[:, pivots[-1]])
        rest -= np.outer(direction, direction @ rest)
    left, _, right = np.linalg.svd(vectors[pivots].T)
    return np.asarray(np.abs(vectors @ (left @ right)).argmax(axis=1), np.intp)


def leanings(roots: Array, members: Members) -> Array:
    """Return how much more each map is like the mean of a group than like the mean of the others, -1..1, itself left out."""
    found = []
    for group in (members, ~members):
        means = roots[group].sum(axis=0) - np.where(group[:, None], roots, 0)
        length = np.linalg.norm(means, axis=1)
        found.append((roots * means).sum(axis=1) / np.where(length > 0, length, 1))
    return np.asarray(found[0] - found[1], np.float64)


def margin(roots: Array, members: Members) -> float:
    """Return which share of the way from a group to the others is empty, at most 1.

    On the way from the median of the others to that of the group, by `leanings`: from the 95% of the others that are the
    farthest to the 90% of the group that are. It is about 0 where an even distribution is cut in two, and below it where the
    two overlap.
    """
    if members.all() or not members.any():
        return 0.0
    lean = leanings(roots, members)
    inside, outside = lean[members], lean[~members]
    way = float(np.median(inside) - np.median(outside))
    return float((np.quantile(inside, 0.1) - np.quantile(outside, 0.95)) / way) if way > 0 else -1.0


def _one(n: int, eigenvalues: Array) -> Grouping:
    return Grouping(np.zeros(n, np.intp), eigenvalues, 0.0, (0.0,))


def _cut(roots: Array, labels: Labels, least: int) -> Labels:
    """Cut the group that is the most apart from the others where the gap between successive `leanings` is the widest."""
    margins = [margin(roots, labels == group) for group in range(labels.max() + 1)]
    best = int(np.argmax(margins))
    members = labels == best
    for _ in range(_ROUNDS):
        lean = leanings(roots, members)
        between = np.sort(lean[(lean >= np.median(lean[~members])) & (lean <= np.median(lean[members]))])
        if len(between) < 2:
            return labels
        widest = int(np.argmax(np.diff(between)))
        now = lean > (between[widest] + between[widest + 1]) / 2
        if (now == members).all():
            break
        members = now
        if not least <= members.sum() <= len(members) - least:
            return labels
    if margin(roots, members) <= margins[best]:
        return labels
    means = np.stack([roots[labels == group].mean(axis=0) for group in range(len(margins))])
    means[best] = 0
    moved = np.where(members, best, np.where(labels == best, (roots @ means.T).argmax(axis=1), labels))
    _, moved = np.unique(moved, return_inverse=True)
    return np.asarray(moved, np.intp) if np.bincount(moved).min() >= least else labels


def p_value(roots: Array, grouping: Grouping) -> float | None:
    """Return how often a class without groups has a group with as wide a margin, 0.01..1; None if the margin is not clear.

    Such a class looks at one spot of the usual size, anywhere on the image: a continuous distribution, and the one that falls
    apart the most easily, as the uniform one does in Hartigan's dip test. `SIMULATIONS` of them are grouped in the same way.
    """
    found = max(grouping.margins)
    if found < CLEAR_MARGIN:
        return None
    width = float(np.clip(round(_usual_width(roots), 2), *_WIDTHS))
    simulated = margins_by_chance(min(len(roots), _SIMULATED), width)
    return float((1 + np.count_nonzero(simulated >= found)) / (1 + len(simulated)))


def _usual_width(roots: Array) -> float:
    """Return the median standard deviation of the energy around its centre, along one axis, as a share of the side."""
    side = round(roots.shape[1] ** 0.5)
    energy, at = (roots**2).reshape(-1, side, side), (np.arange(side) + 0.5) / side
    along = [energy.sum(axis=axis) for axis in (1, 2)]
    variances = [shares @ at**2 - (shares @ at) ** 2 for shares in along]
    return float(np.median(np.sqrt(np.maximum(sum(variances) / 2, 0))))


@cache
def margins_by_chance(n: int, width: float) -> Array:
    """Return the widest margin of each of `SIMULATIONS` classes of n maps without groups; width: of a spot, in sides."""
    return np.array([max(grouped(roots).margins) for roots in _without_groups(n, width)])


def _without_groups(n: int, width: float) -> Iterator[Array]:
    draw, at = np.random.default_rng(0), (np.arange(SIDE) + 0.5) / SIDE
    for _ in range(SIMULATIONS):
        x, y = (np.exp(-((at - c[:, None]) ** 2) / (2 * width**2)) for c in draw.random((2, n)))
        yield roots_of(y[:, :, None] * x[:, None, :])
