"""Saliency maps, and what is known about how far each can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.evidence import ChannelEvidence
from cam_cli.engine.head import Head
from cam_cli.engine.selection import Selection, weighted_sum

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SaliencyMap:
    """One map of one image.

    values: (h, w) float32 at the layer's resolution, never normalised. target: class index. guarded_cells: cells of the
    chosen feature maps that the guard set to 0. noise_effect: Pearson correlation with the map without noise; 1 where
    noise provably cannot matter, None where it cannot be told. standard_error: over the noise, root mean
    square over the grid as a share of the map's peak; None where it cannot be told. samples: noisy copies it was made from.
    exact: False where the closed form of the derivatives is an approximation.
    """

    layer: str
    method: str
    target: int
    selection: Selection
    values: Array
    head: Head
    guarded_cells: int = 0
    noise_effect: float | None = None
    standard_error: float | None = None
    samples: int = 0
    exact: bool = True

    def broken(self) -> SaliencyMap:
        """Return this map for a score that is not finite: there is nothing it could be the explanation of."""
        return replace(self, values=np.full_like(self.values, np.nan), noise_effect=None, standard_error=None)

    @property
    def state(self) -> str:
        """`ok`; `blank` where no cell speaks for the class; `nonfinite` where the numbers broke down."""
        if not np.isfinite(self.values).all():
            return "nonfinite"
        return "ok" if self.values.max() > 0 else "blank"


def smooth_map(
    evidence: ChannelEvidence, activations: Array, selection: Selection
) -> tuple[Array, float | None, float | None]:
    """L = ReLU(sum_k w_k A_k) (the paper, Eq. 9) with its noise effect and its standard error."""
    rows = [
        evidence.weights[None],
        evidence.clean[None],
        *([] if evidence.leave_outs is None else [evidence.leave_outs]),
    ]
    values, clean, *partial = np.maximum(weighted_sum(np.concatenate(rows), activations, selection), 0)
    return values, correlation(values, clean), _standard_error(values, partial)


def correlation(a: Array, b: Array) -> float | None:
    """Pearson correlation of two maps; None where one of them is constant or not finite."""
    x, y = (m.astype(np.float64).ravel() - m.mean(dtype=np.float64) for m in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    if not np.isfinite(norm) or norm == 0:
        return None
    return float(np.clip(x @ y / norm, -1, 1))


def _standard_error(values: Array, leave_outs: Sequence[Array]) -> float | None:
    """Delete-a-group jackknife over the noise samples; delete-one where a pass holds them all."""
    peak = float(values.max())
    groups = len(leave_outs)
    if not groups or not np.isfinite(peak) or peak <= 0:
        return None
    partial = np.array(leave_outs, np.float64)
    variance = (groups - 1) / groups * ((partial - partial.mean(axis=0)) ** 2).sum(axis=0)
    error = float(np.sqrt(variance.mean())) / peak
    return error if np.isfinite(error) else None
