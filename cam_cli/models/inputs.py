"""The input of a model: its size, channels and preprocessing, from the flags, the card and the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import keras

from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.free_size import partial_pooling
from cam_cli.graph.memory import bytes_for_one_image, images_in_memory
from cam_cli.graph.scaling import Scaling, is_large, scaling_of
from cam_cli.graph.trace import Trace, is_whole_numbers, trace, walk
from cam_cli.images.fit import CHANNELS, Preprocessing, unfit
from cam_cli.models.card import InputCard

_DEFAULT_SIDE = 224
_CHANNELS_OF_COUNT: dict[int | None, Literal["rgb", "rgba", "grey"]] = {None: "rgb", 1: "grey", 3: "rgb", 4: "rgba"}
_BANDS: Literal["bands"] = "bands"
_WIDE = 50.0
"""Values that span more than this are those of an image from 0 to 255, not scaled ones."""


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
    imports: tuple[str, ...] = ()
    signature: str | None = None
    model_input: str | None = None
    model_output: str | None = None


def settle_input(
    model: keras.Model, card: InputCard | None, overrides: Overrides
) -> tuple[tuple[int, int, int], Preprocessing, list[str], Trace | None]:
    """Decide on a model's input. The order is: flags, the card, the model itself, assumptions.

    Returns:
        Its shape, (H, W, C), its preprocessing, the assumptions that were made, for the user, and the trace of the model if
        one was needed to find out how it scales its input.

    Raises:
        ModelError: the model does not take images: several inputs, or channels first.
        UsageError: the size is not known or not one that the model takes, one image needs more memory than the machine has,
            or settings do not fit the model's channels.
    """
    own = own_input_shape(model)
    channels = own[2] if own else None
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
    if overrides.input_size:
        remarks += _size_remarks(size, card, own)
    other_size = own is not None and any(fixed not in (None, n) for fixed, n in zip(own, size, strict=False))
    try:
        preprocessing, assumptions, traced = _preprocessing(model, size, channels, card, overrides)
        if other_size and traced is None:
            traced = traced_within_memory(model, (*size, channels or 3))
    except ModelError as error:
        if own is None or not other_size:
            raise
        raise UsageError(_refused(size, own, overrides)) from error
    if own is not None and other_size and traced is not None and (why := partial_pooling(traced.input, traced.output)):
        raise UsageError(_refused(size, own, overrides, why))
    count = CHANNELS.get(preprocessing.channels, channels)
    if count is None:
        raise UsageError(
            "the model does not say how many channels it takes, so they cannot be `bands`; set another value"
        )
    if channels not in (None, count):
        orders = [*(order for order, n in CHANNELS.items() if n == channels), _BANDS]
        raise UsageError(
            f"channels '{preprocessing.channels}' gives {count}, but the model takes {channels}; "
            f"set channels to {' or '.join(orders)}"
        )
    if problem := unfit(size, preprocessing, count):
        raise UsageError(f"{problem}; correct --mean and --std, or the model's card")
    return (*size, count), preprocessing, remarks + assumptions, traced


def _refused(size: tuple[int, int], own: tuple[int | None, ...], overrides: Overrides, why: str = "") -> str:
    what, advice = f"--input-size {size[0]}x{size[1]}", "leave --input-size out"
    if not overrides.input_size:
        what, advice = f"the model's card says size {size[0]}x{size[1]}", "correct the card"
    return f"{what}: {why or takes_only(own)}; {advice}"


def takes_only(own: tuple[int | None, ...]) -> str:
    """Say which rows and columns a model takes that declares this shape and has weights for so many cells."""
    takes = "x".join("any" if n is None else str(n) for n in own[:2])
    return f"this model takes {takes} only, as a layer in it, such as a dense layer after Flatten, is made for one size"


def own_input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None] | None:
    """Return (rows, columns, channels) as the model itself declares them, each None if left open; None if it declares none.

    An input of (rows, columns) takes grey images.

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
    if inputs and shape is not None and len(shape) == 3:
        return shape[1], shape[2], 1
    if shape is not None and len(shape) != 4:
        raise ModelError(
            f"the model's input has shape {shape[1:]}, not (rows, columns, channels) of an image; if it is an image, save the "
            "model with a Reshape before it: keras.Sequential([keras.Input((ROWS, COLUMNS, 1)), "
            f"keras.layers.Reshape({shape[1:]}), model])"
        )
    return shape and (shape[1], shape[2], shape[3])


