"""smoothcam: what an image classifier looked at.

From Python:

    from cam_cli import grad_cam_plus_smooth, explain, load_network

`grad_cam_plus_smooth` is the paper's own call. `explain` returns raw maps with everything that is known about them.
`load_network` opens a bundled model or a file, as the command line does. TensorFlow is imported at the first use of one of
these, not with `cam_cli`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cam_cli.machine import unsupported
from cam_cli.quiet import native_chatter_silenced
from cam_cli.version import __version__

if TYPE_CHECKING:
    from cam_cli.api import explain, grad_cam_plus_smooth
    from cam_cli.engine.maps import SaliencyMap
    from cam_cli.engine.noise import Noise
    from cam_cli.engine.request import Explanation, Request
    from cam_cli.engine.selection import Selection
    from cam_cli.models.load import Network, load_network

_MODULES = {
    "Explanation": "engine.explain",
    "Network": "models.load",
    "Noise": "engine.noise",
    "Request": "engine.explain",
    "SaliencyMap": "engine.maps",
    "Selection": "engine.selection",
    "explain": "api.arrays",
    "grad_cam_plus_smooth": "api.arrays",
    "load_network": "models.load",
}

__all__ = [
    "Explanation", "Network", "Noise", "Request", "SaliencyMap", "Selection", "__version__", "explain", "grad_cam_plus_smooth",
    "load_network",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'cam_cli' has no attribute '{name}'")
    if why_not := unsupported():
        raise ImportError(why_not)
    with native_chatter_silenced():
        return getattr(import_module(f"cam_cli.{_MODULES[name]}"), name)
