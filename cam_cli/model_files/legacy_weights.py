"""The weights of models of Keras 2, from `.h5` and `.keras` files, into the same model of Keras 3.

The layers of both are paired by their order in the description and their names, not by the order of Keras 3's graph. Every
weight of the model must be in the file, with the same shape. Nothing outside the file is read.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from cam_cli.model_files.legacy import MODELS

_WEIGHTS = "model.weights.h5"
_LAYERS = ("layers", "_layer_checkpoint_dependencies")
"""Where a `.keras` file of Keras 2.14 and later, and of 2.12 and 2.13, has the layers of a model."""
_MOST_EXPANSION = 100
_SMALL = 2**28

Entry = dict[str, Any]
Array = NDArray[np.generic]


def load_legacy_weights(model: keras.Model, description: Entry, path: Path) -> None:
    """Load the weights of a model file of Keras 2.

    Args:
        model: built from `description`.
        description: of the network, in the form of Keras 3, its layers in the order of Keras 2.
        path: an `.h5` file, a `.keras` file, or the folder of an unzipped one.

    Raises:
        ValueError: the file has not all of the model's weights, or some of another shape.
        OSError, KeyError, BadZipFile: it cannot be read.
    """
    with _opened(path) as file:
        if "model_weights" in file:
            _load_flat(model, description, _group(file, "model_weights"))
        else:
            _load_tree(model, description, file)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if path.is_dir():
        with h5py.File(path / _WEIGHTS) as file:
            yield file
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, _seekable(archive) as member, h5py.File(member) as file:
            yield file
    else:
        with h5py.File(path) as file:
            yield file


def _seekable(archive: zipfile.ZipFile) -> IO[bytes]:
    """Return the member with the weights; a compressed one is read at once, as seeking in it would read it again and again."""
    member = archive.getinfo(_WEIGHTS)
    if member.compress_type == zipfile.ZIP_STORED:
        return archive.open(member)
    if member.file_size > max(_MOST_EXPANSION * member.compress_size, _SMALL):
        raise ValueError(f"{_WEIGHTS} would have {member.file_size:,} bytes, made of {member.compress_size:,}")
    return io.BytesIO(archive.read(member))


def _inner(layer: Any, entry: Entry) -> Iterator[tuple[Any, Entry]]:
    """Yield the layers of a model with their entries, in the order of Keras 2."""
    for child in entry["config"]["layers"]:
        if child["class_name"] != "InputLayer":
            yield layer.get_layer(child["config"]["name"]), child


def _is_model(entry: Entry) -> bool:
    return entry["class_name"] in MODELS and "layers" in entry["config"]


def _wrapped(layer: Any, entry: Entry) -> tuple[Any, Entry] | None:
    """Return the model inside a wrapper such as TimeDistributed, if there is one."""
    inside = entry["config"].get("layer") if isinstance(entry["config"], dict) else None
    return (layer.layer, inside) if isinstance(inside, dict) and _is_model(inside) else None


# --- .h5: for each layer of the outer model a list of weights


def _load_flat(model: keras.Model, description: Entry, group: h5py.Group) -> None:
    if group.attrs.get("backend") in (b"theano", "theano"):
        raise ValueError("it was saved with Theano, whose convolutions are mirrored; save it again with TensorFlow")
    names = {name.replace("/", "_"): name for name in _names(group, "layer_names")}
    for layer, entry in _inner(model, description):
        weights = [weight for half in _in_order_of_keras_2(layer, entry) for weight in half]
        if not weights:
            continue
        if (name := names.get(layer.name)) is None:
            raise ValueError(f"it has no weights for layer {layer.name!r}")
        inside = _group(group, name)
        listed = _names(inside, "weight_names")
        listed = _without_extra(layer, listed, len(weights))
        for weight, listed_name in zip(_by_name(layer, weights, listed), listed, strict=True):
            weight.assign(_values(inside, listed_name, tuple(weight.shape)))


def _in_order_of_keras_2(layer: Any, entry: Entry) -> tuple[list[Any], list[Any]]:
    """Return a layer's trainable weights and the others, in the order in which Keras 2 listed them."""
    if wrapped := _wrapped(layer, entry):
        return _in_order_of_keras_2(*wrapped)
    if not _is_model(entry):
        return list(layer.trainable_weights), list(layer.non_trainable_weights)
    trained, others = [], []
    for child in _inner(layer, entry):
        own_trained, own_others = _in_order_of_keras_2(*child)
        trained += own_trained
        others += own_others
    return (trained, others) if layer.trainable else ([], trained + others)


