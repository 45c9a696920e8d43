"""Open a path as a Keras model, or say in one line why it cannot be opened."""

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras

from cam_cli.errors import ModelError
from cam_cli.frozen_graphs.description import Choice
from cam_cli.frozen_graphs.open import open_graph
from cam_cli.model_files.description import Description, code_runners, read_description, strange_entries
from cam_cli.model_files.formats import Format, recognise, with_suffix
from cam_cli.model_files.imports import import_layers
from cam_cli.model_files.legacy_lambda import LegacyLambda
from cam_cli.model_files.legacy_weights import load_legacy_weights
from cam_cli.model_files.normalization import apply_loaded_statistics
from cam_cli.model_files.packages import unknown_parts
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import reason_of

_NO_CHOICE = Choice()
_CONFIG = "config.json"
_NOT_THIS_PYTHON = ("marshal data", "code() argument", "code expected", "EOF read where object expected")


def open_model(
    path: Path,
    *,
    unsafe_lambda: bool = False,
    imports: Sequence[str] = (),
    choice: Choice = _NO_CHOICE,
    size: tuple[int, int] | None = None,
) -> keras.Model:
    """Open a `.keras` file or folder, an `.h5` file of Keras 2 or 3, a SavedModel, a frozen `.pb` graph or a `.tflite` file.

    Args:
        unsafe_lambda: run the code in Lambda and other layers of the file; the file can then do anything.
        imports: installed modules whose layers the file may have.
        choice: what the user names in a file that is no Keras model.
        size: rows and columns of the input of such a file, if they are known.

    Raises:
        UsageError: a module cannot be imported.
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
    import_layers(imports)
    description = _described(path, kind)
    network = description.network
    if not unsafe_lambda and (runners := ", ".join(code_runners(network))):
        raise ModelError(
            f"{str(path)!r} has a {runners} layer, which runs code from the file; if you trust it, add --unsafe-lambda"
        )
    if not unsafe_lambda and (reason := unknown_parts(strange_entries(network))):
        raise ModelError(f"{str(path)!r} {reason}")
    try:
        with native_chatter_silenced():
            model = _built(path, kind, description, safe_mode=not unsafe_lambda)
    except Exception as error:
        reason = _reason_of_lambda(error, network) or unknown_parts(strange_entries(network))
        raise ModelError(
            f"{str(path)!r} {reason or f'cannot be opened as a Keras model: {reason_of(error)}'}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{str(path)!r} holds a {type(model).__name__}, not a model")
    apply_loaded_statistics(model)
    return model


def _described(path: Path, kind: Format) -> Description:
    try:
        return read_description(path, kind)
    except ModelError as error:
        raise ModelError(f"{str(path)!r} {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{str(path)!r} is damaged: the description of its layers cannot be read ({reason_of(error)}); copy or fetch "
            "it again"
        ) from error


def _built(path: Path, kind: Format, description: Description, *, safe_mode: bool) -> Any:
    """Build the network of a file and load its weights; Keras alone does so for a file of Keras 3."""
    if description.keras_2:
        model = keras.saving.deserialize_keras_object(
            deepcopy(description.network), custom_objects={"Lambda": LegacyLambda}, safe_mode=safe_mode
        )
        load_legacy_weights(model, description.network, path)
        return model
    with with_suffix(path, kind.suffix) as named:
        reading = _rewritten(named, description.network) if description.changed else nullcontext(named)
        with reading as readable:
            return keras.saving.load_model(readable, compile=False, safe_mode=safe_mode)


@contextmanager
def _rewritten(path: Path, network: Any) -> Iterator[Path]:
    """Yield the path of a copy of a model file with another description of the network."""
    with TemporaryDirectory(prefix="smoothcam-") as folder:
        copy = Path(folder, f"model{path.suffix}")
        if path.is_dir():
            shutil.copytree(path, copy)
            (copy / _CONFIG).write_text(json.dumps(network))
        elif path.suffix == ".h5":
            shutil.copyfile(path, copy)
            with h5py.File(copy, "r+") as file:
                file.attrs["model_config"] = json.dumps(network)
        else:
            with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
                target.writestr(_CONFIG, json.dumps(network))
                for name in (name for name in source.namelist() if name != _CONFIG):
                    with source.open(name) as reader, target.open(name, "w", force_zip64=True) as writer:
                        shutil.copyfileobj(reader, writer)
        yield copy


def _reason_of_lambda(error: BaseException | None, network: Any) -> str | None:
    """Return what to do if the code of a Lambda layer cannot be read, or uses a name that is not there."""
    while error is not None and code_runners(network):
        if isinstance(error, NameError):
            return (
                f"has a Lambda layer whose code uses {error.name!r}, which is not in the file; save it again with a layer "
                "without Lambda, or load the model in Python and call cam_cli.explain(model, images)"
            )
        if any(words in str(error) for words in _NOT_THIS_PYTHON):
            return (
                "has a Lambda layer that was saved by another Python version, whose code cannot be read here; save it again "
                "there without Lambda, with a layer of your own or operations of keras.ops instead"
            )
        error = error.__cause__ or error.__context__
    return None


def load_weights(model: keras.Model, path: Path) -> None:
    """Load a `.weights.h5`, `.h5` or `.keras` file into a model of the same architecture.

    Raises ModelError if there is no such file, no weights in it, or weights of another architecture.
    """
    source = path / "model.weights.h5" if path.is_dir() else path
    kind = recognise(source)
    try:
        with with_suffix(source, kind.suffix) as named, native_chatter_silenced():
            model.load_weights(named)
            apply_loaded_statistics(model)
    except Exception as error:
        raise ModelError(f"weights {str(path)!r} do not fit {model.name}: {reason_of(error)}") from error
