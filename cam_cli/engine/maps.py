"""Saliency maps, with measures of how far each can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cam_cli.engine.evidence import ChannelEvidence
from cam_cli.engine.formulas import Array
from cam_cli.engine.model_analysis import Head
from cam_cli.engine.selection import Selection, weighted_sum
from cam_cli.window import WHOLE, Window


@dataclass(frozen=True)
class SaliencyMap:
    """One map of one image.

    values: (h, w) float32 at the layer's resolution, never normalised. target: class index. guarded_cells: cells of the
    chosen feature maps that the guard set to 0. noise_effect: Pearson correlation with the map without noise; 1 if noise
    provably has no effect, None if unknown. standard_error: over the noise, root mean square over the grid as a share of the
    map's peak; None if unknown. samples: number of noisy copies. exact: False if the closed form of the derivatives is an
    approximation. window: the part of the network's input that the map covers. sizes: (rows, columns) of the inputs whose maps
    are added up; empty for the input that decides on the predictions alone. against: the classes that the target is explained
    against.
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
    window: Window = WHOLE
    sizes: tuple[tuple[int, int], ...] = ()
    against: tuple[int, ...] = ()

    def broken(self) -> SaliencyMap:
        """Return the map for a score that is not finite, all NaN."""
        return replace(self, values=np.full_like(self.values, np.nan), noise_effect=None, standard_error=None)

    @property
    def state(self) -> str:
        """`ok`; `blank` if no cell is above 0; `nonfinite` if a cell is not finite."""
        if not np.isfinite(self.values).all():
            return "nonfinite"
        return "ok" if self.values.max() > 0 else "blank"


def smooth_map(
    evidence: ChannelEvidence, activations: Array, selection: Selection
) -> tuple[Array, float | None, float | None]:
    """L = ReLU(sum_k w_k A_k) (the paper, Eq. 9) with its noise effect and its standard error."""
    leave_outs = () if evidence.leave_outs is None else evidence.leave_outs
    rows = np.vstack([evidence.weights, evidence.clean, *leave_outs])
    values, clean, *partial = np.maximum(weighted_sum(rows, activations, selection), 0)
    return values, correlation(values, clean), _standard_error(values, partial)


def correlation(a: Array, b: Array) -> float | None:
    """Return the Pearson correlation of two maps; None if one of them is constant or not finite."""
    x, y = (m.astype(np.float64).ravel() - m.mean(dtype=np.float64) for m in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    if not np.isfinite(norm) or norm == 0:
        return None
    return float(np.clip(x @ y / norm, -1, 1))


def _standard_error(values: Array, leave_outs: Sequence[Array]) -> float | None:
    """Return the delete-a-group jackknife error over the noise samples; delete-one if one pass holds them all."""
    peak = float(values.max())
    groups = len(leave_outs)
    if not groups or not np.isfinite(peak) or peak <= 0:
        return None
    partial = np.array(leave_outs, np.float64)
    variance = (groups - 1) / groups * ((partial - partial.mean(axis=0)) ** 2).sum(axis=0)
    error = float(np.sqrt(variance.mean())) / peak
    return error if np.isfinite(error) else None
