"""The gradients that a frozen network is differentiated with.

Those of convolutions are convolutions with the mirrored kernel, which are faster than TensorFlow's own.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops

_MIRRORED = {"Conv2D": "SmoothcamConv2D", "DepthwiseConv2dNative": "SmoothcamDepthwiseConv2dNative"}
_GRADIENT = "_gradient_op_type"


def mirror(definition: Any) -> None:
    """Make the convolutions of a graph definition use the gradients below."""
    for node in definition.node:
        if node.op in _MIRRORED:
            node.attr[_GRADIENT].s = _MIRRORED[node.op].encode()


def drop_custom_gradients(definition: Any) -> None:
    """Make a graph definition use the derivatives of what it computes.

    A custom gradient, such as that of TensorFlow's swish, is a function of this process. It uses tensors of the graph that it
    was made in, and no copy of that graph has them.
    """
    for node in definition.node:
        if _GRADIENT in node.attr:
            del node.attr[_GRADIENT]


@tf.RegisterGradient(_MIRRORED["Conv2D"])
def _convolution(op: tf.Operation, g: tf.Tensor) -> Any:
    """The gradient of a correlation with W is a correlation with W mirrored and its channel axes exchanged."""
    images, kernel = op.inputs
    if kernel.shape[2] != images.shape[3]:
        return _of_groups(op, g), None
    if not _is_its_own_size(op):
        return ops.gradient_registry.lookup(op.type)(op, g)
    mirrored = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
    return tf.nn.conv2d(g, mirrored, 1, "SAME"), None


def _of_groups(op: tf.Operation, g: tf.Tensor) -> tf.Tensor:
    """Return the gradient of a grouped convolution, group by group: TensorFlow has none of the whole on a processor."""
    images, kernel = op.inputs
    groups = images.shape[3] // kernel.shape[2]
    how = {name: op.get_attr(name) for name in ("strides", "padding", "data_format", "dilations")}
    if kernel.shape[2] == 1 and how["padding"] != b"EXPLICIT" and set(how["dilations"]) == {1}:
        by_channel = tf.reshape(kernel, (*kernel.shape[:2], groups, -1))
        return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(images), filter=by_channel, out_backprop=g, **how
        )
    sizes = tf.shape(tf.split(images, groups, axis=3)[0])
    parts = zip(tf.split(kernel, groups, axis=3), tf.split(g, groups, axis=3), strict=True)
    explicit = op.get_attr("explicit_paddings")
    of_parts = [
        tf.raw_ops.Conv2DBackpropInput(
            input_sizes=sizes, filter=one, out_backprop=above, explicit_paddings=explicit, **how
        )
        for one, above in parts
    ]
    return tf.concat(of_parts, axis=3)


@tf.RegisterGradient(_MIRRORED["DepthwiseConv2dNative"])
def _depthwise_convolution(op: tf.Operation, g: tf.Tensor) -> Any:
    kernel = op.inputs[1]
    if not _is_its_own_size(op) or kernel.shape[3] != 1:
        return ops.gradient_registry.lookup(op.type)(op, g)
    return tf.nn.depthwise_conv2d(g, tf.reverse(kernel, (0, 1)), (1, 1, 1, 1), "SAME"), None


def _is_its_own_size(op: tf.Operation) -> bool:
    """Return True if a convolution keeps the number of rows and columns, so that its mirror image is a convolution too."""
    sides = tuple(op.inputs[1].shape[:2])
    return bool(
        op.get_attr("data_format") == b"NHWC"
        and set(op.get_attr("strides")) == set(op.get_attr("dilations")) == {1}
        and (sides == (1, 1) or (op.get_attr("padding") == b"SAME" and all(side % 2 for side in sides)))
    )
