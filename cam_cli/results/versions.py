"""The versions that a result may depend on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

from cam_cli.version import __version__


@cache
def versions() -> dict[str, str]:
    """Return the versions of smoothcam, Python and the packages that compute, without importing them."""
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy", "pillow")}
    return {"smoothcam": __version__, "python": platform.python_version(), **packages}
