"""Open a path as a Keras model, or say in one line why it cannot be opened."""

import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras

from cam_cli.errors import ModelError
from cam_cli.models.description import code_runners, read_description, strangers
from cam_cli.models.formats import recognise, with_suffix
from cam_cli.models.frozen.description import Choice
from cam_cli.models.frozen.open import open_graph
from cam_cli.models.legacy import readable_by_keras_3
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import first_line

_NO_CHOICE = Choice()
_RECORDED_BY_KERAS_2 = {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"}


def open_model(
    path: Path,
    *,
    unsafe_lambda: bool = False,
    choice: Choice = _NO_CHOICE,
    size: tuple[int, int] | None = None,
) -> keras.Model:
    """Open a `.keras` file or folder, an `.h5` file of Keras 2 or 3, a SavedModel, a frozen `.pb` graph or a `.tflite` file.

    Args:
        unsafe_lambda: run the code in Lambda and other layers of the file; the file can then do anything.
        choice: what the user names in a file that is no Keras model.
        size: rows and columns of the input of such a file, if they are known.

    Raises:
        ModelError: the file is not such a model, needs code that is not installed, or contains code that may not run.
    """
    kind = recognise(path)
    if kind.graph is not None:
        return open_graph(path, kind.graph, choice, size)
    if not kind.has_network:
        raise ModelError(
            f"{str(path)!r} holds weights alone, not the network; give the whole model (model.save('model.keras')), or "
            "for a keras.applications network --model NAME --weights FILE"
        )
    try:
        description = read_description(path, kind)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{str(path)!r} is damaged: the description of its layers cannot be read ({first_line(error)}); copy or fetch "
            "it again"
        ) from error
    if not unsafe_lambda and (runners := ", ".join(code_runners(description))):
        raise ModelError(
            f"{str(path)!r} has a {runners} layer, which runs code from the file; if you trust it, add --unsafe-lambda"
        )
    if not unsafe_lambda and (reason := _unknown_parts(description)):
        raise ModelError(f"{str(path)!r} {reason}")
    try:
        with with_suffix(path, kind.suffix) as named:
            reading = readable_by_keras_3(named) if kind.suffix == ".h5" else nullcontext(named)
            with reading as readable, native_chatter_silenced():
                model = keras.saving.load_model(readable, compile=False, safe_mode=not unsafe_lambda)
    except Exception as error:
        reason = _unknown_parts(description) or f"cannot be opened as a Keras model: {first_line(error)}"
        raise ModelError(f"{str(path)!r} {reason}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{str(path)!r} holds a {type(model).__name__}, not a model")
    return model


def load_weights(model: keras.Model, path: Path) -> None:
    """Load a `.weights.h5`, `.h5` or `.keras` file into a model of the same architecture.

    Raises ModelError if there is no such file, no weights in it, or weights of another architecture.
    """
    source = path / "model.weights.h5" if path.is_dir() else path
    kind = recognise(source)
    try:
        with with_suffix(source, kind.suffix) as named, native_chatter_silenced():
            model.load_weights(named)
    except Exception as error:
        raise ModelError(f"weights {str(path)!r} do not fit {model.name}: {first_line(error)}") from error


def _unknown_parts(description: Any) -> str | None:
    unknown = strangers(description)
    listed = ", ".join(map(repr, unknown))
    if unknown and set(unknown) <= _RECORDED_BY_KERAS_2:
        return (
            f"holds TensorFlow operations as Keras 2 recorded them ({listed}), which Keras 3 cannot rebuild; build the "
            "network in Keras 3 and load the weights from this file (keras.applications: --model NAME --weights FILE)"
        )
    if unknown:
        return (
            f"uses {listed}, which no network of Keras consists of; if it is your own, mark it in Python with "
            "@keras.saving.register_keras_serializable(), load the model and call cam_cli.explain(model, images)"
        )
    return None
