"""The sliding windows of pools and convolutions, as operations of OpenVINO on images (N, H, W, C) of fixed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cam_cli.engine.openvino_import import openvino

ops: Any = openvino().opset13


def floats(values: Any) -> Any:
    """Return a constant of floating-point numbers."""
    return ops.constant(np.asarray(values, np.float32))


def whole(values: Any) -> Any:
    """Return a constant of whole numbers."""
    return ops.constant(np.asarray(values, np.int64))


def like(value: float, tensor: Any) -> Any:
    """Return a number of the type of a tensor."""
    return ops.convert_like(floats(value), tensor)


class Windows:
    """The sliding windows of a pooling or a depthwise convolution over (N, H, W, C)."""

    def __init__(self, node: Any, kernel: Sequence[int], shape: Sequence[int], pooled: Sequence[int]) -> None:
        if node.get_attribute("data_format") not in (None, "NHWC"):
            raise ValueError("channels first")
        padding = node.get_attribute("padding")
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding {padding}")
        strides = [int(n) for n in node.get_attribute("strides")]
        self.kernel, self.strides = list(kernel), strides[1:3]
        self.shape, self.pooled = list(shape), list(pooled)
        totals = [
            max(0, (o - 1) * s + k - i) if padding == "SAME" else 0
            for i, o, k, s in zip(shape[1:3], pooled[1:3], self.kernel, self.strides, strict=True)
        ]
        self.before = [total // 2 for total in totals]
        self.after = [total - total // 2 for total in totals]
        self.fill_the_image = not any(totals) and all(
            k == s and o * s == i for i, o, k, s in zip(shape[1:3], pooled[1:3], self.kernel, self.strides, strict=True)
        )

    def cells(self, x: Any, fill: float) -> list[Any]:
        """Return, for each cell of a window, that cell of all windows: (N, h, w, C) each."""
        pads = [whole([0, *self.before, 0]), whole([0, *self.after, 0])]
        padded = ops.pad(x, *pads, "constant", like(fill, x)) if any(self.before + self.after) else x
        (_, h, w, _), (sy, sx) = self.pooled, self.strides
        return [
            ops.slice(
                padded,
                whole([i, j]),
                whole([i + (h - 1) * sy + 1, j + (w - 1) * sx + 1]),
                whole([sy, sx]),
                whole([1, 2]),
            )
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]

    def gathered(self, cells: Sequence[Any]) -> Any:
        """Return the sum of values at the cells of all windows, as (N, H, W, C): the transpose of `cells`."""
        if self.fill_the_image:
            (n, h, w, c), (ky, kx) = self.pooled, self.kernel
            joined = ops.concat([ops.unsqueeze(cell, whole(3)) for cell in cells], 3)
            parted = ops.transpose(ops.reshape(joined, whole([n, h, w, ky, kx, c]), False), whole([0, 1, 3, 2, 4, 5]))
            return ops.reshape(parted, whole(self.shape), False)
        total = None
        for number, cell in enumerate(cells):
            one = self._spread(cell, *divmod(number, self.kernel[1]))
            total = one if total is None else ops.add(total, one)
        return total

    def apart(self, values: Any) -> Any:
        """Return values, one for each window, as far from each other as the windows are, with 0 after each."""
        (n, h, w, c), (sy, sx) = self.pooled, self.strides
        if (sy, sx) == (1, 1):
            return values
        dealt, ends = ops.reshape(values, whole([n, h, 1, w, 1, c]), False), whole([0, 0, sy - 1, 0, sx - 1, 0])
        padded = ops.pad(dealt, whole([0] * 6), ends, "constant", like(0, values))
        return ops.reshape(padded, whole([n, h * sy, w * sx, c]), False)

    def _spread(self, values: Any, i: int, j: int) -> Any:
        """Return values, one for each window, where cell (i, j) of the windows lies in the image, and 0 elsewhere."""
        (_, h, w, _), (sy, sx) = self.pooled, self.strides
        return _shifted(self.apart(values), (i - self.before[0], j - self.before[1]), (h * sy, w * sx), self.shape[1:3])


def _shifted(x: Any, start: Sequence[int], sides: Sequence[int], wanted: Sequence[int]) -> Any:
    """Return images (N, h, w, C) moved by `start` within images of `wanted` rows and columns, with 0 elsewhere."""
    cut = [max(0, -first) for first in start]
    end = [min(side, size - first) for first, side, size in zip(start, sides, wanted, strict=True)]
    if any(cut) or end != list(sides):
        x = ops.slice(x, whole(cut), whole(end), whole([1, 1]), whole([1, 2]))
    before = [max(0, first) for first in start]
    after = [size - first - n + c for size, first, n, c in zip(wanted, before, end, cut, strict=True)]
    if not any(before + after):
        return x
    return ops.pad(x, whole([0, *before, 0]), whole([0, *after, 0]), "constant", like(0, x))
