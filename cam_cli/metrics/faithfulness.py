"""Whether the network uses what a map shows: the probability of its class while pixels are hidden in the map's order.

Deletion and insertion: Petsiuk et al. 2018, RISE, arXiv 1806.07421, section 4. Average drop and increase in confidence:
Chattopadhay et al. 2018, Grad-CAM++, arXiv 1710.11063, section 4.1.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import UsageError
from cam_cli.metrics.metric import Metric

METRICS: Final = (
    Metric("deletion_auc", "mean probability while the hottest pixels go first, 0..1", "lower", "deletion AUC"),
    Metric("insertion_auc", "mean probability while the hottest pixels come first, 0..1", "higher", "insertion AUC"),
    Metric("average_drop", "drop of the probability if only what the map shows is kept, 0..1", "lower"),
    Metric("increase", "1 if the probability rises by that, else 0", "higher"),
)

Array = NDArray[np.float32]
Score = Callable[[Array], NDArray[Any]]
"""Inputs (N, H, W, C) to the probability of the class that is explained, (N,)."""

STEPS = 28
BLUR = 0.1
ROWS = 8
PERTURBATIONS = ("blur", "mean", "noise")


def faithfulness(
    x: Array, maps: Sequence[NDArray[Any]], score: Score, perturbation: str = "blur", steps: int = STEPS, seed: int = 0
) -> list[dict[str, float]]:
    """Measure how faithful the maps of one input and class are to the network: 2 * steps - 1 forward passes a map, and 2 more.

    Pixels of equal value change together, each by the share of them that is due; a blank map is a plain fade. If all values
    differ and `steps` divides the number of pixels, this is exactly the published procedure.

    Args:
        x: the network's own input, (H, W, C), preprocessed.
        maps: on the same pixels, (H, W) each; NaN counts as 0.
        score: called with at most `ROWS` inputs at a time.
        perturbation: what a hidden pixel turns into, see `perturbed`.
        steps: equal shares of the pixels that are hidden one after another. RISE hides a row of a 224-pixel image at a time;
            28 hides eight, and on two photographs gave areas within 0.005 of those of 56 steps.
        seed: of the noise.

    Returns:
        For each map
        deletion_auc: area under the probability while the pixels are hidden, highest first.
        insertion_auc: the same while they come back into the perturbed image, highest first.
        average_drop: max(0, Y - O) / Y, with Y the probability for x and O that for the input as far as the map shows it:
            each pixel a mix of x (by the map's positive part, divided by its maximum) and of its perturbation; the paper
            multiplies, which is a mix with zeros. 0 if Y is 0.
        increase: 1 if O > Y, else 0.
        All are NaN if the score is.

    Raises:
        UsageError: an unknown perturbation, no step, or a map of another size.
    """
    if steps < 1:
        raise UsageError(f"faithfulness needs at least one step, not {steps}")
    for saliency in maps:
        if saliency.shape != x.shape[:2]:
            raise UsageError(
                f"the map is {saliency.shape}, and the network's input {x.shape[:2]}; enlarge the map first"
            )
    hidden = perturbed(x, perturbation, seed)

    def scores() -> Iterator[float]:
        shares = _shares(x, maps, steps)
        while some := [*islice(shares, ROWS)]:
            share = np.stack(some)[..., None].astype(np.float32)
            yield from map(float, score(np.asarray(x * (1 - share) + hidden * share, np.float32)))

    found = scores()
    whole, nothing = islice(found, 2)
    return [_metrics(whole, nothing, [*islice(found, 2 * steps - 1)], steps) for _ in maps]


def _shares(x: Array, maps: Sequence[NDArray[Any]], steps: int) -> Iterator[NDArray[np.float64]]:
    """Yield how much of each pixel is hidden, (H, W) in 0..1: none, all, then for each map deletion, insertion and the map."""
    yield from (np.zeros(x.shape[:2]), np.ones(x.shape[:2]))
    for saliency in maps:
        values = np.nan_to_num(np.asarray(saliency, np.float64), nan=0.0)
        inner = _due(values, steps)[1:-1]
        yield from inner
        yield from 1 - inner
        positive = np.maximum(values, 0)
        yield 1 - (positive / positive.max() if positive.max() > 0 else positive)


def _metrics(whole: float, nothing: float, scores: Sequence[float], steps: int) -> dict[str, float]:
    deletion, insertion, seen = scores[: steps - 1], scores[steps - 1 : -1], scores[-1]
    return {
        "deletion_auc": _area([whole, *deletion, nothing]),
        "insertion_auc": _area([nothing, *insertion, whole]),
        "average_drop": float(np.maximum(0.0, whole - seen)) / whole if whole else 0.0,
        "increase": float(seen > whole) if np.isfinite(seen - whole) else float("nan"),
    }


def perturbed(x: Array, perturbation: str, seed: int = 0) -> Array:
    """Return an input (H, W, C) with nothing left in it to recognise, in the same units.

    `blur`: blurred with a Gaussian whose standard deviation is `BLUR` of each side. `mean`: its mean colour everywhere.
    `noise`: normal noise with the mean and the standard deviation of each channel, drawn by `seed`.
    """
    mean = x.mean(axis=(0, 1), dtype=np.float64)
    match perturbation:
        case "blur":
            down, across = (_gaussian(side) for side in x.shape[:2])
            hidden = np.einsum("ij,jkc,lk->ilc", down, x, across, optimize=True)
        case "mean":
            hidden = np.broadcast_to(mean, x.shape)
        case "noise":
            hidden = np.random.default_rng(seed).normal(mean, x.std(axis=(0, 1), dtype=np.float64), x.shape)
        case _:
            raise UsageError(f"unknown perturbation '{perturbation}'; choose one of {', '.join(PERTURBATIONS)}")
    return np.asarray(hidden, np.float32)


def _gaussian(side: int) -> NDArray[np.float64]:
    """Return the matrix that blurs a row of so many pixels; near the ends the weights inside it sum to 1."""
    at = np.arange(side)
    weights = np.exp(-0.5 * ((at[:, None] - at) / (BLUR * side)) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _due(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return how much of each pixel has changed after each of 0 to `steps` steps, (steps + 1, H, W) in 0..1."""
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    changed = np.linspace(0, values.size, steps + 1)[:, None]
    return np.asarray(np.clip((changed - before) / counts, 0, 1)[:, group.reshape(values.shape)])


def _area(scores: Sequence[float]) -> float:
    curve = np.asarray(scores, np.float64)
    return float((curve[:-1] + curve[1:]).mean() / 2)
