"""The models that ship inside the package and need no network."""

from collections.abc import Sequence
from pathlib import Path

from cam_cli.errors import UsageError
from cam_cli.graph.layer_names import near_layers
from cam_cli.models.keras_file import layer_names

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
        if set(named) <= (layer_names(path) or set()):
            return name
    known = sorted({layer for path in bundled_models().values() for layer in layer_names(path) or ()})
    absent = [layer for layer in named if layer not in known]
    listed, near = ", ".join(map(repr, absent or named)), near_layers(absent[0], known) if absent else ""
    raise UsageError(
        f"no bundled model has the layer {listed}{near}; name the model with --model, or list layers with `smoothcam layers`"
    )
