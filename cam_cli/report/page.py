"""One HTML file that needs nothing but itself: markup, style, script and data, written image by image."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any, BinaryIO, Final

from cam_cli.report.gather import Entry

MARK: Final = b"<!doctype html>\n<!-- smoothcam report -->\n"
"""The first bytes of every report; only a file that begins with them is replaced."""

_ROWS_IN_A_BLOCK = 500
_HARMLESS = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def write_page(
    stream: BinaryIO, about: Mapping[str, Any], entries: Iterable[Entry], closing: Callable[[], Mapping[str, Any]]
) -> None:
    """Write the page, one image at a time; raises OSError if it cannot be written.

    The data are blocks of JSON. `about` is known beforehand and comes first. Then follow the detail of each image, which is
    read when it is looked at, and the rows of every few hundred images, which are read at once. The result of `closing`
    comes last.
    """
    style, script = asset("page.css"), asset("page.js")
    markup = asset("page.html").replace("%POLICY%", _policy(style, script)).replace("%STYLE%", style)
    before, _, after = markup.partition("%DATA%\n")
    stream.write(MARK + before.encode())
    stream.write(_block(about, 'id="about"'))
    rows: list[list[Any]] = []
    for number, entry in enumerate(entries):
        stream.write(_block(entry.detail, f'id="image-{number}"'))
        rows.append(entry.row)
        if len(rows) == _ROWS_IN_A_BLOCK:
            stream.write(_block(rows, 'class="rows"'))
            rows = []
    stream.write(_block(rows, 'class="rows"'))
    stream.write(_block(closing(), 'id="closing"'))
    stream.write(after.replace("%SCRIPT%", script).encode())


def asset(name: str) -> str:
    """Return a file of this package as text."""
    return files("cam_cli.report").joinpath(name).read_text("utf-8")


def _policy(*parts: str) -> str:
    """Return a Content-Security-Policy: this style, this script, pictures in the file or beside it, nothing else."""
    style, script = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode("ascii") for part in parts)
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data: file: 'self'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _block(value: object, attributes: str) -> bytes:
    """Return a block of data; no text from outside can end the block or begin another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":")).translate(_HARMLESS)
    return f'<script type="application/json" {attributes}>{text}</script>\n'.encode("ascii")