def _by_name(layer: Any, weights: list[Any], listed: list[str]) -> list[Any]:
    """Return the weights in the order of the names in the file, `layer/kernel:0`, if these tell the layers apart."""
    owners: dict[str, list[Any]] = {}
    for leaf in _leaves(layer):
        if leaf.weights and leaf.name in owners:
            return weights
        if leaf.weights:
            owners[leaf.name] = [*leaf.trainable_weights, *leaf.non_trainable_weights]
    named = [next((part for part in reversed(name.split("/")[:-1]) if part in owners), "") for name in listed]
    if any(named.count(owner) != len(found) for owner, found in owners.items()):
        return weights
    waiting = {owner: iter(found) for owner, found in owners.items()}
    return [next(waiting[owner]) for owner in named]


def _leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers inside a model that are no models themselves."""
    if isinstance(layer, keras.Model):
        for child in layer.layers:
            yield from _leaves(child)
    else:
        yield layer


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names, which Keras divides among `names0`, `names1` and so on if it is long."""
    found = group.attrs.get(attribute)
    parts = [found] if found is not None else []
    while found is None and (part := group.attrs.get(f"{attribute}{len(parts)}")) is not None:
        parts.append(part)
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]


# --- .keras: a tree of groups; each layer's own weights are in its group `vars`, under 0, 1 and so on


def _load_tree(layer: Any, entry: Entry, group: h5py.Group) -> None:
    if wrapped := _wrapped(layer, entry):
        _load_tree(*wrapped, _group(group, "layer"))
    elif not _is_model(entry):
        _load_leaf(layer, group)
    else:
        inside = next((_group(group, name) for name in _LAYERS if name in group), group)
        groups: dict[str, Iterator[str]] = {}
        for child, child_entry in _inner(layer, entry):
            name = _snake(child_entry["class_name"])
            name = next(groups.setdefault(name, _numbered(inside, name)), "")
            if child.weights and not name:
                raise ValueError(f"it has no weights for layer {child.name!r}")
            if child.weights:
                _load_tree(child, child_entry, _group(inside, name))


def _numbered(group: h5py.Group, name: str) -> Iterator[str]:
    """Yield `dense`, `dense_1`, `dense_2` and so on, as far as they are there; Keras 2.13 left numbers out."""
    found = [
        (int(match[1] or 0), key) for key in group if (match := re.fullmatch(rf"{re.escape(name)}(?:_(\d+))?", key))
    ]
    return iter([key for _, key in sorted(found)])


def _load_leaf(layer: Any, group: h5py.Group) -> None:
    """Load a layer that is no model, and the layers that are its attributes, such as the cell of an LSTM."""
    inner: list[tuple[Any, h5py.Group]] = []
    for name, value in vars(layer).items():
        if isinstance(value, keras.Layer) and name in group:
            inner.append((value, _group(group, name)))
        elif isinstance(value, list | tuple) and name in group:
            container = _group(group, name)
            names: dict[str, Iterator[str]] = {}
            for child in value:
                if isinstance(child, keras.Layer):
                    kind = _snake(type(child).__name__)
                    found = next(names.setdefault(kind, _numbered(container, kind)), "")
                    inner += [(child, _group(container, found))] if found else []
    below = {id(weight) for child, _ in inner for weight in child.weights}
    own = [weight for weight in layer.weights if id(weight) not in below]
    store = _group(group, "vars") if "vars" in group else {}
    numbers = _without_extra(layer, list(map(str, range(len(store)))), len(own))
    for number, weight in zip(numbers, own, strict=True):
        weight.assign(_values(store, number, tuple(weight.shape)))
    for child, child_group in inner:
        _load_leaf(child, child_group)


def _snake(name: str) -> str:
    """Return the name of a class as Keras 2 wrote it for a group: `conv2d` for Conv2D, `p_re_lu` for PReLU."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


# --- both


def _without_extra(layer: Any, names: list[str], count: int) -> list[str]:
    """Return the names of a layer's weights in the file, `count` of them, without one that Keras 3 does not have.

    Raises ValueError if there are more or fewer.
    """
    if len(names) == count + 1 and isinstance(layer, keras.layers.Normalization):
        names = names[:-1]  # how many images the statistics come from
    if len(names) == count + 1 and isinstance(layer, keras.layers.SpectralNormalization):
        names = names[1:]  # the kernel, once more
    if len(names) != count:
        raise ValueError(f"it has {len(names)} weights for layer {layer.name!r}, which takes {count}")
    return names


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return the group of this path; each step of it must be in the file itself."""
    for step in name.split("/"):
        parent = _child(parent, step)
        if not isinstance(parent, h5py.Group):
            raise ValueError(f"{name!r} is no group")
    return parent


def _values(group: h5py.Group, name: str, shape: tuple[int, ...]) -> Array:
    """Return an array of this shape; raises ValueError for another shape, and for data that lie in another file."""
    folder, _, last = name.rpartition("/")
    dataset = _child(_group(group, folder) if folder else group, last)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name!r} is no array in the file itself")
    if dataset.shape != shape:
        raise ValueError(f"{name!r} has shape {dataset.shape}, and the network takes {shape}")
    return np.asarray(dataset[()])


def _child(group: h5py.Group, name: str) -> Any:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} is not in the file itself")
    return group[name]
