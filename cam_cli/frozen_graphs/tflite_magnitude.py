"""The values that a `.tflite` file is made for, judged by the size of its first weights.

Of a network that divides its input by 255, the converter leaves no division: it divides the first weights. These are then about
255 times smaller than weights that start from values around 1, whether those are as initialised, trained, or multiplied by a
batch norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BY_SIZE = (
    "nothing in the file says how its input is scaled: its first weights are as small as those of a model that divides by 255 "
    "itself, so it gets values from 0 to 255 (--mean and --std, or a card, say otherwise)"
)
NOT_SEEN = (
    "nothing in the file says how its input is scaled, and a factor that the converter folds into the weights cannot be seen: "
    "if the model was made with Rescaling, give --mean 0 --std 1"
)

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_PASSES = frozenset({"PAD", "PADV2", "MIRROR_PAD", "CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE"})

_SMALL = 0.04
"""The spread of a sum of products, for inputs of spread 1, below which weights are for values from 0 to 255. Networks have from
0.3 to 10; divided by 255, from 0.001 to 0.04."""

_SMALL_BESIDE_OTHERS = 0.1


def first_weights(
    operators: Sequence[Any], kinds: Sequence[str], values: Mapping[int, Any], image: int
) -> tuple[float, float] | None:
    """Return the gain of the first operation with weights, and the median gain of all others (NaN if there are none).

    The gain is the spread of its output for inputs of spread 1. None: something is computed from the image before it.
    """
    reached, first, known = {image}, -1, dict(values)
    for operator, kind in zip(operators, kinds, strict=True):
        if kind == "DEQUANTIZE" and int(operator.inputs[0]) in values:
            known[int(operator.outputs[0])] = values[int(operator.inputs[0])]
    for number, (operator, kind) in enumerate(zip(operators, kinds, strict=True)):
        if int(operator.inputs[0]) not in reached or kind == "SHAPE":
            continue
        if kind in _PASSES:
            reached |= {int(output) for output in operator.outputs}
        elif kind in _WEIGHTED:
            first = number
            break
        else:
            return None
    gains = dict(_gains(operators, kinds, known))
    if first not in gains:
        return None
    others = [gain for number, gain in gains.items() if number != first]
    return gains[first], float(np.median(others)) if others else float("nan")


def is_for_bytes(gain: float, others: float) -> bool:
    """Return True if the first gain is that of a network for values from 0 to 255."""
    return gain < _SMALL and not gain > _SMALL_BESIDE_OTHERS * others


def _gains(operators: Sequence[Any], kinds: Sequence[str], values: Mapping[int, Any]) -> Iterator[tuple[int, float]]:
    for number, (operator, kind) in enumerate(zip(operators, kinds, strict=True)):
        kernel = values.get(int(operator.inputs[1])) if kind in _WEIGHTED else None
        if isinstance(kernel, np.ndarray) and kernel.size:
            yield number, _gain(kernel, kind)


def _gain(kernel: NDArray[Any], kind: str) -> float:
    added = kernel.size // kernel.shape[-1 if kind == "DEPTHWISE_CONV_2D" else 0]
    return float(np.sqrt(np.mean(np.square(kernel, dtype=np.float64)) * added))
