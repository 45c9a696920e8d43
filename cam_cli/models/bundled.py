"""The models that ship inside the package and need no network."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from cam_cli.errors import UsageError

_HERE = Path(__file__).parent / "bundled"
DEFAULT = "efficientnet-lite0"


def bundled_models() -> dict[str, Path]:
    """Return the model file of each bundled model by name, the default first."""
    found = {path.stem: path for path in sorted(_HERE.glob("*.keras"))}
    return {DEFAULT: found.pop(DEFAULT), **found}


def choose_bundled(layers: Sequence[str]) -> str:
    """Choose the bundled model that has all the named layers, read without TensorFlow; `auto` fits every model.

    Raises UsageError if no bundled model has them all.
    """
    named = [layer for layer in layers if layer != "auto"]
    for name, path in bundled_models().items():
        if set(named) <= layer_names(path):
            return name
    listed = ", ".join(repr(layer) for layer in named)
    raise UsageError(
        f"no bundled model has the layer {listed}; name the model with --model, or list layers with `smoothcam layers`"
    )


def layer_names(path: Path) -> set[str]:
    """Return the names of the layers of a `.keras` file, without loading it."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    return {layer["config"]["name"] for layer in config["config"]["layers"]}
