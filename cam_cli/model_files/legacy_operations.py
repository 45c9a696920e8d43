"""What models of Keras 2 compute and Keras 3 has no layer for: operations of TensorFlow between layers, and `hard_sigmoid`.

Keras 2 recorded `x / 255.` and `tf.nn.relu6(x)` as layers that name a function of TensorFlow. Here such a layer calls that
function if it is one of `OPERATIONS`: they compute with numbers alone, and read, write and run nothing.
"""

import json
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

_MATH = """
    abs acos acosh add add_n argmax argmin asin asinh atan atan2 atanh ceil cos cosh count_nonzero cumprod cumsum divide
    divide_no_nan equal erf erfc exp expm1 floor floordiv floormod greater greater_equal is_finite is_inf is_nan l2_normalize
    less less_equal log log1p log_sigmoid logical_and logical_not logical_or maximum minimum mod multiply multiply_no_nan
    negative not_equal pow reciprocal reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
    reduce_std reduce_sum reduce_variance round rsqrt sigmoid sign sin sinh softmax softplus softsign sqrt square
    squared_difference subtract tan tanh top_k truediv xdivy zero_fraction
"""
_NN = """
    avg_pool avg_pool2d batch_normalization bias_add conv2d crelu depth_to_space depthwise_conv2d elu gelu l2_normalize
    leaky_relu local_response_normalization log_softmax max_pool max_pool2d moments relu relu6 selu sigmoid silu softmax
    softplus softsign space_to_depth swish tanh
"""
_ARRAYS = """
    argsort broadcast_to cast clip_by_norm clip_by_value concat dtypes.saturate_cast expand_dims fill gather identity
    linalg.band_part linalg.diag linalg.diag_part linalg.l2_normalize linalg.matmul linalg.matrix_transpose linalg.norm
    linalg.trace one_hot ones ones_like pad range rank repeat reshape reverse roll shape size slice sort split squeeze stack
    stop_gradient strided_slice tensordot einsum tile transpose unstack where zeros zeros_like
"""
_IMAGE = """
    adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop convert_image_dtype
    crop_to_bounding_box extract_patches flip_left_right flip_up_down grayscale_to_rgb hsv_to_rgb pad_to_bounding_box
    per_image_standardization resize resize_with_crop_or_pad resize_with_pad rgb_to_grayscale rgb_to_hsv rot90 transpose
"""
_OPERATORS = "add getitem"
_COMPAT = """
    argmax argmin boolean_mask concat count_nonzero expand_dims floor_div gather gather_nd linalg.l2_normalize norm pad
    reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum reshape shape size split
    squeeze strided_slice tile to_float transpose where zeros_like ones_like math.log_softmax math.scalar_mul math.softmax
    nn.avg_pool nn.conv2d nn.crelu nn.depth_to_space nn.depthwise_conv2d nn.fused_batch_norm nn.log_softmax nn.max_pool
    nn.moments nn.softmax nn.space_to_depth nn.weighted_moments
"""
OPERATIONS = frozenset(
    f"{prefix}{name}"
    for prefix, names in {
        "math.": _MATH, "nn.": _NN, "": _ARRAYS, "image.": _IMAGE, "__operators__.": _OPERATORS, "compat.v1.": _COMPAT,
    }.items()
    for name in names.split()
)  # fmt: skip
"""The functions of TensorFlow that a model of Keras 2 may call, named as in `tf.<name>`."""


def refused_operations(functions: Iterable[str]) -> list[str]:
    """Return those of the functions that are not in `OPERATIONS`, as `tf.<name>`, each once."""
    return sorted({f"tf.{name}" for name in functions if name not in OPERATIONS})


@keras.saving.register_keras_serializable("smoothcam", "keras_2_hard_sigmoid")
def keras_2_hard_sigmoid(x: Any) -> Any:
    """Return 0.2 x + 0.5, not below 0 and not above 1: what `hard_sigmoid` was in Keras 2."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable("smoothcam")
class TensorFlowOperation(keras.layers.Layer):
    """A function of TensorFlow as a layer, called on one tensor or a list of tensors.

    Args:
        function: one of `OPERATIONS`.
        first: its first argument; `{"input": n}` stands for the nth tensor, at any depth.
        keywords: its other arguments by name.

    Raises:
        ValueError: it is not one of `OPERATIONS`.
    """

    def __init__(self, function: str, first: Any, keywords: dict[str, Any], **options: Any) -> None:
        super().__init__(**{"autocast": False, **options})
        if function not in OPERATIONS:
            raise ValueError(f"tf.{function} is not among the operations that are rebuilt")
        self.function = function
        self.arguments = json.dumps([first, keywords])  # as text, which Keras does not track

    def call(self, tensors: Any) -> Any:
        """Return what the function returns for these tensors."""
        given = list(tensors) if isinstance(tensors, list | tuple) else [tensors]
        first, keywords = _filled(json.loads(self.arguments), given)
        if self.function == "__operators__.getitem":
            return first[_index(keywords["slice_spec"])]
        if self.function == "__operators__.add":
            return tf.math.add(first, **keywords)
        function: Any = tf
        for name in self.function.split("."):
            function = getattr(function, name)
        return function(first, **keywords)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        first, keywords = json.loads(self.arguments)
        return {**super().get_config(), "function": self.function, "first": first, "keywords": keywords}


def _filled(value: Any, tensors: list[Any]) -> Any:
    """Return a value with the tensors in it that `{"input": n}` stands for."""
    if isinstance(value, list):
        return [_filled(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"input"}:
        return tensors[value["input"]]
    return {key: _filled(item, tensors) for key, item in value.items()}


def _index(spec: Any) -> Any:
    """Return what stands between the brackets of `x[...]`."""
    if isinstance(spec, list | tuple):
        return tuple(_index(item) for item in spec)
    if not isinstance(spec, dict):
        return spec
    return Ellipsis if spec.get("class_name") == "__ellipsis__" else slice(spec["start"], spec["stop"], spec["step"])
