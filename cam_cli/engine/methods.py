"""The formula of each method: a map from a layer's activations and gradients, or from the gradient at the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.evidence import ChannelEvidence
from cam_cli.engine.formulas import Array
from cam_cli.engine.selection import Selection, summed, weighted_sum
from cam_cli.methods import METHODS
from cam_cli.window import WHOLE, Window


@dataclass(frozen=True)
class LayerGradient:
    """A layer and its gradient, for one class of one image.

    A: (h, w, K) activations of the clean image. g: (h, w, K) their gradient. window: the part of the network's input that the
    layer covers; at a further input size, that part of the first input.
    """

    A: Array
    g: Array
    window: Window = WHOLE

    @property
    def mean_gradient(self) -> Array:
        """w_k = mean_ij g_ij (Grad-CAM, Selvaraju et al. 2017, arXiv 1610.02391, Eq. 1); (K,)."""
        return np.asarray(self.g.mean(axis=(0, 1)), np.float32)


@dataclass(frozen=True, kw_only=True)
class Findings(LayerGradient):
    """The results of all passes for one layer, one class and one image.

    clean: channel weights without noise. smoothed: channel weights with noise, if there was any.
    """

    clean: ChannelEvidence
    smoothed: ChannelEvidence | None = None


def gradcam(found: LayerGradient, selection: Selection) -> Array:
    """ReLU(sum_k w_k A_k) with mean gradients for weights (Selvaraju et al. 2017, Eq. 2)."""
    return _relu(weighted_sum(found.mean_gradient, found.A, selection))


def cam(found: LayerGradient, selection: Selection) -> Array:
    """sum_k W_kc A_k (Zhou et al. 2016, Eq. 2), signed; below global average pooling g_ij is W_kc / (h w)."""
    h, w, _ = found.A.shape
    return weighted_sum(found.mean_gradient * np.float32(h * w), found.A, selection)


def layercam(found: LayerGradient, selection: Selection) -> Array:
    """ReLU(sum_k ReLU(g_k) A_k), cell by cell (Jiang et al. 2021, LayerCAM, Eq. 5 and 6)."""
    return _relu(summed(_relu(found.g) * found.A, selection))


def hirescam(found: LayerGradient, selection: Selection) -> Array:
    """ReLU(sum_k g_k A_k), cell by cell (Draelos and Carin 2020, HiResCAM, arXiv 2011.08891, Eq. 5; the ReLU is ours)."""
    return _relu(summed(found.g * found.A, selection))


def activations(found: LayerGradient, selection: Selection) -> Array:
    """sum_k A_k over the chosen feature maps, signed, without weights."""
    return summed(found.A, selection)


def sensitivity(gradient: Array) -> Array:
    """Max over the channels of |dS/dx| (Simonyan et al. 2013, arXiv 1312.6034, section 3.1); (H, W, C) to (H, W).

    Of the averaged gradient it is SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825): signed gradients are averaged first.
    """
    return np.asarray(np.abs(gradient).max(axis=-1), np.float32)


@dataclass(frozen=True)
class SizeMaps:
    """The two maps of `twoscale` at one input size, which it adds up over sizes.

    coarse: (h, w) sum_k mean_ij(g_k) A_k, signed. fine: (h, w) LayerCAM, divided by its maximum. With the parts of the first
    input that they cover.
    """

    coarse: Array
    fine: Array
    coarse_window: Window
    fine_window: Window

    @classmethod
    def of(cls, coarse: LayerGradient, fine: LayerGradient) -> SizeMaps:
        """Return the maps of the two layers."""
        whole = Selection()
        detail = layercam(fine, whole)
        peak = detail.max()
        scaled = detail / peak if peak > 0 else np.zeros_like(detail)
        return cls(weighted_sum(coarse.mean_gradient, coarse.A, whole), scaled, coarse.window, fine.window)


def finest(sizes: Sequence[SizeMaps]) -> SizeMaps:
    """Return those of the input size whose fine layer has the most cells; `twoscale` has its grid."""
    return max(sizes, key=lambda size: size.fine.size)


def twoscale(sizes: Sequence[SizeMaps]) -> Array:
    """(C * sqrt(F))^(2/3), from Grad-CAM of a coarse layer and LayerCAM of a fine one (ours).

        C = N(sum_s U(sum_k mean_ij(g_k) A_k))         Grad-CAM of the last activation before pooling, over input sizes s
        F = N(sum_s U(LayerCAM_s / max LayerCAM_s))    LayerCAM of the last activation on the next larger grid

    N is the ReLU, divided by the maximum. U enlarges to the finest grid of all. To add up maps of several input sizes is
    CAMERAS's idea (Jalwana et al. 2021, arXiv 2106.10649). The power makes the region above half the maximum about as large
    as Grad-CAM's; it changes no order of cells.

    Returns:
        (h, w) float32 on the finest grid, 0..1; all 0 if C or F is blank, and 0 where the coarse layers do not see.
    """
    grid = finest(sizes)

    def added(maps: Iterable[tuple[Array, Window]]) -> Array:
        total = sum(enlarged(values, grid.fine.shape, window, grid.fine_window) for values, window in maps)
        return _relu(np.asarray(total, np.float32))

    C = added((size.coarse, size.coarse_window) for size in sizes)
    F = added((size.fine, size.fine_window) for size in sizes)
    if C.max() <= 0 or F.max() <= 0:
        return np.zeros(grid.fine.shape, np.float32)
    product = C / C.max() * np.sqrt(F / F.max())
    return np.asarray(product ** np.float32(METHODS["twoscale"].power), np.float32)


def enlarged(values: Array, grid: Sequence[int], covers: Window = WHOLE, to: Window = WHOLE) -> Array:
    """Return a map enlarged bilinearly (half-pixel centres, edges clamped) to another grid.

    covers: the part of the input that the map covers. to: that of the other grid; it is 0 where it reaches past the first.
    """
    if covers == to:
        down, across = (_interpolation(new, old) for new, old in zip(grid, values.shape, strict=True))
        return np.asarray(down @ values @ across.T, np.float32)
    lying = covers.upright(values)
    rows, columns = to.upright(np.empty(grid, np.float32)).shape
    down = _resampling(rows, to.top, to.bottom, lying.shape[0], covers.top, covers.bottom)
    across = _resampling(columns, to.left, to.right, lying.shape[1], covers.left, covers.right)
    return np.ascontiguousarray(to.as_grid(down @ lying @ across.T), np.float32)


def _interpolation(new: int, old: int) -> Array:
    return _linear((np.arange(new) + 0.5) * old / new - 0.5, old)


def _resampling(new: int, first: float, last: float, old: int, low: float, high: float) -> Array:
    """Return the weights of `old` cells that cover low..high for `new` cells that cover first..last, (new, old)."""
    share = (first + (np.arange(new) + 0.5) * (last - first) / new - low) / (high - low)
    seen = (share >= 0) & (share <= 1)
    return np.asarray(_linear(share * old - 0.5, old) * seen[:, None], np.float32)


def _linear(at: NDArray[np.floating], cells: int) -> Array:
    """Return the weight of each cell for positions between their centres, (positions, cells)."""
    clamped = np.clip(at, 0, cells - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(clamped[:, None] - np.arange(cells))), np.float32)


def _relu(values: Array) -> Array:
    return np.maximum(values, np.float32(0))


LAYER_FORMULAS: dict[str, Callable[[LayerGradient, Selection], Array]] = {
    "gradcam": gradcam,
    "cam": cam,
    "layercam": layercam,
    "hirescam": hirescam,
    "activations": activations,
}
TWO_LAYER_FORMULAS: dict[str, Callable[[Sequence[SizeMaps]], Array]] = {"twoscale": twoscale}
INPUT_FORMULAS: dict[str, Callable[[Array], Array]] = {"gradient": sensitivity, "smoothgrad": sensitivity}
"""The formulas of `cam_cli.methods.METHODS`, by family; the family `layer++` is `maps.smooth_map`."""
