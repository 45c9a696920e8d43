"""The operations of TensorFlow Lite as operations of TensorFlow, in floating point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.frozen_graphs.description import UnreadableError

Tensor = Any


@dataclass(frozen=True)
class Arguments:
    """What an operation gets.

    options: of its kind, from the file. inputs: tensors or arrays of real numbers, None where one is left out. raw: the same
    as the file has them, None where they are not constant. shapes: of its outputs, as the file says. image: the tensor that
    the network is fed.
    """

    options: Any
    inputs: list[Any]
    raw: list[NDArray[Any] | None]
    shapes: list[list[int]]
    image: Any = None

    def numbers(self, index: int) -> list[int]:
        """Return a constant input of whole numbers, such as axes."""
        values = self.raw[index] if index < len(self.raw) else None
        if values is None:
            raise UnreadableError("computes sizes or axes from the image itself, which smoothcam does not follow")
        return [int(n) for n in values.reshape(-1)]

    def size(self, index: int) -> Any:
        """Return an input that is a shape. A size of -n in it stands for n times the number of images."""
        values = self.raw[index] if index < len(self.raw) else None
        if values is None:
            return self.inputs[index]
        return tf.stack([tf.shape(self.image)[0] * -int(n) if n < 0 else int(n) for n in values.reshape(-1)])

    def optional(self, index: int) -> Any:
        """Return an input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None


Operation = Callable[[Arguments], Any]

_INT32, _INT64 = 2, 4
"""Types of tensors in the schema."""

PADDED, CROPPED = "padded for a dilated convolution", "cropped after a dilated convolution"

_PADDING = {0: "SAME", 1: "VALID"}
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: tf.nn.relu,
    2: lambda x: tf.minimum(tf.maximum(x, -1.0), 1.0),
    3: tf.nn.relu6,
    4: tf.tanh,
}


def _activated(arguments: Arguments, tensor: Tensor) -> Tensor:
    number = getattr(arguments.options, "fusedActivationFunction", 0) or 0
    if number not in _ACTIVATIONS:
        raise UnreadableError(f"has an activation function (number {number}) that smoothcam does not know")
    return _ACTIVATIONS[number](tensor)


def _with_bias(arguments: Arguments, tensor: Tensor) -> Tensor:
    bias = arguments.optional(2)
    if bias is not None:
        tensor = tf.nn.bias_add(tensor, tf.reshape(bias, (-1,)) if tf.is_tensor(bias) else np.reshape(bias, -1))
    return _activated(arguments, tensor)


def _convolution(arguments: Arguments) -> Tensor:
    o, (x, kernel) = arguments.options, arguments.inputs[:2]
    kernel = tf.transpose(kernel, (1, 2, 3, 0)) if tf.is_tensor(kernel) else np.transpose(kernel, (1, 2, 3, 0))
    dilations = [1, o.dilationHFactor, o.dilationWFactor, 1]
    return _with_bias(
        arguments, tf.nn.conv2d(x, kernel, [1, o.strideH, o.strideW, 1], _PADDING[o.padding], dilations=dilations)
    )


