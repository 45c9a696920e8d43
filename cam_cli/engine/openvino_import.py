"""Imports OpenVINO without its conversion tools, which would report the import to their makers."""

import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cam_cli.errors import UnsupportedError
from cam_cli.text import one_line

_REPORTING = ("openvino.tools.ovc", "openvino_telemetry")
"""`import openvino` imports the first if it can, and that sends an event by the second. Neither is needed here."""


def openvino_version() -> str | None:
    """Return the version of OpenVINO that is installed, without importing it; None if there is none."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def openvino() -> Any:
    """Return the module `openvino`; raises UnsupportedError if it is not installed or cannot be imported."""
    if openvino_version() is None:
        raise UnsupportedError("OpenVINO is not installed (pip install 'smoothcam[openvino]')")
    return _imported()


@cache
def _imported() -> Any:
    blocked = [name for name in _REPORTING if name not in sys.modules]
    for name in blocked:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        return importlib.import_module("openvino")
    except Exception as error:
        raise UnsupportedError(f"OpenVINO cannot be imported: {one_line(error)}") from error
    finally:
        for name in blocked:
            del sys.modules[name]
