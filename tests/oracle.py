"""The independent float64 reference: a tiny ReLU convnet with gradients by hand, and the CAM formulas.

Papers: CAM (Zhou 2016), Grad-CAM (Selvaraju 2017), Grad-CAM++ (1710.11063), Smooth Grad-CAM++ (1908.01224).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = Literal["conv1", "conv2"]
Neurons = Sequence[tuple[int, int]]
Score = Literal["exp", "logit"]
Numerator = Literal["second", "first"]


def relu(z: Array) -> Array:
    """Return max(z, 0), any shape."""
    return np.maximum(z, 0.0)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis by TensorFlow's 'same' rule (smaller half first)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv2d(x: Array, kernel: Array, bias: Array, stride: int) -> Array:
    """Correlate x (h, w, in) with a Keras kernel (kh, kw, in, out) to (ceil(h/s), ceil(w/s), out), 'same'."""
    kh, kw = kernel.shape[:2]
    padded = np.pad(x, [same_padding(x.shape[0], kh, stride), same_padding(x.shape[1], kw, stride), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(0, 1))[::stride, ::stride]
    return np.asarray(np.einsum("ijcab,abco->ijo", windows, kernel) + bias)


def conv2d_input_gradient(dz: Array, kernel: Array, stride: int, shape: tuple[int, ...]) -> Array:
    """Carry dS/dz back through `conv2d` to dS/dx of the given input shape (h, w, in)."""
    kh, kw = kernel.shape[:2]
    (top, bottom), (left, right) = same_padding(shape[0], kh, stride), same_padding(shape[1], kw, stride)
    padded = np.zeros((top + shape[0] + bottom, left + shape[1] + right, shape[2]))
    for i, j in np.ndindex(*dz.shape[:2]):
        padded[i * stride : i * stride + kh, j * stride : j * stride + kw] += kernel @ dz[i, j]
    return padded[top : top + shape[0], left : left + shape[1]]


@dataclass(frozen=True)
class SmallNetwork:
    """conv1, conv2 (stride 2), conv3, each 3x3 'same' with ReLU, then flatten and dense."""

    kernel1: Array
    bias1: Array
    kernel2: Array
    bias2: Array
    kernel3: Array
    bias3: Array
    dense_kernel: Array
    dense_bias: Array

    @classmethod
    def random(
        cls,
        seed: int,
        input_shape: tuple[int, int, int] = (12, 10, 3),
        maps: tuple[int, int, int] = (5, 4, 6),
        classes: int = 5,
    ) -> SmallNetwork:
        """Draw He-scaled weights and small biases; `maps` is the width of conv1, conv2 and conv3."""
        rng = np.random.default_rng(seed)
        h, w, channels = input_shape
        arrays: list[Array] = []
        for fan, out in zip((channels, *maps[:2]), maps, strict=True):
            arrays += [rng.normal(0, np.sqrt(2 / (9 * fan)), (3, 3, fan, out)), rng.normal(0, 0.1, out)]
        flat = -(-h // 2) * -(-w // 2) * maps[2]
        arrays += [rng.normal(0, np.sqrt(2 / flat), (flat, classes)), rng.normal(0, 0.1, classes)]
        return cls(*arrays)

    def weights(self) -> list[Array]:
        """Return the weights in Keras order: kernel and bias of conv1, conv2, conv3 and dense."""
        return [
            *(self.kernel1, self.bias1, self.kernel2, self.bias2),
            *(self.kernel3, self.bias3, self.dense_kernel, self.dense_bias),
        ]

    def activations(self, x: Array) -> dict[Layer, Array]:
        """Return the outputs of conv1 (h, w, K1) and conv2 (ceil(h/2), ceil(w/2), K2), after ReLU."""
        first = relu(conv2d(x, self.kernel1, self.bias1, 1))
        return {"conv1": first, "conv2": relu(conv2d(first, self.kernel2, self.bias2, 2))}

    def pre_activations(self, layer: Layer, A: Array) -> list[Array]:
        """Return what enters each ReLU above `layer`, in order, when that layer holds A."""
        above: list[Array] = []
        if layer == "conv1":
            above.append(conv2d(A, self.kernel2, self.bias2, 2))
            A = relu(above[0])
        return [*above, conv2d(A, self.kernel3, self.bias3, 1)]

    def logits_from(self, layer: Layer, A: Array) -> Array:
        """Return the logits (classes,) when `layer` holds A (which may be negative)."""
        return relu(self.pre_activations(layer, A)[-1]).ravel() @ self.dense_kernel + self.dense_bias

    def logits(self, x: Array) -> Array:
        """Return the logits (classes,) of an image x (h, w, c)."""
        return self.logits_from("conv2", self.activations(x)["conv2"])

    def gradient(self, layer: Layer, A: Array, c: int) -> Array:
        """Return dS_c/dA, the shape of A, by back-propagation; the slope of ReLU at 0 is taken as 0."""
        *below, z3 = self.pre_activations(layer, A)
        d = self.dense_kernel[:, c].reshape(z3.shape) * (z3 > 0)
        d = conv2d_input_gradient(d, self.kernel3, 1, (*z3.shape[:2], self.kernel3.shape[2]))
        for z2 in below:
            d = conv2d_input_gradient(d * (z2 > 0), self.kernel2, 2, A.shape)
        return d


@dataclass(frozen=True)
class Options:
    """The choices that section 2 of the design leaves to the caller."""

    score: Score = "exp"
    numerator: Numerator = "second"
    filters: Sequence[int] | None = None
    region: bool = False
    subset: Neurons | None = None


DEFAULTS = Options()


@dataclass(frozen=True)
class Saliency:
    """A finished map: `pre_relu` (h, w) signed, `map` = ReLU(pre_relu), and the number of guarded cells."""

    pre_relu: Array
    map: Array
    guarded_cells: int


def sigma(x: Array, std_dev: float, scale: Literal["range", "absolute"] = "range") -> float:
    """Return the noise's standard deviation in preprocessed units (`range`: a fraction of x's)."""
    return std_dev * float(x.max() - x.min()) if scale == "range" else std_dev


def smooth_sums(S: Sequence[float], g: Sequence[Array], score: Score = "exp") -> tuple[Array, Array, Array]:
    """D1, D2, D3 = sum_m v_m g_m^p for p = 1, 2, 3 (the averaged derivatives of 1908.01224).

    v = softmax over m of S_m (`exp`: derivatives of e^S averaged, up to a common factor) or 1/n (`logit`).
    """
    v = np.exp(np.asarray(S) - max(S)) if score == "exp" else np.ones(len(S))
    v = v / v.sum()

    D1, D2, D3 = (np.asarray(np.einsum("m,mijk->ijk", v, np.stack(g) ** p)) for p in (1, 2, 3))
    return D1, D2, D3


def denominator(D2: Array, D3: Array, A: Array) -> Array:
    """2 D2_ij + (sum_ab A_ab) D3_ij for each map (1710.11063 Eq. 10; 1908.01224 Eq. 5)."""
    return np.asarray(2 * D2 + A.sum(axis=(0, 1)) * D3)


def alpha(D1: Array, D2: Array, D3: Array, A: Array, numerator: Numerator = "second") -> Array:
    """D2 (1908.01224 Eq. 5) or D1 (Eq. 7) over the denominator, (h, w, K); 0 where D2 = 0 or guarded."""
    below = denominator(D2, D3, A)
    keep = (D2 > 0) & (below >= D2)
    return np.where(keep, (D2 if numerator == "second" else D1) / np.where(keep, below, 1.0), 0.0)


def guarded_cells(D2: Array, D3: Array, A: Array) -> int:
    """Count the cells with D2 > 0 whose denominator lies below D2 (alpha would be negative or above 1)."""
    return int(np.count_nonzero((D2 > 0) & (denominator(D2, D3, A) < D2)))


def weights(a: Array, D1: Array) -> Array:
    """w_k = sum_ij alpha_ijk ReLU(D1_ijk) (1710.11063 Eq. 5; with averages 1908.01224 Eq. 8), shape (K,)."""
    return np.asarray((a * relu(D1)).sum(axis=(0, 1)))


def neuron_mask(grid: tuple[int, int], region: bool = False, subset: Neurons | None = None) -> Array:
    """1 at the chosen neurons, else 0: all (no subset), those listed, or the inclusive box that two span.

    Raises ValueError outside the grid, and for a region that is not two coordinates.
    """
    if subset is None:
        return np.ones(grid)
    if any(not (0 <= i < grid[0] and 0 <= j < grid[1]) for i, j in subset):
        raise ValueError(f"neuron outside the {grid[0]}x{grid[1]} grid: {list(subset)}")
    if region:
        (top, left), (bottom, right) = subset
        rows, cols = sorted((top, bottom)), sorted((left, right))
        subset = [(i, j) for i in range(rows[0], rows[1] + 1) for j in range(cols[0], cols[1] + 1)]
    mask = np.zeros(grid)
    for i, j in subset:
        mask[i, j] = 1
    return mask


def combine(
    w: Array,
    A: Array,
    filters: Sequence[int] | None = None,
    region: bool = False,
    subset: Neurons | None = None,
) -> Array:
    """sum_{k in filters} w_k A_k * mask (1710.11063's and 1908.01224's map before ReLU), (h, w), signed."""
    total = np.zeros(A.shape[:2])
    for k in range(A.shape[2]) if filters is None else set(filters):
        total += w[k] * A[:, :, k]
    return total * neuron_mask((A.shape[0], A.shape[1]), region, subset)


def saliency_from_samples(S: Sequence[float], g: Sequence[Array], A: Array, options: Options = DEFAULTS) -> Saliency:
    """Run all of Smooth Grad-CAM++ on samples' logits and gradients (h, w, K), with the clean image's A."""
    D1, D2, D3 = smooth_sums(S, g, options.score)
    w = weights(alpha(D1, D2, D3, A, options.numerator), D1)
    pre = combine(w, A, options.filters, options.region, options.subset)
    return Saliency(pre, relu(pre), guarded_cells(D2, D3, A))


def samples(
    network: SmallNetwork, layer: Layer, x: Array, c: int, noises: Sequence[Array], sigma: float
) -> tuple[list[float], list[Array]]:
    """Return S_c and dS_c/dA at each x + sigma e_m; at x alone when there is no noise (n = 0)."""
    held = [network.activations(x + sigma * e)[layer] for e in noises] or [network.activations(x)[layer]]
    S = [float(network.logits_from(layer, A)[c]) for A in held]
    return S, [network.gradient(layer, A, c) for A in held]


def smooth_grad_cam_pp(
    network: SmallNetwork,
    layer: Layer,
    x: Array,
    c: int,
    noises: Sequence[Array],
    sigma: float,
    options: Options = DEFAULTS,
) -> Saliency:
    """Smooth Grad-CAM++ (1908.01224) of class c at `layer`; `noises` are n standard-normal arrays like x."""
    S, g = samples(network, layer, x, c, noises, sigma)
    return saliency_from_samples(S, g, network.activations(x)[layer], options)


def grad_cam_pp(network: SmallNetwork, layer: Layer, x: Array, c: int) -> Saliency:
    """Grad-CAM++ (1710.11063 Eqs. 5 and 10) for Y = exp(S_c): one clean sample."""
    return smooth_grad_cam_pp(network, layer, x, c, [], 0.0)


def grad_cam(network: SmallNetwork, layer: Layer, x: Array, c: int) -> Saliency:
    """Grad-CAM (Selvaraju Eqs. 1, 2): w_k = mean_ij g_ijk, no guard."""
    A = network.activations(x)[layer]
    pre = combine(network.gradient(layer, A, c).mean(axis=(0, 1)), A)
    return Saliency(pre, relu(pre), 0)


def cam(dense_kernel: Array, A: Array, c: int) -> Array:
    """CAM (Zhou Eq. 2): sum_k W_kc A_k, (h, w), signed; dense_kernel is (K, classes)."""
    return combine(dense_kernel[:, c], A)


def jackknife_standard_error(S: Sequence[float], g: Sequence[Array], A: Array, options: Options = DEFAULTS) -> float:
    """sqrt(mean_ij SE_ij^2) / max(L), SE the delete-one jackknife of L over the noise samples.

    SE_ij^2 = (n-1)/n sum_m (L_(-m) - mean_m L_(-m))^2, each L_(-m) the whole method without sample m.
    NaN when fewer than two samples or a blank L leave it undefined.
    """

    def whole(kept: Sequence[int]) -> Array:
        return saliency_from_samples([S[m] for m in kept], [g[m] for m in kept], A, options).map

    n = len(S)
    peak = float(whole(range(n)).max())
    if n < 2 or peak == 0:
        return float("nan")
    left_out = np.stack([whole([m for m in range(n) if m != dropped]) for dropped in range(n)])
    variance = (n - 1) / n * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.sqrt(variance.mean())) / peak


def noise_effect(L: Array, clean: Array) -> float:
    """Pearson correlation of a map with the n = 0 map over the grid; NaN when either is constant."""
    a, b = L - L.mean(), clean - clean.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")
