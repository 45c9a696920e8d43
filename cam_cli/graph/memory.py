"""How much memory a network needs for one image, from the shapes in its traced graph, before anything is run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import tensorflow as tf

from cam_cli.errors import UsageError
from cam_cli.graph.operations import operations_between
from cam_cli.graph.trace import Trace
from cam_cli.machine import memory

_REUSING = {
    "Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "Cast", "BiasAdd", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu",
    "Sigmoid", "Tanh", "Softplus", "Exp", "Erf", "Neg", "Square", "Sqrt", "Rsqrt", "AddV2", "Add", "Sub", "Mul", "RealDiv",
    "Maximum", "Minimum", "ClipByValue", "FusedBatchNormV3", "StopGradient", "PreventGradient", "EnsureShape",
}  # fmt: skip
"""Operations whose result takes the memory of an input that nobody needs any more."""

_COPIES = 5
"""How often an image is held beside the network's own input: twice while it is decoded, then decoded, in a pass, and as the
pass's argument."""


def bytes_for_one_image(traced: Trace, layers: Sequence[tf.Tensor] = ()) -> int:
    """Return the least memory that one image takes: the network's values at a time, and the image as it is decoded and fed.

    Args:
        traced: the network.
        layers: outputs of the layers that are explained: what is computed from them is kept for the gradient.
    """
    operations = operations_between(traced.input, traced.output)
    users = Counter(source.ref() for op in operations for source in {s.ref(): s for s in op.inputs}.values())
    kept = {tensor.ref() for tensor in layers}
    sizes = {traced.input.ref(): _bytes(traced.input)}
    live = most = _bytes(traced.input)
    for op in operations:
        inputs = [source.ref() for source in op.inputs if source.ref() in sizes]
        kept_here = any(ref in kept for ref in inputs)
        for source in dict.fromkeys(inputs):
            users[source] -= 1
        free = [ref for ref in dict.fromkeys(inputs) if users[ref] == 0 and ref not in kept]
        for output in op.outputs:
            if not output.consumers() and output is not traced.output:
                continue
            size = _bytes(output)
            reused = next((ref for ref in free if op.type in _REUSING and sizes[ref] >= size), None)
            if reused is not None:
                free.remove(reused)
                live -= sizes[reused]
            sizes[output.ref()] = size
            live += size
            if kept_here:
                kept.add(output.ref())
        most = max(most, live)
        live -= sum(sizes[ref] for ref in free)
    return most + _COPIES * _bytes(traced.input)


def _bytes(tensor: tf.Tensor) -> int:
    count = tensor.shape.num_elements()
    return (count or 0) * tensor.dtype.size if tensor.dtype.size else 0


def images_in_memory(needed: int, input_shape: tuple[int, int, int]) -> int:
    """Return how many images fit into the machine's memory at a time; a GPU, which tells so by itself, is not judged.

    Args:
        needed: bytes for one image.
        input_shape: (H, W, C).

    Raises:
        UsageError: not even one fits.
    """
    available = memory()
    if not needed or available is None or tf.config.list_physical_devices("GPU"):
        return sys.maxsize
    if needed <= available:
        return available // needed
    rows, columns, _ = input_shape
    raise UsageError(
        f"an input of {rows}x{columns} needs about {needed / 1e9:.1f} GB of memory for one image, and this machine has "
        f"{available / 1e9:.1f} GB; choose a smaller --input-size"
    )
