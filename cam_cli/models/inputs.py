"""The input of a model: its size, channels and preprocessing, from the flags, the card and the model itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import keras

from cam_cli.errors import ModelError, UsageError
from cam_cli.images.fit import CHANNELS, Preprocessing, unfit
from cam_cli.models.calls import trace, walk
from cam_cli.models.card import InputCard
from cam_cli.models.graph import ancestors

_DEFAULT_SIDE = 224
_CHANNELS_OF_COUNT: dict[int | None, Literal["rgb", "rgba", "grey"]] = {None: "rgb", 1: "grey", 3: "rgb", 4: "rgba"}
_LEARNED = {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "Einsum"}


@dataclass(frozen=True)
class Overrides:
    """What the user says about the model; it counts more than the card."""

    input_size: tuple[int, int] | None = None
    fit: str | None = None
    channels: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Path | None = None
    weights: Path | None = None
    unsafe_lambda: bool = False
    signature: str | None = None
    model_input: str | None = None
    model_output: str | None = None


def settle_input(
    model: keras.Model, card: InputCard | None, overrides: Overrides
) -> tuple[tuple[int, int, int], Preprocessing, list[str]]:
    """Decide on a model's input. The order is: flags, the card, the model itself, assumptions.

    Returns:
        Its shape, (H, W, C), its preprocessing, and the assumptions that were made, for the user.

    Raises:
        ModelError: the model does not take images: several inputs, channels first, or a number of channels that images do
            not have.
        UsageError: the size is not known, or settings do not fit the model's channels.
    """
    own = own_input_shape(model)
    channels = own[2] if own else None
    if channels not in _CHANNELS_OF_COUNT:
        raise ModelError(
            f"the model takes {channels} channels, and images give 1 (grey), 3 (rgb, bgr) or 4 (rgba); "
            "from Python, cam_cli.explain(model, images) takes arrays of any number"
        )
    remarks: list[str] = []
    size = overrides.input_size or (card and card.size)
    if not size:
        if own is None:
            raise UsageError("the model does not say how large its input is; give --input-size HEIGHTxWIDTH")
        size = own[0] or _DEFAULT_SIDE, own[1] or _DEFAULT_SIDE
        if None in own[:2]:
            remarks.append(
                f"the model takes images of any size: taking {size[0]}x{size[1]} (--input-size says otherwise)"
            )
    preprocessing, assumptions = _preprocessing(model, size, channels, card, overrides)
    count = CHANNELS[preprocessing.channels]
    if channels not in (None, count):
        raise UsageError(
            f"channels '{preprocessing.channels}' gives {count}, but the model takes {channels}; "
            f"set channels to {' or '.join(order for order, n in CHANNELS.items() if n == channels)}"
        )
    if problem := unfit(size, preprocessing):
        raise UsageError(f"{problem}; correct --mean and --std, or the model's card")
    return (*size, count), preprocessing, remarks + assumptions


def own_input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None] | None:
    """Return (rows, columns, channels) as the model itself declares them, each None if left open; None if it declares none.

    Raises:
        ModelError: the model has several inputs, an input that is not an image, or layers that want channels first.
    """
    inputs = getattr(model, "inputs", None)
    if inputs is not None and len(inputs) != 1:
        listed = ", ".join(f"'{x.name}' {tuple(x.shape[1:])}" for x in inputs)
        raise ModelError(f"the model has {len(inputs)} inputs ({listed}); smoothcam explains classifiers of one image")
    # Without declared inputs it is the shape for which a subclassed model was built.
    built = inputs[0].shape if inputs else (model.get_build_config() or {}).get("input_shape")
    is_shape = isinstance(built, list | tuple) and all(n is None or isinstance(n, int) for n in built)
    shape = tuple(built) if built and is_shape else None
    if any(getattr(layer, "data_format", None) == "channels_first" for _, layer in walk(model)):
        raise ModelError(
            f"the model wants channels first (input {shape and shape[1:]}); build it with data_format='channels_last', "
            "which takes the same weights, and save it again"
        )
    if shape is not None and len(shape) != 4:
        raise ModelError(f"the model's input has shape {shape[1:]}, not (rows, columns, channels) of an image")
    return shape and (shape[1], shape[2], shape[3])


def _preprocessing(
    model: keras.Model, size: tuple[int, int], channels: int | None, card: InputCard | None, overrides: Overrides
) -> tuple[Preprocessing, list[str]]:
    flags = {k: v for k in ("fit", "channels", "mean", "std") if (v := getattr(overrides, k)) is not None}
    by_count = _CHANNELS_OF_COUNT[channels]
    if card is not None:
        defaults = {} if "channels" in card.model_fields_set else {"channels": by_count}
        return replace(card.preprocessing(), **(defaults | flags)), []
    assumed, remarks = Preprocessing(channels=by_count), []
    if channels == 4 and overrides.channels is None:
        remarks.append("no model card: taking the 4 channels as red, green, blue and an alpha of 255")
    if rescales_its_input(model, (*size, channels or 3)):
        remarks.append("no model card: the model rescales its input itself, so it gets values from 0 to 255")
    else:
        assumed = replace(assumed, std=(255.0,))
        if overrides.mean is None or overrides.std is None:
            remarks.append("no model card: assuming input values x / 255 (--mean and --std, or a card, say otherwise)")
    return replace(assumed, **flags), remarks


def rescales_its_input(model: keras.Model, shape: tuple[int, int, int]) -> bool:
    """Return True if a Rescaling or Normalization layer, at any depth, acts on the input and not on learned features."""
    paths = [path for path, layer in walk(model) if type(layer).__name__ in ("Rescaling", "Normalization")]
    if not paths:
        return False
    calls = trace(model, shape).calls
    return any(calls[path] and all(op.type not in _LEARNED for op in ancestors(calls[path][0])) for path in paths)
