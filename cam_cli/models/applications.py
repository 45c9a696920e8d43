"""The networks of keras.applications by name, with the preprocessing that their weights were trained for."""

import hashlib
import inspect
import io
import os
import socket
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Literal

import keras

from cam_cli.errors import ModelError
from cam_cli.model_files.open import load_weights
from cam_cli.models.bundled import bundled_models
from cam_cli.models.card import InputCard, ModelCard
from cam_cli.models.source import imagenet_labels
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import reason_of

_CAFFE = InputCard(fit="crop", channels="bgr", mean=(103.939, 116.779, 123.68))
_TORCH = InputCard(fit="crop", channels="rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
_MINUS_ONE_TO_ONE = InputCard(fit="crop", channels="rgb", mean=(127.5,), std=(127.5,))
_RESCALES_INSIDE = InputCard(fit="crop", channels="rgb")
_FAMILIES = {
    family: card
    for card, families in {
        _CAFFE: "vgg16 vgg19 resnet",
        _TORCH: "densenet",
        _MINUS_ONE_TO_ONE: "inception_v3 inception_resnet_v2 mobilenet mobilenet_v2 nasnet resnet_v2 xception",
        _RESCALES_INSIDE: "convnext efficientnet efficientnet_v2 mobilenet_v3",
    }.items()
    for family in families.split()
}
"""The preprocessing of each family: the centre crop of the usual evaluation, channel order, mean and standard deviation."""


@cache
def applications() -> dict[str, Callable[..., keras.Model]]:
    """Return the function that builds each network, by its name in lower case, such as `resnet50v2`, sorted."""
    public = vars(keras.applications).values()
    builders = {f.__name__.lower(): f for f in public if inspect.isfunction(f) and _family(f) in _FAMILIES}
    return dict(sorted(builders.items()))


def load_application(name: str, weights: Path | Literal["imagenet"] | None) -> tuple[keras.Model, ModelCard]:
    """Build a network of keras.applications with its 1000 ImageNet classes, and a card: input size, preprocessing, labels.

    Args:
        name: a key of `applications()`.
        weights: a weights file; `imagenet` for those that Keras downloads and caches; None for random ones.

    Raises:
        ModelError: the weights cannot be downloaded, or do not fit.
    """
    build = applications()[name]
    with native_chatter_silenced():
        model = _with_downloaded_weights(name) if weights == "imagenet" else build(weights=None)
    if isinstance(weights, Path):
        load_weights(model, weights)
    return model, application_card(name, model)


def application_card(name: str, model: keras.Model) -> ModelCard:
    """Return the card of a network of keras.applications with its 1000 ImageNet classes, by its name in `applications()`."""
    build = applications()[name]
    rows, columns = model.input_shape[1:3]
    size = (rows, columns) if rows and columns else (224, 224)
    fed = _FAMILIES[_family(build)].model_copy(update={"size": size})
    card = ModelCard(name=name, input=fed, source=f"keras.applications.{build.__name__}")
    return card.model_copy(update={"labels": imagenet_labels()})


def sha256_of_weights(name: str, model: keras.Model) -> str:
    """Return a sha256 of a network's name and weights; it does not depend on the file the weights came from."""
    total = hashlib.sha256(name.encode())
    for values in model.get_weights():
        total.update(f"\n{values.dtype}{values.shape}\n".encode())
        total.update(values.tobytes())
    return total.hexdigest()


def _family(build: Callable[..., keras.Model]) -> str:
    return build.__module__.rpartition(".")[2]


def _with_downloaded_weights(name: str) -> keras.Model:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30.0)  # seconds without a byte
    try:
        with redirect_stdout(io.StringIO()):  # Keras's progress bar
            return applications()[name](weights="imagenet")
    except Exception as error:
        cached = Path(os.environ.get("KERAS_HOME", "~/.keras"), "models").expanduser()
        raise ModelError(
            f"no weights for {name!r}: Keras could not download and load them ({reason_of(error)}); give a file with "
            f"--weights FILE, put it into Keras's cache folder '{cached}', or take a bundled model "
            f"({', '.join(bundled_models())})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
