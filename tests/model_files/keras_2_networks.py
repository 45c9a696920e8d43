"""Networks of every kind of layer of Keras 2, and of every way in which such networks are put together.

`networks(k, tf)` builds them with any Keras 2: `tf_keras`, or `tf.keras` of TensorFlow 2.15 and older.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SHAPE = (8, 8, 3)
Builder = Callable[[], Any]


def with_random_weights(model: Any, seed: int = 5) -> Any:
    """Give every weight a value of its own, so that none can be taken for another."""
    random = np.random.default_rng(seed)
    values = [random.uniform(0.1, 0.9, w.shape).astype(w.dtype) if np.ndim(w) else w for w in model.get_weights()]
    model.set_weights(values)
    return model


def layer_kinds(k: Any) -> dict[str, Builder]:
    """Return a layer of each kind that takes images; the model round it is made by `networks`."""
    L = k.layers
    init = k.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return {
        "Conv2D": lambda: L.Conv2D(
            4, (3, 2), strides=2, padding="same", kernel_initializer=init, kernel_regularizer="l2"
        ),
        "Conv2D groups, dilated": lambda: L.Conv2D(6, 3, groups=3, dilation_rate=2, kernel_constraint="max_norm"),
        "Conv2D without bias": lambda: L.Conv2D(4, 1, use_bias=False, activation="swish"),
        "Conv2DTranspose": lambda: L.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1),
        "Conv2DTranspose valid": lambda: L.Conv2DTranspose(4, 3, strides=3),
        "DepthwiseConv2D": lambda: L.DepthwiseConv2D(3, depth_multiplier=2, depthwise_regularizer="l2"),
        "SeparableConv2D": lambda: L.SeparableConv2D(4, 3, depth_multiplier=2, dilation_rate=2),
        "BatchNormalization": lambda: L.BatchNormalization(epsilon=0.01),
        "BatchNormalization without scale": lambda: L.BatchNormalization(scale=False),
        "LayerNormalization": lambda: L.LayerNormalization(axis=[1, 2, 3]),
        "LayerNormalization of channels": lambda: L.LayerNormalization(),
        "GroupNormalization": lambda: L.GroupNormalization(groups=3),
        "UnitNormalization": lambda: L.UnitNormalization(),
        "SpectralNormalization": lambda: L.SpectralNormalization(L.Conv2D(4, 3)),
        "ReLU": lambda: L.ReLU(max_value=0.6, negative_slope=0.2, threshold=0.3),
        "LeakyReLU": lambda: L.LeakyReLU(0.13),
        "PReLU": lambda: L.PReLU(shared_axes=[1, 2]),
        "PReLU of each position": lambda: L.PReLU(),
        "ELU": lambda: L.ELU(0.7),
        "ThresholdedReLU": lambda: L.ThresholdedReLU(0.4),
        "Softmax": lambda: L.Softmax(axis=1),
        "Dropout": lambda: L.Dropout(0.5, noise_shape=(None, 1, 1, 3), seed=3),
        "SpatialDropout2D": lambda: L.SpatialDropout2D(0.3),
        "AlphaDropout": lambda: L.AlphaDropout(0.3),
        "GaussianDropout": lambda: L.GaussianDropout(0.3),
        "GaussianNoise": lambda: L.GaussianNoise(0.3),
        "ActivityRegularization": lambda: L.ActivityRegularization(0.1),
        "MaxPooling2D": lambda: L.MaxPooling2D(3, strides=2, padding="same"),
        "AveragePooling2D": lambda: L.AveragePooling2D(3, strides=2, padding="same"),
        "GlobalAveragePooling2D keepdims": lambda: L.GlobalAveragePooling2D(keepdims=True),
        "GlobalMaxPooling2D": lambda: L.GlobalMaxPooling2D(),
        "UpSampling2D nearest": lambda: L.UpSampling2D((2, 3)),
        "UpSampling2D bilinear": lambda: L.UpSampling2D(2, interpolation="bilinear"),
        "UpSampling2D bicubic": lambda: L.UpSampling2D(2, interpolation="bicubic"),
        "ZeroPadding2D": lambda: L.ZeroPadding2D(((1, 2), (3, 0))),
        "Cropping2D": lambda: L.Cropping2D(((1, 2), (3, 0))),
        "Permute": lambda: L.Permute((2, 1, 3)),
        "Reshape": lambda: L.Reshape((4, 16, 3)),
        "Flatten": lambda: L.Flatten(),
        "Dense on positions": lambda: L.Dense(5, activation="elu"),
        "EinsumDense": lambda: L.EinsumDense("abcd,de->abce", output_shape=(8, 8, 5), bias_axes="e"),
        "TimeDistributed": lambda: L.TimeDistributed(L.Conv1D(4, 3, padding="causal")),
        "TimeDistributed LSTM": lambda: L.TimeDistributed(L.LSTM(4)),
        "ConvLSTM1D": lambda: L.ConvLSTM1D(4, 3, return_sequences=True),
        "Rescaling": lambda: L.Rescaling(1 / 127.5, offset=-1),
        "Normalization given": lambda: L.Normalization(mean=[0.3, 0.4, 0.5], variance=[0.1, 0.2, 0.3]),
        "Normalization adapted": lambda: _adapted(L.Normalization()),
        "Resizing": lambda: L.Resizing(5, 12),
        "Resizing nearest": lambda: L.Resizing(12, 5, interpolation="nearest"),
        "Resizing bicubic": lambda: L.Resizing(12, 5, interpolation="bicubic"),
        "Resizing area": lambda: L.Resizing(4, 4, interpolation="area"),
        "Resizing crop": lambda: L.Resizing(6, 4, crop_to_aspect_ratio=True),
        "CenterCrop": lambda: L.CenterCrop(5, 4),
        "CenterCrop larger": lambda: L.CenterCrop(9, 12),
        "RandomFlip": lambda: L.RandomFlip("horizontal", seed=1),
        "RandomRotation": lambda: L.RandomRotation(0.2),
        "RandomZoom": lambda: L.RandomZoom((-0.2, 0.1), fill_mode="nearest"),
        "RandomTranslation": lambda: L.RandomTranslation(0.1, (-0.1, 0.2), interpolation="nearest"),
        "RandomContrast": lambda: L.RandomContrast(0.2),
        "RandomBrightness": lambda: L.RandomBrightness(0.2),
        "RandomCrop": lambda: L.RandomCrop(6, 6),
        "RandomHeight": lambda: L.RandomHeight(0.2),
        "RandomWidth": lambda: L.RandomWidth(0.2),
    }


def _adapted(layer: Any) -> Any:
    layer.adapt(np.random.default_rng(2).uniform(0, 1, (4, *SHAPE)).astype("f4"))
    return layer


def row_kinds(k: Any) -> dict[str, Builder]:
    """Return a layer of each kind that takes rows of vectors."""
    L = k.layers
    return {
        "Conv1D": lambda: L.Conv1D(4, 3, strides=2, padding="causal", activation="gelu"),
        "Conv1DTranspose": lambda: L.Conv1DTranspose(4, 3, strides=2),
        "DepthwiseConv1D": lambda: L.DepthwiseConv1D(3),
        "SeparableConv1D": lambda: L.SeparableConv1D(4, 3),
        "MaxPooling1D": lambda: L.MaxPooling1D(3),
        "AveragePooling1D": lambda: L.AveragePooling1D(3, padding="same"),
        "GlobalMaxPooling1D": lambda: L.GlobalMaxPooling1D(),
        "GlobalAveragePooling1D": lambda: L.GlobalAveragePooling1D(),
        "UpSampling1D": lambda: L.UpSampling1D(2),
        "ZeroPadding1D": lambda: L.ZeroPadding1D((1, 2)),
        "Cropping1D": lambda: L.Cropping1D((1, 2)),
        "SpatialDropout1D": lambda: L.SpatialDropout1D(0.3),
        "LSTM": lambda: L.LSTM(4, dropout=0.1, recurrent_dropout=0.1, return_sequences=True),
        "LSTM hard": lambda: L.LSTM(4, recurrent_activation="hard_sigmoid", go_backwards=True, unit_forget_bias=False),
        "GRU": lambda: L.GRU(4),
        "GRU before": lambda: L.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid"),
        "SimpleRNN": lambda: L.SimpleRNN(4, unroll=True),
        "RNN of cells": lambda: L.RNN([L.LSTMCell(3), L.GRUCell(4), L.LSTMCell(5)]),
        "Bidirectional": lambda: L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode="ave"),
        "Bidirectional two": lambda: L.Bidirectional(
            L.GRU(4), backward_layer=L.GRU(4, go_backwards=True, activation="relu")
        ),
        "Masking": lambda: L.Masking(0.5),
        "RepeatVector": lambda: k.Sequential([L.GlobalMaxPooling1D(), L.RepeatVector(3)]),
    }


def _heads(k: Any) -> dict[str, Callable[[Any], Any]]:
    """Return ways from a tensor of images to the scores that are more than one layer."""
    L = k.layers

    def merged(kind: str, **options: Any) -> Callable[[Any], Any]:
        return lambda x: getattr(L, kind)(**options)([L.Conv2D(4, 3)(x), L.Conv2D(4, 3)(x)])

    def attended(kind: str, **options: Any) -> Callable[[Any], Any]:
        return lambda x: getattr(L, kind)(**options)([rows(x), rows(x)])

    def rows(x: Any) -> Any:
        return L.Reshape((64, 4))(L.Conv2D(4, 1)(x))

    def squeeze(x: Any) -> Any:
        gate = L.Conv2D(3, 1, activation="hard_sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
        return L.Multiply()([x, gate])

    def states(x: Any) -> Any:
        y, *memory = L.LSTM(4, return_sequences=True, return_state=True)(rows(x))
        return L.LSTM(4)(y, initial_state=memory)

    return {
        **{
            kind: merged(kind)
            for kind in ("Add", "Average", "Multiply", "Maximum", "Minimum", "Subtract", "Concatenate")
        },
        "Dot": merged("Dot", axes=3, normalize=True),
        "Attention": attended("Attention", use_scale=True),
        "AdditiveAttention": attended("AdditiveAttention"),
        "MultiHeadAttention": lambda x: L.MultiHeadAttention(2, 3)(rows(x), value=rows(x), key=rows(x)),
        "MultiHeadAttention positional": lambda x: L.MultiHeadAttention(2, 3, output_shape=5)(rows(x), rows(x)),
        "squeeze and excite": squeeze,
        "activations": lambda x: L.Activation("hard_sigmoid")(L.Conv2D(3, 1, activation=L.LeakyReLU(0.1))(x)),
        "activation by class": lambda x: L.Dense(4, activation="LeakyReLU")(x),
        "initial states": states,
        "ConvLSTM2D": lambda x: L.ConvLSTM2D(4, 3)(L.Reshape((2, 4, 8, 3))(x)),
        "dropout while testing off": lambda x: L.Dropout(0.5)(x, training=False),
    }


def operations(k: Any, tf: Any) -> dict[str, Callable[[Any], Any]]:
    """Return operations of TensorFlow between layers, as the tutorials write them."""
    apps = k.applications
    return {
        "x / 255": lambda x: x / 255.0,
        "x / 127.5 - 1": lambda x: x / 127.5 - 1.0,
        "1 - x": lambda x: 1.0 - x,
        "preprocess_input of ResNet50": lambda x: apps.resnet50.preprocess_input(x),
        "preprocess_input of MobileNetV2": lambda x: apps.mobilenet_v2.preprocess_input(x),
        "preprocess_input of DenseNet": lambda x: apps.densenet.preprocess_input(x),
        "slices": lambda x: x[:, 1:, ::-1, :2],
        "an ellipsis": lambda x: x[..., ::-1],
        "a new axis": lambda x: x[:, :, :, 0][..., tf.newaxis],
        "relu6": lambda x: tf.nn.relu6(x - 0.5),
        "hard swish": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
        "cast": lambda x: tf.cast(tf.cast(x, tf.float16), "float32"),
        "concat": lambda x: tf.concat([x, 2 * x, x**2], axis=-1),
        "add_n, stack, unstack": lambda x: tf.add_n([x, x, tf.stack(tf.unstack(x, axis=3), axis=3)]),
        "image.resize": lambda x: tf.image.resize(x, (5, 6), method="bicubic"),
        "reduce_mean": lambda x: tf.reduce_mean(x, axis=[1, 2], keepdims=True) + tf.reduce_max(x, 3, keepdims=True),
        "softmax": lambda x: tf.nn.softmax(x, axis=-1),
        "matmul": lambda x: tf.matmul(x, x, transpose_b=True),
        "clip, abs, sqrt": lambda x: tf.sqrt(tf.abs(tf.clip_by_value(x, -1, 2))) + tf.square(x) - tf.negative(x),
        "split": lambda x: tf.split(x, 3, axis=3)[1],
        "transpose, reshape": lambda x: tf.reshape(tf.transpose(x, [0, 2, 1, 3]), (-1, 8, 8, 3)),
        "shape": lambda x: tf.reshape(x, (tf.shape(x)[0], 4, 16, 3)),
        "pad, tile": lambda x: tf.tile(tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]]), [1, 1, 2, 1]),
        "activation functions": lambda x: k.layers.Activation(tf.nn.leaky_relu)(
            k.layers.Conv2D(2, 1, activation=tf.nn.swish)(x)
        ),
        "l2_normalize": lambda x: tf.math.l2_normalize(x, axis=-1),
        "grey": lambda x: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(x)),
        "standardized": lambda x: tf.image.per_image_standardization(x),
        "depth_to_space": lambda x: tf.nn.space_to_depth(x, 2),
        "norm": lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + tf.norm(x, 1, [1, 2], True)),
        "crelu, scalar_mul, gather_nd": lambda x: tf.scalar_mul(2.0, tf.nn.crelu(tf.gather_nd(x - 0.5, [[0], [0]]))),
        "weighted_moments": lambda x: tf.concat(tf.nn.weighted_moments(x, [1, 2], 2.0 * x, keepdims=True), -1),
        "sobel_edges": lambda x: tf.reshape(tf.image.sobel_edges(x), (-1, 8, 8, 6)),
        "trigonometry": lambda x: tf.atan2(tf.sinh(x), tf.cosh(x)) + tf.atan(x) + tf.roll(x, 1, 2),
        "a comparison": lambda x: tf.where(x > 0.5, x, tf.zeros_like(x)),
    }


def compositions(k: Any) -> dict[str, Builder]:
    """Return models in models."""
    L = k.layers

    def small(name: str, shape: tuple[int, ...] = SHAPE) -> Any:
        """A residual model whose branches cross, so that the order of its weights is not that of a chain."""
        i = k.Input(shape)
        a = L.Conv2D(4, 3, padding="same", name=f"{name}_a")(i)
        b = L.BatchNormalization(name=f"{name}_bn")(a)
        c = L.Conv2D(4, 3, padding="same", name=f"{name}_c", activation="relu")(b)
        d = L.Conv2D(4, 1, name=f"{name}_d")(i)
        return k.Model(i, L.Add(name=f"{name}_add")([c, d]), name=name)

    def chain(name: str, declared: bool = True) -> Any:
        first = [k.Input(SHAPE)] if declared else []
        return k.Sequential([*first, L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(6.0)], name=name)

    def headed(body: Callable[[Any], Any]) -> Any:
        i = k.Input(SHAPE)
        x = L.GlobalAveragePooling2D()(body(i))
        return k.Model(i, L.Dense(3, activation="softmax")(x))

    def frozen(depth: int) -> Any:
        base = small("base")
        base.trainable = depth > 0
        for layer in base.layers[:depth]:
            layer.trainable = False
        return headed(lambda x: base(x, training=False))

    def twice() -> Any:
        base = small("base", (8, 8, 3))
        i = k.Input(SHAPE)
        x = L.Concatenate()([base(i), base(L.Permute((2, 1, 3))(i))])
        return k.Model(i, L.Dense(3)(L.GlobalMaxPooling2D()(x)))

    def deep() -> Any:
        i = k.Input(SHAPE)
        inner = small("inner")
        middle = k.Model(i, L.Conv2D(3, 1)(L.ReLU()(inner(i))), name="middle")
        j = k.Input(SHAPE)
        outer = k.Model(j, L.Conv2D(3, 1)(middle(L.ReLU()(j))), name="outer")
        return headed(lambda x: chain("last")(outer(outer(x))))

    def shared() -> Any:
        conv, bn = L.Conv2D(3, 3, padding="same"), L.BatchNormalization()
        return headed(lambda x: L.Add()([bn(conv(conv(x))), conv(bn(x))]))

    def two_outputs() -> Any:
        i = k.Input(SHAPE)
        base = k.Model(i, [L.Conv2D(4, 3)(i), L.Conv2D(4, 3)(i)], name="two")
        return headed(lambda x: L.Subtract()(base(x)))

    def normalised(wrapped: bool = False) -> Any:
        i = k.Input(SHAPE)
        inner = k.Model(i, L.Conv2D(4, 3)(_adapted(L.Normalization())(i)), name="inner")
        if not wrapped:
            return k.Sequential([k.Input(SHAPE), k.Sequential([inner]), L.Flatten(), L.Dense(3)])
        x = L.TimeDistributed(inner)(L.Reshape((1, *SHAPE))(i))
        return k.Model(i, L.Dense(3)(L.Flatten()(x)))

    def rows_of_models() -> Any:
        i = k.Input(SHAPE)
        x = L.Reshape((2, 4, 8, 3))(i)
        x = L.TimeDistributed(small("base", (4, 8, 3)))(x)
        return k.Model(i, L.Dense(3)(L.LSTM(4)(L.TimeDistributed(L.Flatten())(x))))

    def teachable() -> Any:
        i = k.Input(SHAPE)
        x = L.ZeroPadding2D(((0, 1), (0, 1)), name="Conv1_pad")(i)
        x = L.Conv2D(4, 3, strides=2, use_bias=False, name="Conv1")(x)
        x = L.ReLU(6.0, name="Conv1_relu")(L.BatchNormalization(name="bn_Conv1")(x))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="expanded_conv_depthwise")(x)
        y = L.BatchNormalization(name="expanded_conv_depthwise_BN")(y)
        mobilenet = k.Model(i, L.Add(name="add")([x, y]), name="model1")
        first = k.Sequential([mobilenet, L.GlobalAveragePooling2D()], name="sequential_1")
        last = k.Sequential([L.Dense(5, activation="relu", input_shape=(4,)), L.Dense(2, "softmax", use_bias=False)])
        return k.Sequential([first, last], name="sequential_4")

    def many_of_a_kind() -> Any:
        def body(x: Any) -> Any:
            for number in range(12):
                x = L.Conv2D(3, 1 + number % 2, padding="same")(x)
            return x

        return headed(body)

    return {
        "a chain": lambda: k.Sequential([L.Conv2D(4, 3, input_shape=SHAPE), L.Flatten(), L.Dense(3)]),
        "many layers of a kind": many_of_a_kind,
        "Functional in Functional": lambda: headed(small("base")),
        "Sequential in Functional": lambda: headed(chain("encoder")),
        "Sequential without input in Functional": lambda: headed(chain("encoder", declared=False)),
        "Functional in Sequential": lambda: k.Sequential([k.Input(SHAPE), small("base"), L.Flatten(), L.Dense(3)]),
        "frozen": lambda: frozen(0),
        "partly frozen": lambda: frozen(3),
        "called twice": twice,
        "three deep": deep,
        "shared layers": shared,
        "a model of two outputs": two_outputs,
        "a model on every row": rows_of_models,
        "Normalization in an inner model": normalised,
        "Normalization in a wrapped model": lambda: normalised(wrapped=True),
        "Teachable Machine": teachable,
    }


def networks(k: Any, tf: Any) -> dict[str, Builder]:
    """Return a builder of each network; all take images of `SHAPE` and give a row of scores."""
    L = k.layers

    def around(middle: Callable[[Any], Any], before: Callable[[Any], Any] = lambda x: x) -> Any:
        i = k.Input(SHAPE)
        x = middle(before(i))
        if len(x.shape) > 2 and None in x.shape[1:-1]:
            x = L.GlobalAveragePooling2D()(x)
        return k.Model(i, L.Dense(3)(L.Flatten()(x)))

    def rows(x: Any) -> Any:
        return L.Reshape((8, 24))(x)

    found: dict[str, Builder] = {}
    for name, make in layer_kinds(k).items():
        found[name] = lambda make=make: around(make())
    for name, make in row_kinds(k).items():
        found[name] = lambda make=make: around(make(), rows)
    for name, middle in {**_heads(k), **operations(k, tf)}.items():
        found[name] = lambda middle=middle: around(middle)
    return found | compositions(k)
