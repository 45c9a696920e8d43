"""Dilated convolutions, which TensorFlow Lite writes as three operations.

The converter moves the pixels of a grid of every n-th pixel into images of their own (SPACE_TO_BATCH_ND), convolves these, and
moves the pixels back (BATCH_TO_SPACE_ND). A map of the convolution between them would be of such a grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.frozen_graphs.tflite_operations import CROPPED, PADDED

_VALID = 1


def joined(operators: Sequence[Any], kinds: Sequence[str], constants: Mapping[int, NDArray[Any]]) -> list[str]:
    """Return the kinds of operators after each of the three is a padding, a dilated convolution and a cropping.

    Args:
        operators: of a file; the options of the convolutions found get their dilation.
        kinds: of the operators.
        constants: the values of tensors, by number.
    """
    kinds = list(kinds)
    maker = {int(operator.outputs[0]): at for at, operator in enumerate(operators)}
    uses = Counter(int(number) for operator in operators for number in operator.inputs)
    for last, operator in enumerate(operators):
        if kinds[last] != "BATCH_TO_SPACE_ND":
            continue
        middle = maker.get(int(operator.inputs[0]), -1)
        first = maker.get(int(operators[middle].inputs[0]), -1) if middle >= 0 else -1
        if first < 0 or kinds[first] != "SPACE_TO_BATCH_ND" or not _is_plain(operators[middle], kinds[middle]):
            continue
        spread, joint = (constants.get(int(operators[at].inputs[1])) for at in (first, last))
        alone = all(uses[int(operators[at].outputs[0])] == 1 for at in (first, middle))
        if alone and spread is not None and joint is not None and spread.size == 2 and np.array_equal(spread, joint):
            options = operators[middle].builtinOptions
            options.dilationHFactor, options.dilationWFactor = (int(n) for n in spread.reshape(-1))
            kinds[first], kinds[last] = PADDED, CROPPED
    return kinds


def _is_plain(operator: Any, kind: str) -> bool:
    o = operator.builtinOptions
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    return bool(o.padding == _VALID and o.strideH == o.strideW == o.dilationHFactor == o.dilationWFactor == 1)
