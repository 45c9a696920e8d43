"""The rank correlation of two maps, which is how maps are compared here: the picture they make, whatever their scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return the rank correlation of two maps of one shape over the cells that are finite in both, -1..1.

    Equal values share their mean rank. None where it is not defined: a map of one value only, such as a blank one.
    """
    known = np.isfinite(a) & np.isfinite(b)
    if np.count_nonzero(known) < 2:
        return None
    x, y = (_ranks(values[known]) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip((x @ y) / size, -1, 1)) if size > 0 else None


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(middle[group.ravel()], np.float64)
