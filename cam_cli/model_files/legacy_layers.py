"""What the words of Keras 2 are in Keras 3: classes, arguments and activations, for each kind of layer.

The tables come from comparing what the layers of tf_keras 2.21 write with what the constructors of Keras 3.15 take, and from
the outputs of both on the same weights. Arguments that only older versions wrote were added from their sources.
"""

from typing import Any

import keras

from cam_cli.errors import ModelError

RENAMED_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",  # TensorFlow 1.13 to 1.15
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",  # another class for the training alone
    "UnifiedLSTM": "LSTM",  # TensorFlow 2.0 alpha
    "UnifiedGRU": "GRU",
    "DropoutV2": "Dropout",
    "Model": "Functional",  # before Keras 2.4
    "Network": "Functional",
    "ThresholdedReLU": "ReLU",
    "RandomCrop": "Resizing",  # without training it resizes in Keras 2, and does nothing in Keras 3
    "RandomHeight": "Identity",  # both change an image in the training alone
    "RandomWidth": "Identity",
}
"""Classes that Keras 3 does not have, and the class that computes the same."""

_OF_APPLICATIONS = {
    "LayerScale": ("convnext", {"init_values", "projection_dim"}),
    "StochasticDepth": ("convnext", {"drop_path_rate"}),
    "CustomScaleLayer": ("inception_resnet_v2", {"scale"}),
}
"""Layers that only keras.applications has: the module there in Keras 2 and 3, and the arguments that the layer has."""