def _preprocessing(
    model: keras.Model, size: tuple[int, int], channels: int | None, card: InputCard | None, overrides: Overrides
) -> tuple[Preprocessing, list[str], Trace | None]:
    flags = {k: v for k in ("fit", "channels", "mean", "std") if (v := getattr(overrides, k)) is not None}
    by_count = _CHANNELS_OF_COUNT.get(channels, _BANDS)
    if card is not None:
        defaults = {} if "channels" in card.model_fields_set else {"channels": by_count}
        return replace(card.preprocessing(), **(defaults | flags)), [], None
    assumed, remarks, traced = Preprocessing(channels=by_count), [], None
    if (overrides.channels or by_count) == _BANDS:
        if overrides.mean is None or overrides.std is None:
            remarks.append(
                f"no model card: the model gets the values in a file of {channels} bands as they are (--mean and --std, or a "
                "card, say otherwise)"
            )
        return replace(assumed, **flags), remarks, None
    if channels == 4 and overrides.channels is None:
        remarks.append("no model card: taking the 4 channels as red, green, blue and an alpha of 255")
    if overrides.mean is None or overrides.std is None:
        traced = traced_within_memory(model, (*size, channels or 3))
        scaling = input_scaling(model, traced)
        if scaling.top != 255:
            assumed = replace(assumed, std=(255.0,))
        if scaling.top != 255 or not (overrides.mean or overrides.std):
            remarks.append(_scaling_remark(scaling))
    else:
        assumed = replace(assumed, std=(255.0,))
    return replace(assumed, **flags), remarks, traced


def _size_remarks(
    size: tuple[int, int], card: InputCard | None, own: tuple[int | None, int | None, int | None] | None
) -> list[str]:
    """Say that the flag contradicts a size that the card or the model names."""
    named = [("the model's card", card and card.size), ("the model", own and own[:2])]
    for who, other in named:
        if other and None not in other and tuple(other) != size:
            made_for = f"{other[0]}x{other[1]}"
            return [
                f"--input-size {size[0]}x{size[1]}: {who} says {made_for}, so objects appear at another scale to it"
            ]
    return []


def traced_within_memory(model: keras.Model, shape: tuple[int, int, int]) -> Trace:
    """Trace a model for an image of shape (H, W, C); raises UsageError if one image needs more memory than there is."""
    traced = trace(model, shape)
    images_in_memory(bytes_for_one_image(traced), shape)
    return traced


def traced_at_sizes(model: keras.Model, sizes: Sequence[tuple[int, int]], channels: int) -> list[Trace]:
    """Trace a model for images of several sizes (rows, columns).

    Raises:
        UsageError: a size that the model does not take, or at which a pooling sees only a part of its grid, or for which one
            image needs more memory than the machine has.
    """
    found = []
    for size in sizes:
        asked = f"--sizes {size[0]}x{size[1]}"
        try:
            traced = traced_within_memory(model, (*size, channels))
        except ModelError as error:
            own = own_input_shape(model)
            why = takes_only(own) if own is not None else str(error)
            raise UsageError(f"{asked}: {why}; leave --sizes out") from error
        if why := partial_pooling(traced.input, traced.output):
            raise UsageError(f"{asked}: {why}; leave this size out")
        found.append(traced)
    return found


def input_scaling(model: keras.Model, traced: Trace) -> Scaling:
    """Return how a model scales its input; one that takes whole numbers can only be made for values from 0 to 255."""
    declared = (getattr(model, "inputs", None) or [None])[0]
    if declared is not None and is_whole_numbers(declared.dtype):
        return Scaling(255, f"takes whole numbers, {getattr(declared.dtype, 'name', declared.dtype)}")
    if is_large(traced.input_shape) and declared is not None and None in declared.shape[1:3]:
        traced = trace(model, (_DEFAULT_SIDE, _DEFAULT_SIDE, traced.input_shape[2]))  # tells the same, and sooner
    return scaling_of(traced)


def _scaling_remark(scaling: Scaling) -> str:
    if scaling.top == 255 and "whole numbers" in scaling.steps:
        return f"no model card: the model {scaling.steps}, so it gets values from 0 to 255"
    if scaling.top == 255:
        return (
            f"no model card: the model rescales its input itself, so it gets values from 0 to 255 (it {scaling.steps})"
        )
    if scaling.top == 1:
        return (
            "no model card: the model rescales its input itself, from values of 0 to 1, so it gets x / 255 "
            f"(it {scaling.steps})"
        )
    return "no model card: assuming input values x / 255 (--mean and --std, or a card, say otherwise)"


def contradictions(scaling: Scaling, preprocessing: Preprocessing) -> list[str]:
    """Say that the preprocessing of a card or of flags does not suit what the network does to its input.

    Args:
        scaling: of the network.
        preprocessing: as settled.
    """
    scale = max(abs(value) for value in preprocessing.std)
    span = 255 / scale
    if scaling.top == 255 and span < _WIDE:
        return [
            f"the card or the flags divide the image's values by {scale:.4g}, and the network scales its input again: it "
            f"{scaling.steps}; leave mean and std out if it was trained on values from 0 to 255"
        ]
    if scaling.top == 1 and span > _WIDE:
        return [
            f"the card or the flags feed values that span {span:.4g}, and the network is made for values from 0 to 1: it "
            f"{scaling.steps}; set std to 255 if it was trained so"
        ]
    return []