def _depthwise(arguments: Arguments) -> Tensor:
    o, (x, kernel) = arguments.options, arguments.inputs[:2]
    channels = x.shape[-1]
    shape = (kernel.shape[1], kernel.shape[2], channels, kernel.shape[3] // channels)
    kernel = tf.reshape(kernel, shape) if tf.is_tensor(kernel) else kernel.reshape(shape)
    dilations = [o.dilationHFactor, o.dilationWFactor]
    strides = [1, o.strideH, o.strideW, 1]
    if o.strideH != o.strideW:
        raise UnreadableError("has a depthwise convolution whose strides differ, which TensorFlow cannot compute")
    return _with_bias(arguments, tf.nn.depthwise_conv2d(x, kernel, strides, _PADDING[o.padding], dilations=dilations))


def _transposed_convolution(arguments: Arguments) -> Tensor:
    o, (_, kernel, x) = arguments.options, arguments.inputs[:3]
    declared = arguments.raw[0]
    _, rows, columns, channels = arguments.shapes[0] if declared is None else map(int, declared)
    size = tf.stack([tf.shape(x)[0], rows, columns, channels])
    made = tf.nn.conv2d_transpose(
        x, np.transpose(kernel, (1, 2, 0, 3)), size, [1, o.strideH, o.strideW, 1], _PADDING[o.padding]
    )
    bias = arguments.optional(3)
    return _activated(arguments, made if bias is None else tf.nn.bias_add(made, bias))


def _dense(arguments: Arguments) -> Tensor:
    x, kernel = arguments.inputs[:2]
    width = kernel.shape[1]
    flat = x if x.shape.rank == 2 or getattr(arguments.options, "keepNumDims", False) else tf.reshape(x, (-1, width))
    kernel = tf.transpose(kernel) if tf.is_tensor(kernel) else np.transpose(kernel)
    return _with_bias(arguments, tf.matmul(flat, kernel) if flat.shape.rank == 2 else tf.tensordot(flat, kernel, 1))


def _pooling(function: Callable[..., Tensor]) -> Operation:
    def make(arguments: Arguments) -> Tensor:
        o = arguments.options
        window, strides = [1, o.filterHeight, o.filterWidth, 1], [1, o.strideH, o.strideW, 1]
        return _activated(arguments, function(arguments.inputs[0], window, strides, _PADDING[o.padding]))

    return make


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda arguments: _activated(arguments, function(arguments.inputs[0], arguments.inputs[1]))


def _unary(function: Callable[[Tensor], Tensor]) -> Operation:
    return lambda arguments: function(arguments.inputs[0])


def _reduction(function: Callable[..., Tensor]) -> Operation:
    return lambda arguments: function(
        arguments.inputs[0], arguments.numbers(1), keepdims=bool(arguments.options.keepDims)
    )


def _reshape(arguments: Arguments) -> Tensor:
    """Reshape for any batch: a size that begins with a batch of 1 gets an open one."""
    if len(arguments.raw) > 1 and arguments.raw[1] is None:
        return tf.reshape(arguments.inputs[0], arguments.inputs[1])
    declared = arguments.raw[1] if len(arguments.raw) > 1 else None
    size = list(arguments.shapes[0]) if declared is None else [int(n) for n in declared.reshape(-1)]
    if not size and declared is None and arguments.options is not None and arguments.options.newShape is not None:
        size = [int(n) for n in arguments.options.newShape]
    if size and size[0] == 1:
        size = [-1, *(arguments.shapes[0][1:] if -1 in size[1:] else size[1:])]
    size = [max(n, -1) for n in size]  # -n stands for n times the number of images
    return tf.reshape(arguments.inputs[0], size)


def _squeeze(arguments: Arguments) -> Tensor:
    x = arguments.inputs[0]
    dims = arguments.options.squeezeDims
    axes = (
        [i for i, n in enumerate(x.shape) if i and n == 1] if dims is None or not len(dims) else [int(n) for n in dims]
    )
    return tf.squeeze(x, axes) if axes else x


def _resizing(function: Callable[..., Tensor]) -> Operation:
    def make(arguments: Arguments) -> Tensor:
        o = arguments.options
        return function(
            images=arguments.inputs[0],
            size=arguments.numbers(1),
            align_corners=bool(o.alignCorners),
            half_pixel_centers=bool(o.halfPixelCenters),
        )

    return make


def _strided_slice(arguments: Arguments) -> Tensor:
    o = arguments.options
    begin, end, strides = (arguments.numbers(i) for i in (1, 2, 3))
    whole_batch = 0 if o.shrinkAxisMask & 1 or len(arguments.inputs[0].shape) < 2 else 1
    return tf.raw_ops.StridedSlice(
        input=arguments.inputs[0],
        begin=begin,
        end=end,
        strides=strides,
        begin_mask=o.beginMask | whole_batch,
        end_mask=o.endMask | whole_batch,
        ellipsis_mask=o.ellipsisMask,
        new_axis_mask=o.newAxisMask,
        shrink_axis_mask=o.shrinkAxisMask,
    )


def _slice(arguments: Arguments) -> Tensor:
    begin, size = arguments.numbers(1), arguments.numbers(2)
    x = arguments.inputs[0]
    return tf.slice(x, begin, size) if len(x.shape) < 2 else tf.slice(x, [0, *begin[1:]], [-1, *size[1:]])


def _padding(arguments: Arguments) -> Tensor:
    pairs = np.reshape(arguments.numbers(1), (-1, 2))
    value = arguments.raw[2] if len(arguments.raw) > 2 else None
    real = arguments.inputs[2] if value is not None else 0.0
    return tf.pad(arguments.inputs[0], pairs, constant_values=float(np.asarray(real).reshape(-1)[0]))


def _mirrored(arguments: Arguments) -> Tensor:
    pairs = np.reshape(arguments.numbers(1), (-1, 2))
    return tf.pad(arguments.inputs[0], pairs, "REFLECT" if arguments.options.mode == 0 else "SYMMETRIC")


def _softmax(arguments: Arguments) -> Tensor:
    x, beta = arguments.inputs[0], arguments.options.beta
    return tf.nn.softmax(x if beta == 1 else x * beta)


def _matmul(arguments: Arguments) -> Tensor:
    o = arguments.options
    return tf.matmul(*arguments.inputs[:2], transpose_a=bool(o.adjX), transpose_b=bool(o.adjY))


def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return tf.nn.relu(x) - alpha * tf.nn.relu(-x)


def _gelu(arguments: Arguments) -> Tensor:
    return tf.nn.gelu(arguments.inputs[0], bool(getattr(arguments.options, "approximate", False)))


def _split(arguments: Arguments) -> Tensor:
    return tf.split(arguments.inputs[1], arguments.options.numSplits, arguments.numbers(0)[0])


def _split_by_size(arguments: Arguments) -> Tensor:
    return tf.split(arguments.inputs[0], arguments.numbers(1), arguments.numbers(2)[0])


def _same(arguments: Arguments) -> Tensor:
    x = arguments.inputs[0]
    return x if tf.is_tensor(x) else tf.constant(x)


def _cast(arguments: Arguments) -> Tensor:
    """Cast to floating point, but for sizes: whole numbers that the file casts to whole numbers."""
    x = arguments.inputs[0]
    wanted = getattr(arguments.options, "outDataType", None)
    if wanted in (_INT32, _INT64) and not (tf.is_tensor(x) and x.dtype.is_floating):
        return tf.cast(x, tf.int32 if wanted == _INT32 else tf.int64)
    return x if tf.is_tensor(x) and x.dtype.is_floating else tf.cast(x, tf.float32)


def shape_of(tensor: Tensor) -> NDArray[np.int32] | None:
    """Return the shape of a tensor, -1 for the number of images, or None if more of it is open."""
    sizes = tensor.shape.as_list() if tf.is_tensor(tensor) else list(tensor.shape)
    if None in sizes[1:]:
        return None
    return np.array([-1 if size is None else size for size in sizes], np.int32)


def _fill(arguments: Arguments) -> Tensor:
    return tf.fill(arguments.size(0), tf.reshape(arguments.inputs[1], ()))


def _padded_for_dilation(arguments: Arguments) -> Tensor:
    return tf.pad(arguments.inputs[0], [(0, 0), *np.reshape(arguments.numbers(2), (-1, 2)), (0, 0)])


def _cropped_after_dilation(arguments: Arguments) -> Tensor:
    x = arguments.inputs[0]
    (top, bottom), (left, right) = np.reshape(arguments.numbers(2), (2, 2))
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _local_response(arguments: Arguments) -> Tensor:
    o = arguments.options
    return tf.nn.local_response_normalization(arguments.inputs[0], o.radius, o.bias, o.alpha, o.beta)


OPERATIONS: Mapping[str, Operation] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "AVERAGE_POOL_2D": _pooling(tf.nn.avg_pool2d),
    "MAX_POOL_2D": _pooling(tf.nn.max_pool2d),
    "ADD": _binary(tf.add),
    "SUB": _binary(tf.subtract),
    "MUL": _binary(tf.multiply),
    "DIV": _binary(tf.divide),
    "MAXIMUM": _binary(tf.maximum),
    "MINIMUM": _binary(tf.minimum),
    "SQUARED_DIFFERENCE": _binary(tf.math.squared_difference),
    "POW": _binary(tf.pow),
    "FLOOR_DIV": _binary(tf.math.floordiv),
    "FLOOR_MOD": _binary(tf.math.floormod),
    "GREATER": lambda arguments: tf.greater(*arguments.inputs[:2]),
    "GREATER_EQUAL": lambda arguments: tf.greater_equal(*arguments.inputs[:2]),
    "LESS": lambda arguments: tf.less(*arguments.inputs[:2]),
    "LESS_EQUAL": lambda arguments: tf.less_equal(*arguments.inputs[:2]),
    "EQUAL": lambda arguments: tf.equal(*arguments.inputs[:2]),
    "NOT_EQUAL": lambda arguments: tf.not_equal(*arguments.inputs[:2]),
    "LOGICAL_AND": lambda arguments: tf.logical_and(*arguments.inputs[:2]),
    "LOGICAL_OR": lambda arguments: tf.logical_or(*arguments.inputs[:2]),
    "LOGICAL_NOT": _unary(tf.logical_not),
    "SELECT": lambda arguments: tf.where(*arguments.inputs[:3]),
    "SELECT_V2": lambda arguments: tf.where(*arguments.inputs[:3]),
    "ADD_N": lambda arguments: tf.add_n(arguments.inputs),
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": lambda arguments: tf.expand_dims(arguments.inputs[0], arguments.numbers(1)[0]),
    "TRANSPOSE": lambda arguments: tf.transpose(arguments.inputs[0], arguments.numbers(1)),
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _unary(tf.nn.log_softmax),
    "LOGISTIC": _unary(tf.sigmoid),
    "TANH": _unary(tf.tanh),
    "RELU": _unary(tf.nn.relu),
    "RELU6": _unary(tf.nn.relu6),
    "RELU_N1_TO_1": _unary(_ACTIVATIONS[2]),
    "LEAKY_RELU": lambda arguments: tf.nn.leaky_relu(arguments.inputs[0], arguments.options.alpha),
    "ELU": _unary(tf.nn.elu),
    "PRELU": lambda arguments: _prelu(*arguments.inputs[:2]),
    "HARD_SWISH": lambda arguments: arguments.inputs[0] * (tf.nn.relu6(arguments.inputs[0] + 3.0) * np.float32(1 / 6)),
    "GELU": _gelu,
    "EXP": _unary(tf.exp),
    "LOG": _unary(tf.math.log),
    "SQRT": _unary(tf.sqrt),
    "RSQRT": _unary(tf.math.rsqrt),
    "SQUARE": _unary(tf.square),
    "SIGN": _unary(tf.sign),
    "FLOOR": _unary(tf.floor),
    "CEIL": _unary(tf.math.ceil),
    "ROUND": _unary(tf.round),
    "ABS": _unary(tf.abs),
    "NEG": _unary(tf.negative),
    "SIN": _unary(tf.sin),
    "COS": _unary(tf.cos),
    "MEAN": _reduction(tf.reduce_mean),
    "SUM": _reduction(tf.reduce_sum),
    "REDUCE_MAX": _reduction(tf.reduce_max),
    "REDUCE_MIN": _reduction(tf.reduce_min),
    "REDUCE_PROD": _reduction(tf.reduce_prod),
    "PAD": _padding,
    "PADV2": _padding,
    "MIRROR_PAD": _mirrored,
    "CONCATENATION": lambda arguments: _activated(arguments, tf.concat(arguments.inputs, arguments.options.axis)),
    "PACK": lambda arguments: tf.stack(arguments.inputs, arguments.options.axis),
    "UNPACK": lambda arguments: tf.unstack(arguments.inputs[0], arguments.options.num, arguments.options.axis),
    "SPLIT": _split,
    "SPLIT_V": _split_by_size,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": lambda arguments: tf.gather(arguments.inputs[0], arguments.numbers(1), axis=arguments.options.axis),
    "RESIZE_BILINEAR": _resizing(tf.compat.v1.image.resize_bilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resizing(tf.compat.v1.image.resize_nearest_neighbor),
    "L2_NORMALIZATION": lambda arguments: tf.math.l2_normalize(arguments.inputs[0], -1),
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "SPACE_TO_DEPTH": lambda arguments: tf.nn.space_to_depth(arguments.inputs[0], arguments.options.blockSize),
    "DEPTH_TO_SPACE": lambda arguments: tf.nn.depth_to_space(arguments.inputs[0], arguments.options.blockSize),
    "QUANTIZE": _same,
    "DEQUANTIZE": _same,
    "CAST": _cast,
    "SHAPE": lambda arguments: tf.shape(arguments.inputs[0]),
    "FILL": _fill,
    "BROADCAST_TO": lambda arguments: tf.broadcast_to(arguments.inputs[0], arguments.size(1)),
    "TILE": lambda arguments: tf.tile(arguments.inputs[0], arguments.numbers(1)),
    "REVERSE_V2": lambda arguments: tf.reverse(arguments.inputs[0], arguments.numbers(1)),
    "ZEROS_LIKE": _unary(tf.zeros_like),
    "SPACE_TO_BATCH_ND": lambda a: tf.space_to_batch(a.inputs[0], a.numbers(1), np.reshape(a.numbers(2), (-1, 2))),
    "BATCH_TO_SPACE_ND": lambda a: tf.batch_to_space(a.inputs[0], a.numbers(1), np.reshape(a.numbers(2), (-1, 2))),
    PADDED: _padded_for_dilation,
    CROPPED: _cropped_after_dilation,
}
"""By the name that the schema of TensorFlow Lite has for them."""