_CONVOLUTIONS = {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D"}
_SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
_RECURRENT = {"RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
_OF_KERNEL = {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}

_NO_EFFECT = {
    "rng_type", "dynamic", "input_dtype", "input_dim", "input_length", "implementation", "num_constants", "shared_object_id",
    "robust_masking", "softmax_robust_masking",
}  # fmt: skip
"""Arguments that any layer of Keras 2 may have written, that change no output, and that Keras 3 refuses."""

_NO_EFFECT_ON = {
    "InputLayer": {"type_spec", "ragged", "optional"},
    "BatchNormalization": {"fused", "renorm_clipping", "renorm_momentum", "virtual_batch_size", "adjustment"},
    "SpatialDropout1D": {"noise_shape", "trainable"},
    "SpatialDropout2D": {"noise_shape", "trainable"},
    "SpatialDropout3D": {"noise_shape", "trainable"},
    "MultiHeadAttention": {"query_shape", "key_shape", "value_shape"},
    "Lambda": {"function_type", "module", "output_shape_type", "output_shape_module", "mask_type", "mask_module"},
    "Discretization": {"trainable"},
    "IntegerLookup": {"vocabulary_size"},
    "StringLookup": {"vocabulary_size"},
    "TextVectorization": {"vocabulary_size"},
    "Identity": {"factor", "interpolation", "seed"},
    "Resizing": {"seed"},
    "GRUCell": {"time_major"},
    "LSTMCell": {"time_major"},
    **{kind: {"filters", "groups", *_OF_KERNEL} for kind in ("DepthwiseConv1D", "DepthwiseConv2D")},
    **{kind: {"groups", *_OF_KERNEL} for kind in _SEPARABLE},
    **{kind: {"groups"} for kind in _CONVOLUTIONS if "Transpose" in kind},
}
"""The same for one kind of layer."""

_ONLY = {
    "time_major": (_RECURRENT, (None, False)),
    "groups": (_CONVOLUTIONS | _SEPARABLE, (None, 1)),
    "renorm": ({"BatchNormalization"}, (None, False)),
    "ragged": ({"InputLayer"}, (None, False)),
}
"""Arguments that Keras 3 does not have, the layers that had them, and the values under which the layer is the same."""

_RENAMED = {("LeakyReLU", "alpha"): "negative_slope", ("ReLU", "theta"): "threshold"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "GRU": {"reset_after": False},  # Keras 3: True; files that do not say it are older than the argument
    "GRUCell": {"reset_after": False},
    "LSTM": {"recurrent_activation": "hard_sigmoid"},
    "ConvLSTM2D": {"recurrent_activation": "hard_sigmoid"},  # Keras 3: sigmoid
    "RandomCrop": {"crop_to_aspect_ratio": True},
}
"""Values of arguments that are not in the file, where the two versions do not have the same default."""

CHANGED_ACTIVATIONS = {"hard_sigmoid": "smoothcam>keras_2_hard_sigmoid"}
"""Activations of the same name that compute something else: Keras 2 had 0.2 x + 0.5, Keras 3 has x / 6 + 0.5.

All others were compared on -8 to 8 and are equal: elu, exponential, gelu, leaky_relu, linear, log_softmax, mish, relu, relu6,
selu, sigmoid, silu, softmax, softplus, softsign, swish and tanh.
"""

_OTHER_NAMES = {
    "softmax_v2": "softmax", "swish_v2": "swish", "gelu_v2": "gelu", "identity": "linear", "hard_swish": "hard_silu",
    "swish_impl": "swish",
}  # fmt: skip
"""Names of the functions of TensorFlow that Keras 2 wrote for an activation."""

_INITIALISERS = {"normal": "truncated_normal"}


def modern_class(kind: str) -> str:
    """Return the name that a class of Keras 2 has in Keras 3."""
    return RENAMED_CLASSES.get(kind, kind)


def as_of_applications(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry of a layer that only keras.applications has, in the form of Keras 3; None for every other layer.

    A layer of the user's own may have the same name: it is told by the module, where the file names one, and its arguments.
    """
    name = str(entry["class_name"]).removeprefix("Custom>")
    family, own = _OF_APPLICATIONS.get(name, ("", {""}))
    module = f"keras.src.applications.{family}"
    written_in = str(entry.get("module") or module)
    arguments = {key: value for key, value in entry["config"].items() if key in own | {"name", "trainable", "dtype"}}
    if not own <= set(arguments) or not written_in.endswith(f"applications.{family}"):
        return None
    return {**entry, "module": module, "class_name": name, "registered_name": name, "config": arguments}


def modern_arguments(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a layer of Keras 2 as Keras 3 takes them.

    Args:
        kind: the layer's class in Keras 2.
        config: its arguments as the file has them; it is not changed.

    Raises:
        ModelError: the layer computes something that Keras 3 does not offer.
    """
    modern = modern_class(kind)
    for key, (kinds, allowed) in _ONLY.items():
        if modern in kinds and config.get(key) not in allowed:
            raise ModelError(
                f"has the {kind} layer {config.get('name')!r} with {key}={config[key]!r}, which Keras 3 does not offer; "
                "build the network without it and save it again"
            )
    left_out = _NO_EFFECT | _NO_EFFECT_ON.get(modern, set()) | {k for k, (kinds, _) in _ONLY.items() if modern in kinds}
    arguments = {
        _RENAMED.get((modern, key), key): _plain_number(value) for key, value in config.items() if key not in left_out
    }
    arguments = {**_DEFAULTS.get(kind, {}), **arguments}
    if modern == "BatchNormalization" and isinstance(axis := arguments.get("axis"), list) and len(axis) == 1:
        arguments["axis"] = axis[0]
    if modern in _RECURRENT | {"Bidirectional"}:
        arguments.pop("stateful", None)  # the state of another image is of no use here
    if modern == "Lambda":
        arguments = {key: _modern_code(value) for key, value in arguments.items()}
    return {key: modern_activation(value) if key.endswith("activation") else value for key, value in arguments.items()}


def modern_activation(value: Any) -> Any:
    """Return an activation as Keras 3 takes it: the name of a function or of a layer, or the description of either."""
    name = value
    if (
        isinstance(value, dict)
        and value.get("class_name") == "function"
        and ">" not in str(value.get("registered_name"))
    ):
        name = value.get("config")
    if not isinstance(name, str):
        return value
    name = _OTHER_NAMES.get(name, name)
    if ours := CHANGED_ACTIVATIONS.get(name):
        return {"module": "builtins", "class_name": "function", "config": ours, "registered_name": "function"}
    if isinstance(getattr(keras.layers, name, None), type):
        return {"module": "keras.layers", "class_name": name, "config": {}, "registered_name": None}
    return name if isinstance(value, str) or hasattr(keras.activations, name) else value


def modern_initialiser(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an initialiser, regulariser or constraint as Keras 3 takes them."""
    arguments = {key: value for key, value in config.items() if key != "dtype"}
    if arguments.get("distribution") in _INITIALISERS:
        arguments["distribution"] = _INITIALISERS[arguments["distribution"]]
    return arguments


def _modern_code(value: Any) -> Any:
    """Return the bytecode of a function, `[code, defaults, closure]`, as Keras 3 reads it; every other value as it is."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        value = {"class_name": "__lambda__", "config": dict(zip(("code", "defaults", "closure"), value, strict=True))}
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        code = value["config"]
        if isinstance(code.get("defaults"), list):
            return {**value, "config": {**code, "defaults": tuple(code["defaults"])}}
    return value


def _plain_number(value: Any) -> Any:
    """Return the number in `{"type": "ndarray", "value": 6.0}`, as Keras wrote it before TensorFlow 2."""
    return value["value"] if isinstance(value, dict) and set(value) == {"type", "value"} else value
