"""Turns the frozen graph of a pass into a model of OpenVINO, with the gradient operations that its frontend does not know.

The formulas are those of TensorFlow's own kernels; all shapes are fixed, because a pass is traced with fixed sizes.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cam_cli.engine.folding import optimised
from cam_cli.engine.openvino_import import openvino
from cam_cli.engine.openvino_windows import Windows, floats, like, ops, whole
from cam_cli.engine.tracing import FrozenGraph
from cam_cli.errors import UnsupportedError
from cam_cli.text import one_line

ov = openvino()
_LONGEST_REASON = 200
_LARGEST_POOL = 64
"""Cells of a window: each of them becomes some operations."""
_UNKNOWN = re.compile(r"(?:Conversion is failed for|No conversion rule found for operations?):\s*([\w, ]+)")


def converted(graph: FrozenGraph, *, ends_at_a_layer: bool = False) -> Any:
    """Return a pass as an `openvino.Model` with the inputs and outputs of the graph, in their order.

    ends_at_a_layer: no gradient that the pass returns is computed from another one that it returns.

    Raises:
        UnsupportedError: an operation that neither OpenVINO nor this module knows.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow import ConversionExtension

    kept = (*graph.inputs, *graph.outputs)
    definition = optimised(graph.definition, kept, ["constfold"])  # such as kernels that are mirrored
    frontend = FrontEndManager().load_by_framework("tf")
    faster = {"ReluGrad": partial(_relu, as_product=True), "Relu6Grad": partial(_relu6, as_product=True)}
    for name, formula in (_FORMULAS | (faster if ends_at_a_layer else {})).items():
        frontend.add_extension(ConversionExtension(name, _conversion(formula)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pass.pb"
        path.write_bytes(definition.SerializeToString())
        try:
            source = frontend.load(str(path))
            source.override_all_inputs([source.get_place_by_tensor_name(name) for name in graph.inputs])
            source.override_all_outputs([source.get_place_by_tensor_name(name) for name in graph.outputs])
            model = frontend.convert(source)
            parameters = [model.input(name).get_node() for name in graph.inputs]
            return ov.Model([model.output(name).get_node() for name in graph.outputs], parameters, "pass")
        except Exception as error:
            unknown = _UNKNOWN.search(str(error))
            reason = f"OpenVINO does not know {unknown[1]}" if unknown else one_line(error, _LONGEST_REASON)
            raise UnsupportedError(reason) from error


def written(model: Any) -> tuple[bytes, bytes]:
    """Return a model as OpenVINO writes it: its graph as XML, and its weights in full precision."""
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder) / "pass.xml", Path(folder) / "pass.bin"
        ov.serialize(model, graph, weights)
        return graph.read_bytes(), weights.read_bytes()


def _shape(tensor: Any) -> list[int]:
    output = tensor.output(0) if isinstance(tensor, ov.Node) else tensor
    return [dimension.get_length() for dimension in output.get_partial_shape()]


def _constant(tensor: Any) -> list[int]:
    """Return the whole numbers of a constant; raises ValueError if it is none."""
    node = tensor.get_node()
    match node.get_type_name():
        case "Constant":
            return [int(value) for value in np.ravel(node.get_data())]
        case "Convert":
            return _constant(node.input_value(0))
        case "ShapeOf":
            return _shape(node.input_value(0))
    raise ValueError(f"a {node.get_type_name()} that is no constant")


def _where(condition: Any, gradient: Any, *, as_product: bool = False) -> Any:
    """Return the gradient where a condition holds, else 0.

    A product is faster, because OpenVINO moves it past changes of layout. But where the gradient is also an output of the pass,
    OpenVINO 2026.4 computes a wrong product.
    """
    if as_product:
        return ops.multiply(gradient, ops.convert(condition, gradient.get_element_type().to_string()))
    return ops.select(condition, gradient, like(0, gradient))


def _relu(node: Any, *, as_product: bool = False) -> Any:
    g, features = node.get_input(0), node.get_input(1)
    return _where(ops.greater(features, like(0, features)), g, as_product=as_product)


def _relu6(node: Any, *, as_product: bool = False) -> Any:
    g, features = node.get_input(0), node.get_input(1)
    above, below = ops.greater(features, like(0, features)), ops.less(features, like(6, features))
    return _where(ops.logical_and(above, below), g, as_product=as_product)


def _leaky_relu(node: Any) -> Any:
    g, features = node.get_input(0), node.get_input(1)
    slope = float(node.get_attribute("alpha"))
    return ops.select(ops.greater(features, like(0, features)), g, ops.multiply(g, like(slope, g)))


def _elu(node: Any) -> Any:
    g, y = node.get_input(0), node.get_input(1)
    return ops.select(ops.less(y, like(0, y)), ops.multiply(g, ops.add(y, like(1, y))), g)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _selu(node: Any) -> Any:
    g, y = node.get_input(0), node.get_input(1)
    below = ops.multiply(g, ops.add(y, like(_SELU_SCALE * _SELU_ALPHA, y)))
    return ops.select(ops.less(y, like(0, y)), below, ops.multiply(g, like(_SELU_SCALE, g)))


def _of_output(formula: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Return the conversion of a gradient that follows from the operation's output y and the gradient at it."""
    return lambda node: formula(node.get_input(0), node.get_input(1))


def _tanh(y: Any, g: Any) -> Any:
    return ops.multiply(g, ops.subtract(like(1, y), ops.multiply(y, y)))


def _sigmoid(y: Any, g: Any) -> Any:
    return ops.multiply(g, ops.multiply(y, ops.subtract(like(1, y), y)))


def _sqrt(y: Any, g: Any) -> Any:
    return ops.divide(ops.multiply(g, like(0.5, g)), y)


def _rsqrt(y: Any, g: Any) -> Any:
    return ops.multiply(ops.multiply(g, like(-0.5, g)), ops.multiply(y, ops.multiply(y, y)))


def _reciprocal(y: Any, g: Any) -> Any:
    return ops.negative(ops.multiply(g, ops.multiply(y, y)))


def _softplus(node: Any) -> Any:
    g, features = node.get_input(0), node.get_input(1)
    return ops.multiply(g, ops.sigmoid(features))


def _softsign(node: Any) -> Any:
    g, features = node.get_input(0), node.get_input(1)
    base = ops.add(ops.absolute(features), like(1, features))
    return ops.divide(g, ops.multiply(base, base))


def _batch_norm(node: Any) -> list[Any]:
    """The gradient of a batch norm with fixed statistics, dS/dx = g scale / sqrt(variance + epsilon); no other is needed."""
    if node.get_attribute("is_training"):
        raise ValueError("the gradient of a batch norm in training")
    g, scale, variance = node.get_input(0), node.get_input(2), node.get_input(4)
    epsilon = floats(float(node.get_attribute("epsilon")))
    dx = ops.multiply(g, ops.divide(scale, ops.sqrt(ops.add(variance, epsilon))))
    return [dx.output(0), *(floats([0.0]).output(0) for _ in range(4))]


def _windows_of_a_pool(node: Any, shape: Sequence[int], g: Any) -> Windows:
    kernel = [int(n) for n in node.get_attribute("ksize")][1:3]
    if math.prod(kernel) > _LARGEST_POOL:
        raise ValueError("the gradient of a pool over large windows")
    return Windows(node, kernel, shape, _shape(g))


def _max_pool(node: Any) -> Any:
    """The gradient goes to the first of a window's largest cells, row by row."""
    x, y, g = (node.get_input(i) for i in range(3))
    windows = _windows_of_a_pool(node, _shape(x), g)
    found, free = [], ops.convert_like(ops.broadcast(floats(1), whole(_shape(g))), g)
    for cell in windows.cells(x, -math.inf):
        hit = _where(ops.greater_equal(cell, y), free)
        free = ops.subtract(free, hit)
        found.append(ops.multiply(hit, g))
    return windows.gathered(found)


def _average_pool(node: Any) -> Any:
    """Each cell of a window gets an equal share; cells of the padding do not count."""
    shape, g = _constant(node.get_input(0)), node.get_input(1)
    windows = _windows_of_a_pool(node, shape, g)
    counts = [
        [min(o * s - b + k, i) - max(o * s - b, 0) for o in range(n)]
        for i, n, k, s, b in zip(
            shape[1:3], windows.pooled[1:3], windows.kernel, windows.strides, windows.before, strict=True
        )
    ]
    share = ops.divide(g, ops.convert_like(floats(np.multiply.outer(*counts)[None, :, :, None]), g))
    return windows.gathered([share] * math.prod(windows.kernel))


def _convolution(node: Any) -> Any:
    """The gradient of a convolution at its input: a convolution with the mirrored kernel, of values its strides apart.

    OpenVINO 2026.4 computes its own transposed convolution wrongly in the midst of some graphs.
    """
    shape, weights, g = _constant(node.get_input(0)), node.get_input(1).get_node(), node.get_input(2)
    if weights.get_type_name() != "Constant" or weights.get_data().shape[2] != shape[3]:
        raise ValueError("the gradient of a convolution whose kernel is computed, or of groups")
    kernel, dilations = weights.get_data(), _dilations(node)
    windows = Windows(node, _reach(kernel, dilations), shape, _shape(g))
    _, h, w, _ = windows.pooled
    sides = [(n - 1) * s + 1 for n, s in zip((h, w), windows.strides, strict=True)]
    apart = ops.slice(windows.apart(g), whole([0, 0]), whole(sides), whole([1, 1]), whole([1, 2]))
    before = [k - 1 - b for k, b in zip(windows.kernel, windows.before, strict=True)]
    after = [n + k - 1 - o - b for n, k, o, b in zip(shape[1:3], windows.kernel, sides, before, strict=True)]
    mirrored = floats(np.ascontiguousarray(kernel[::-1, ::-1].transpose(2, 3, 0, 1)))
    found = ops.convolution(ops.transpose(apart, whole([0, 3, 1, 2])), mirrored, [1, 1], before, after, dilations)
    return ops.transpose(found, whole([0, 2, 3, 1]))


def _depthwise(node: Any) -> Any:
    shape, kernel, g = _constant(node.get_input(0)), node.get_input(1), node.get_input(2)
    ky, kx, channels, factor = _shape(kernel)
    dilations = _dilations(node)
    windows = Windows(node, _reach(np.empty((ky, kx)), dilations), shape, _shape(g))
    covered = [
        (o - 1) * s + k - b - a
        for o, s, k, b, a in zip(
            windows.pooled[1:3], windows.strides, windows.kernel, windows.before, windows.after, strict=True
        )
    ]
    rest = [side - n for side, n in zip(shape[1:3], covered, strict=True)]
    parted = ops.reshape(ops.transpose(kernel, whole([2, 3, 0, 1])), whole([channels, factor, 1, ky, kx]), False)
    how = (windows.strides, None, windows.before, windows.after, dilations, "explicit", rest)
    found = ops.group_convolution_backprop_data(ops.transpose(g, whole([0, 3, 1, 2])), parted, *how)
    return ops.transpose(found, whole([0, 2, 3, 1]))


def _dilations(node: Any) -> list[int]:
    return [int(n) for n in node.get_attribute("dilations") or [1, 1, 1, 1]][1:3]


def _reach(kernel: Any, dilations: Sequence[int]) -> list[int]:
    return [(side - 1) * d + 1 for side, d in zip(kernel.shape[:2], dilations, strict=True)]


def _tile(node: Any) -> Any:
    """As a product where sides of 1 are repeated, as in the gradient of a mean: OpenVINO's own conversion fails around it."""
    x, times = node.get_input(0), _constant(node.get_input(1))
    if all(n == 1 or side == 1 for n, side in zip(times, _shape(x), strict=True)):
        return ops.multiply(x, ops.convert_like(floats(np.ones(times)), x))
    return ops.tile(x, whole(times))


def _blocks(node: Any, *, operation: Callable[..., Any]) -> Any:
    """Of a dilated convolution: rows and columns dealt out to the batch, or back; OpenVINO's own conversion loses the shape."""
    x, block, ends = node.get_input(0), _constant(node.get_input(1)), np.reshape(_constant(node.get_input(2)), (-1, 2))
    rest = len(_shape(x)) - 1 - len(block)
    sides = [whole([0, *ends[:, side], *[0] * rest]) for side in (0, 1)]
    return operation(x, whole([1, *block, *[1] * rest]), *sides)


def _strided_slice(node: Any) -> Any:
    """The gradient is 0 where nothing was taken; for slices that keep all axes and take every cell of a range."""
    shape, begin, end, strides = (_constant(node.get_input(i)) for i in range(4))
    g = node.get_input(4)
    masks = {name: int(node.get_attribute(f"{name}_mask")) for name in ("begin", "end", "shrink_axis")}
    if set(strides) != {1} or node.get_attribute("new_axis_mask") or node.get_attribute("ellipsis_mask"):
        raise ValueError("the gradient of a strided slice")
    before, after, kept = [0] * len(shape), [0] * len(shape), list(shape)
    for axis, (first, last) in enumerate(zip(begin, end, strict=True)):
        side, bit = shape[axis], 1 << axis
        start, stop, _ = slice(None if masks["begin"] & bit else first, None if masks["end"] & bit else last).indices(
            side
        )
        if masks["shrink_axis"] & bit:
            start, stop = first % side, first % side + 1
        before[axis], after[axis], kept[axis] = start, side - stop, stop - start
    return ops.pad(ops.reshape(g, whole(kept), False), whole(before), whole(after), "constant", like(0, g))


def _conversion(formula: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def convert(node: Any) -> list[Any]:
        found = formula(node)
        return found if isinstance(found, list) else [found.output(0)]

    return convert


_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "ReluGrad": _relu,
    "Relu6Grad": _relu6,
    "LeakyReluGrad": _leaky_relu,
    "EluGrad": _elu,
    "SeluGrad": _selu,
    "TanhGrad": _of_output(_tanh),
    "SigmoidGrad": _of_output(_sigmoid),
    "SqrtGrad": _of_output(_sqrt),
    "RsqrtGrad": _of_output(_rsqrt),
    "ReciprocalGrad": _of_output(_reciprocal),
    "InvGrad": _of_output(_reciprocal),
    "SoftplusGrad": _softplus,
    "SoftsignGrad": _softsign,
    "FusedBatchNormGradV3": _batch_norm,
    "MaxPoolGrad": _max_pool,
    "AvgPoolGrad": _average_pool,
    "Conv2DBackpropInput": _convolution,
    "DepthwiseConv2dNativeBackpropInput": _depthwise,
    "Tile": _tile,
    "StridedSliceGrad": _strided_slice,
    "SpaceToBatchND": partial(_blocks, operation=ops.space_to_batch),
    "BatchToSpaceND": partial(_blocks, operation=ops.batch_to_space),
}
