"""smoothcam: what an image classifier looked at.

From Python:

    from cam_cli import grad_cam_plus_smooth, explain, load_network

`grad_cam_plus_smooth` is the paper's own call; `explain` returns raw maps with all that is known about them;
`load_network` opens a bundled model or a file as the command line does. Importing `cam_cli` alone does not import
TensorFlow; the first use of one of these does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cam_cli.quiet import native_chatter_silenced
from cam_cli.version import __version__

if TYPE_CHECKING:
    from cam_cli.api import explain, grad_cam_plus_smooth
    from cam_cli.engine.explain import Explanation, Request
    from cam_cli.engine.maps import SaliencyMap
    from cam_cli.engine.selection import Selection
    from cam_cli.engine.tracing import Noise
    from cam_cli.models.load import Network, load_network

_HOMES = {
    "explain": "cam_cli.api",
    "grad_cam_plus_smooth": "cam_cli.api",
    "Explanation": "cam_cli.engine.explain",
    "Request": "cam_cli.engine.explain",
    "SaliencyMap": "cam_cli.engine.maps",
    "Noise": "cam_cli.engine.tracing",
    "Selection": "cam_cli.engine.selection",
    "Network": "cam_cli.models.load",
    "load_network": "cam_cli.models.load",
}

__all__ = [
    "Explanation",
    "Network",
    "Noise",
    "Request",
    "SaliencyMap",
    "Selection",
    "__version__",
    "explain",
    "grad_cam_plus_smooth",
    "load_network",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cam_cli' has no attribute '{name}'")
    with native_chatter_silenced():
        return getattr(import_module(_HOMES[name]), name)
