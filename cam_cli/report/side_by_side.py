"""Two runs side by side on one page: the images that changed most, with both overlays."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path

from cam_cli.errors import UsageError
from cam_cli.evaluate.compare import Comparison, ImageChange, MapPair
from cam_cli.render.encode import read_picture
from cam_cli.results.files import read_regular, whole
from cam_cli.results.manifest import TargetRecord
from cam_cli.results.reader import RunReader

MOST_IMAGES = 200
"""So many of the worst are shown, or the page would not open."""

_SIDE = 320
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --muted: #767676; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --muted: #a0a0a0; --bad: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-weight: 600; } h2 { font-size: 1.05rem; overflow-wrap: anywhere; margin: 0; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; font-weight: 400; }
td { font-variant-numeric: tabular-nums; }
section { border-top: 1px solid var(--line); padding: 1.2rem 0; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 20rem)); gap: 1rem; }
figure { margin: .6rem 0; } img { display: block; max-width: 100%; max-height: 20rem; border-radius: 6px; }
figcaption, .figures { color: var(--muted); font-size: .9rem; } strong { color: var(--bad); font-weight: 600; }
"""


def write_page(comparison: Comparison, before: RunReader, after: RunReader, path: Path) -> None:
    """Write the page: one file, which needs no network and no script.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        with whole(path) as file:
            for part in _page(comparison, before, after):
                file.write(part.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _page(comparison: Comparison, before: RunReader, after: RunReader) -> Iterator[str]:
    a, b = escape(str(before.folder)), escape(str(after.folder))
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{a} and {b}</title><style>{_STYLE}</style></head>\n<body><h1>What changed</h1>\n"
        f"<p>A is <b>{a}</b> ({escape(_made_with(before))}), B is <b>{b}</b> ({escape(_made_with(after))}).</p>\n<table>"
    )
    for name, number in comparison.counts().items():
        yield f"<tr><th>{name}</th><td>{number}</td></tr>\n"
    if comparison.correlation:
        found = comparison.correlation
        yield (
            "<tr><th>mean correlation of each image's worst map</th>"
            f"<td>{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})</td></tr>\n"
        )
    yield "</table>\n"
    shown = comparison.images[:MOST_IMAGES]
    yield f"<p>Worst first{'' if len(shown) == len(comparison.images) else f'; the first {MOST_IMAGES} are shown'}.</p>\n"
    for image in shown:
        yield from _image(image, before, after)
    yield "</body></html>\n"


def _image(image: ImageChange, before: RunReader, after: RunReader) -> Iterator[str]:
    said = {
        "newly failed": image.newly_failed,
        "newly blank": image.newly_blank,
        "another class": image.prediction_changed,
    }
    marks = ", ".join(word for word, holds in said.items() if holds)
    yield f"<section><h2>{escape(image.path)}{f' <strong>{marks}</strong>' if marks else ''}</h2>\n"
    a, b = _label(image.predicted_before), _label(image.predicted_after)
    yield f'<p class="figures">predicted: {a}{"" if a == b else f", then {b}"}</p>\n'
    folders = before.folder_of(image.path), after.folder_of(image.path)
    for pair in image.maps:
        both = _figure(pair, folders[0], "A") + _figure(pair, folders[1], "B")
        yield f'<div class="pair">{both}</div>'
        figures = {"correlation": pair.correlation, "overlap": pair.overlap, "shift": pair.shift}
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
        layer = escape(pair.layer if pair.layer == pair.layer_before else f"{pair.layer_before}, then {pair.layer}")
        yield f'<p class="figures">{escape(pair.method)}, {layer}{f": {numbers}" if numbers else ""}</p>\n'
    yield "</section>\n"


def _figure(pair: MapPair, folder: Path, side: str) -> str:
    name, state, target = (
        (pair.files_before, pair.state_before, pair.target_before)
        if side == "A"
        else (pair.files_after, pair.state_after, pair.target_after)
    )
    caption = f"{side}: {_label(target)}{'' if state == 'ok' else f', {state}'}"
    data = _thumbnail(folder / name) if name else None
    picture = (
        f'<img loading="lazy" alt="overlay of {caption}" src="data:image/jpeg;base64,{data}">'
        if data
        else "<p>no overlay</p>"
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _thumbnail(path: Path) -> str | None:
    try:
        picture = read_picture(read_regular(path))
    except OSError:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def _made_with(run: RunReader) -> str:
    return ", ".join(([run.record.model.name] if run.record.model else []) + [run.record.started])


def _label(target: TargetRecord | None) -> str:
    return "none" if target is None else escape(target.label or str(target.index))
