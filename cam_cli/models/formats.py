"""Recognise the format of a model file by its content, not by its name."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

from cam_cli.errors import ModelError

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
    """How Keras has to read a file: by which suffix, and as a network or as weights alone."""

    suffix: str
    has_network: bool


def recognise(path: Path) -> Format:
    """Return how Keras has to read a file or folder.

    Raises:
        ModelError: Keras 3 cannot read it; the message says what it is and what to do.
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
        return f"is a SavedModel, whose layers Keras 3 cannot reach; {_SAVE_AGAIN}"
    return "is a folder without a Keras model; name the .keras or .h5 file itself"


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
        return "is a TensorFlow Lite file, which has no layers to look into; give the Keras model it was made from"
    unknown = f"is neither a .keras nor a .h5 model (it begins with {head[:16]!r}); {_SAVE_AGAIN}"
    return next((what for beginning, what in _BEGINNINGS.items() if head.startswith(beginning)), unknown)


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
        return f"is a zipped SavedModel, whose layers Keras 3 cannot reach; {_SAVE_AGAIN}"
    return f"is a zip file but no Keras model: it holds no config.json; {_SAVE_AGAIN}"


def _hdf5(path: Path) -> Format | str:
    try:
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                return Format(".h5", has_network=True)
            by_layer = "layer_names" in file.attrs
    except OSError:
        return "is cut short or damaged; copy or fetch it again"
    return Format(".h5" if by_layer else ".weights.h5", has_network=False)
