"""See what an image classifier looked at.

    import smoothcam

    found = smoothcam.explain(model, "cat.jpg", layer="block5_conv3", target="ox", method="gradcam++")
    found.overlay()

`explain` takes a Keras model, a bundled name or a file, and images as paths, PIL images or arrays. `grad_cam_plus_smooth` is
the paper's own call. `load_network` opens a model as the command does. TensorFlow is imported at the first use of one of these.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cam_cli.machine import unsupported
from cam_cli.quiet import native_chatter_silenced
from cam_cli.version import __version__

if TYPE_CHECKING:
    from cam_cli.api.arrays import grad_cam_plus_smooth
    from cam_cli.api.call import explain
    from cam_cli.api.explained import ExplainedImage, ExplainedMap
    from cam_cli.errors import ImageError, ModelError, SmoothcamError, UsageError
    from cam_cli.models.load import Network, load_network

_MODULES = {
    "ExplainedImage": "api.explained",
    "ExplainedMap": "api.explained",
    "ImageError": "errors",
    "ModelError": "errors",
    "Network": "models.load",
    "SmoothcamError": "errors",
    "UsageError": "errors",
    "explain": "api.call",
    "grad_cam_plus_smooth": "api.arrays",
    "load_network": "models.load",
}

__all__ = [
    "ExplainedImage", "ExplainedMap", "ImageError", "ModelError", "Network", "SmoothcamError", "UsageError", "__version__",
    "explain", "grad_cam_plus_smooth", "load_network",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'smoothcam' has no attribute '{name}'")
    if why_not := unsupported():
        raise ImportError(why_not)
    with native_chatter_silenced():
        return getattr(import_module(f"cam_cli.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
