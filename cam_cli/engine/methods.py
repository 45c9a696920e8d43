"""The formula of each method: a map from a layer's activations and gradients, or from the gradient at the image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.evidence import ChannelEvidence
from cam_cli.engine.formulas import Array
from cam_cli.engine.selection import Selection, summed, weighted_sum
from cam_cli.window import WHOLE, Window


@dataclass(frozen=True)
class Findings:
    """The results of the passes for one layer, one class and one image.

    A: (h, w, K) activations of the clean image. g: (h, w, K) their gradient. clean: channel weights without noise.
    smoothed: channel weights with noise, if there was any. window: the part of the network's input that the layer covers.
    """

    A: Array
    g: Array
    clean: ChannelEvidence
    smoothed: ChannelEvidence | None = None
    window: Window = WHOLE

    @property
    def mean_gradient(self) -> Array:
        """w_k = mean_ij g_ij (Grad-CAM, Selvaraju et al. 2017, arXiv 1610.02391, Eq. 1); (K,)."""
        return np.asarray(self.g.mean(axis=(0, 1)), np.float32)


def gradcam(found: Findings, selection: Selection) -> Array:
    """ReLU(sum_k w_k A_k) with mean gradients for weights (Selvaraju et al. 2017, Eq. 2)."""
    return _relu(weighted_sum(found.mean_gradient, found.A, selection))


def cam(found: Findings, selection: Selection) -> Array:
    """sum_k W_kc A_k (Zhou et al. 2016, Eq. 2), signed; below global average pooling g_ij is W_kc / (h w)."""
    h, w, _ = found.A.shape
    return weighted_sum(found.mean_gradient * np.float32(h * w), found.A, selection)


def layercam(found: Findings, selection: Selection) -> Array:
    """ReLU(sum_k ReLU(g_k) A_k), cell by cell (Jiang et al. 2021, LayerCAM, Eq. 5 and 6)."""
    return _relu(summed(_relu(found.g) * found.A, selection))


def hirescam(found: Findings, selection: Selection) -> Array:
    """ReLU(sum_k g_k A_k), cell by cell (Draelos and Carin 2020, HiResCAM, arXiv 2011.08891, Eq. 5; the ReLU is ours)."""
    return _relu(summed(found.g * found.A, selection))


def activations(found: Findings, selection: Selection) -> Array:
    """sum_k A_k over the chosen feature maps, signed, without weights."""
    return summed(found.A, selection)


def sensitivity(gradient: Array) -> Array:
    """Max over the channels of |dS/dx| (Simonyan et al. 2013, arXiv 1312.6034, section 3.1); (H, W, C) to (H, W).

    Of the averaged gradient it is SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825): signed gradients are averaged first.
    """
    return np.asarray(np.abs(gradient).max(axis=-1), np.float32)


def twoscale(coarse: Findings, fine: Findings) -> Array:
    """C * sqrt(F), from Grad-CAM of a coarse layer and LayerCAM of a fine one (ours).

    C is Grad-CAM of the last activation before pooling, F is LayerCAM of the last activation on the next larger grid. Both are
    enlarged to the finer grid and divided by their maximum. It localises a single class better than Grad-CAM, though less so
    for large objects. It covers repeated objects a little less, and is worse at a fixed threshold of half the maximum.

    Returns:
        (h, w) float32 on the finer grid, 0..1; all 0 if either map is blank, and 0 where the coarse layer does not see.
    """
    whole = Selection()
    h, w, _ = fine.A.shape
    C = enlarged(gradcam(coarse, whole), (h, w), coarse.window, fine.window)
    F = layercam(fine, whole)
    if C.max() <= 0 or F.max() <= 0:
        return np.zeros((h, w), np.float32)
    return np.asarray(C / C.max() * np.sqrt(F / F.max()), np.float32)


def enlarged(values: Array, grid: tuple[int, int], covers: Window = WHOLE, to: Window = WHOLE) -> Array:
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


LAYER_FORMULAS: dict[str, Callable[[Findings, Selection], Array]] = {
    "gradcam": gradcam,
    "cam": cam,
    "layercam": layercam,
    "hirescam": hirescam,
    "activations": activations,
}
TWO_LAYER_FORMULAS: dict[str, Callable[[Findings, Findings], Array]] = {"twoscale": twoscale}
INPUT_FORMULAS: dict[str, Callable[[Array], Array]] = {"gradient": sensitivity, "smoothgrad": sensitivity}
"""The formulas of `cam_cli.methods.METHODS`, by family; the family `layer++` is `maps.smooth_map`."""
