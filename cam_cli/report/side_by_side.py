"""Two runs side by side on one page: the images that changed most, with both overlays."""

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path

from cam_cli.errors import UsageError
from cam_cli.evaluate.compare import Comparison, ImageChange
from cam_cli.report.page import asset
from cam_cli.report.thumbnails import file_thumbnail
from cam_cli.results.files import whole
from cam_cli.results.manifest import TargetRecord
from cam_cli.results.reader import RunReader

MOST_IMAGES = 200
"""So many of the worst are shown, or the page would not open."""

_SIDE = 320

_Read = Callable[[str], bytes]
"""Gives the bytes of a file of an image."""


def write_comparison(comparison: Comparison, before: RunReader, after: RunReader, path: Path) -> None:
    """Write the page: one file, which needs no network and no script; raises UsageError if it cannot be written."""
    try:
        with whole(path) as file:
            for part in _page(comparison, before, after):
                file.write(part.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _page(comparison: Comparison, before: RunReader, after: RunReader) -> Iterator[str]:
    head, _, foot = asset("side_by_side.html").partition("%IMAGES%")
    totals = {name: str(number) for name, number in comparison.counts().items()}
    if mean := comparison.totals.correlation:
        totals["mean correlation of each image's worst map"] = f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})"
    rows = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>\n" for name, text in totals.items())
    head = head.replace("%TOTALS%", rows)
    for side, run in (("A", before), ("B", after)):
        made_with = ", ".join(([run.record.model.name] if run.record.model else []) + [run.record.started])
        head = head.replace(f"%MODEL_{side}%", escape(made_with)).replace(f"%{side}%", escape(str(run.folder)))
    yield head
    shown = comparison.images[:MOST_IMAGES]
    yield f"<p>Worst first{'' if len(shown) == len(comparison.images) else f'; the first {MOST_IMAGES} are shown'}.</p>\n"
    for image in shown:
        yield from _image(image, partial(before.read_of, image.path), partial(after.read_of, image.path))
    yield foot


def _image(image: ImageChange, before: _Read, after: _Read) -> Iterator[str]:
    changes = ", ".join(image.changes())
    yield f"<section><h2>{escape(image.path)}{f' <strong>{changes}</strong>' if changes else ''}</h2>\n"
    predicted = _then(_label(image.predicted_before), _label(image.predicted_after))
    yield f'<p class="figures">predicted: {predicted}</p>\n'
    for pair in image.maps:
        left = _figure("A", before, pair.files_before, pair.state_before, pair.target_before)
        right = _figure("B", after, pair.files_after, pair.state_after, pair.target_after)
        yield f'<div class="pair">{left}{right}</div>'
        metrics = {"correlation": pair.correlation, "overlap": pair.overlap, "shift": pair.shift}
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if value is not None)
        caption = f"{escape(pair.method)}, {_then(escape(pair.layer_before), escape(pair.layer))}"
        yield f'<p class="figures">{caption}{f": {numbers}" if numbers else ""}</p>\n'
    yield "</section>\n"


def _figure(side: str, read: _Read, name: str | None, state: str, target: TargetRecord) -> str:
    caption = f"{side}: {_label(target)}{'' if state == 'ok' else f', {state}'}"
    data = file_thumbnail(read, name, _SIDE) if name else None
    overlay = f'<img loading="lazy" alt="overlay of {caption}" src="data:image/webp;base64,{data}">'
    return f"<figure>{overlay if data else '<p>no overlay</p>'}<figcaption>{caption}</figcaption></figure>"


def _then(before: str, after: str) -> str:
    return after if before == after else f"{before}, then {after}"


def _label(target: TargetRecord | None) -> str:
    return "none" if target is None else escape(target.label or str(target.index))
