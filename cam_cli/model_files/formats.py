"""Recognise the format of a model file by its content, not by its name."""

import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

from cam_cli.errors import ModelError
from cam_cli.frozen_graphs.description import Kind
from cam_cli.frozen_graphs.protobuf import top_level_fields

_SAVE_AGAIN = "save it again with model.save('model.keras') in the program that made it (Keras 2: 'model.h5')"
_BEGINNINGS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"\x80": f"is a Python pickle, which can run any code and is never opened; {_SAVE_AGAIN}",
    b"<": "is a web page or XML, not a model; download the file itself",
}
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5", "model.weights.npz"}
"""All members that a `.keras` file of an image classifier has; Keras would unpack others too."""


@dataclass(frozen=True)
class Format:
    """How a file has to be read: by Keras, by which suffix, as a network or as weights alone; or as a `graph` of TensorFlow."""

    suffix: str
    has_network: bool
    graph: Kind | None = None


_SAVED_MODEL = Format("", has_network=True, graph="saved_model")
_ONNX = (
    "is an ONNX model; convert it to a SavedModel with onnx2tf (in an environment of its own: pip install onnx2tf; onnx2tf -i "
    "model.onnx -o model), and give that folder"
)
_TEXT_GRAPH = (
    "is a graph as text; write it as a binary .pb: graph = google.protobuf.text_format.Parse(text, tf.compat.v1.GraphDef()), "
    "then write graph.SerializeToString() to model.pb, and give that"
)
_CHECKPOINT = (
    "is a TensorFlow checkpoint, weights without the network; give the SavedModel or frozen graph of the network (in its "
    "program: model.export('folder'), or tf.saved_model.save)"
)


def recognise(path: Path) -> Format:
    """Return how a file or folder has to be read.

    Raises:
        ModelError: it is no model that can be read; the message says what it is and what to do.
    """
    try:
        found = _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if isinstance(found, str):
        raise ModelError(f"{str(path)!r} {found}")
    return found


@contextmanager
def with_suffix(path: Path, suffix: str) -> Iterator[Path]:
    """Yield a path to the same file that ends in `suffix`, by which Keras chooses its reader."""
    if path.name.endswith(suffix) and (suffix != ".h5" or not path.name.endswith(".weights.h5")):
        yield path
        return
    with TemporaryDirectory(prefix="smoothcam-") as folder:
        link = Path(folder, f"model{suffix}")
        link.symlink_to(path.resolve())
        yield link


def _folder(path: Path) -> Format | str:
    if (path / "config.json").is_file() and (path / "model.weights.h5").is_file():
        return Format("", has_network=True)
    if (path / "saved_model.pb").is_file():
        return _SAVED_MODEL
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        return _CHECKPOINT
    below = sorted(path.glob("*/saved_model.pb"))
    if len(below) == 1:
        return f"is a folder without a model; name the SavedModel in it, '{below[0].parent}'"
    return "is a folder without a Keras model or SavedModel; name the .keras or .h5 file itself"


def _file(path: Path) -> Format | str:
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PK"):
        return _zip(path)
    if h5py.is_hdf5(path):
        return _hdf5(path)
    if not head:
        return "is empty; copy or fetch it again"
    if head[4:8] == b"TFL3":
        return Format("", has_network=True, graph="tflite")
    if head.startswith(b"\x1f\x8b") or tarfile.is_tarfile(path):
        return _SAVED_MODEL
    if known := next((what for beginning, what in _BEGINNINGS.items() if head.startswith(beginning)), None):
        return known
    if path.suffix == ".pbtxt" or re.match(rb"\s*(node|saved_model_schema_version|meta_graphs)\s*[:{]", head):
        return _TEXT_GRAPH
    return _protobuf(path) or (
        f"is neither a .keras, .h5, .pb nor .tflite model, nor a SavedModel folder (it begins with {head[:16]!r}); "
        f"{_SAVE_AGAIN}"
    )


def _protobuf(path: Path) -> Format | str | None:
    """Tell the protocol buffers of models apart by their fields, as they have no mark; None: it is none of them."""
    if re.search(r"\.(index|data-\d{5}-of-\d{5})$", path.name):
        return _CHECKPOINT
    fields = top_level_fields(path)
    kinds = dict(fields)
    if kinds.get(1) == "number" and kinds.get(7) == "bytes":
        return _ONNX
    if kinds.get(1) == "number" and kinds.get(2) == "bytes":
        if path.name == "saved_model.pb":
            return _SAVED_MODEL
        return "is the graph of a SavedModel; its name must be saved_model.pb, and the folder `variables` must be beside it"
    if kinds.get(1) == "bytes" and kinds.keys() <= {1, 2, 3, 4, 5}:
        if path.suffix == ".meta":
            return _CHECKPOINT
        return Format("", has_network=True, graph="frozen_graph")
    return None


def _zip(path: Path) -> Format | str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "is cut short or damaged: a zip file without its end; copy it again"
    if "config.json" in names:
        if others := sorted(set(names) - _MEMBERS):
            return f"is a zip file that holds {others[0]!r}, which no image classifier of Keras needs; {_SAVE_AGAIN}"
        return Format(".keras", has_network=True)
    if any(name.endswith("data.pkl") for name in names):
        return "is a PyTorch file; smoothcam explains Keras models"
    if any(name.endswith("saved_model.pb") for name in names):
        return _SAVED_MODEL
    if inner := next((name for name in names if name.endswith((".keras", ".h5", ".tflite"))), None):
        return f"is a zip file that holds a model, {inner!r}; unpack it and name that file"
    return f"is a zip file but no Keras model: it holds no config.json; {_SAVE_AGAIN}"


def _hdf5(path: Path) -> Format | str:
    try:
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                return Format(".h5", has_network=True)
            by_layer = "layer_names" in file.attrs
    except (OSError, RuntimeError, KeyError):
        return "is cut short or damaged; copy or fetch it again"
    return Format(".h5" if by_layer else ".weights.h5", has_network=False)
