"""From a run folder, or from two, to a page, which is written whole or not at all."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.evaluate.compare import Comparison
from cam_cli.evaluate.records import read_evaluation
from cam_cli.images.image import MAX_PIXELS
from cam_cli.report.gather import Gathering
from cam_cli.report.page import MARK, write_page
from cam_cli.report.sides import Sides
from cam_cli.report.thumbnails import detail_for
from cam_cli.results.files import whole
from cam_cli.results.layout import REPORT
from cam_cli.results.reader import RunReader
from cam_cli.results.truth import TruthSource
from cam_cli.storage.location import Location, Url
from cam_cli.text import shown

_DECODERS = 2
_OF_A_RUN = {"model", "versions", "finished", "started", "state"}
_SECONDS_FOR_AN_IMAGE = 60.0


@dataclass(frozen=True)
class Report:
    """A report of `size` bytes that was written; `left_out` images are in the index but cannot be read."""

    path: Path
    images: int
    left_out: int
    size: int


def write_report(
    folder: Location,
    output: Path | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    truth: TruthSource | None = None,
) -> Report:
    """Write one HTML file that shows a run; images and maps in full size are linked.

    Args:
        output: the file; report.html in the run's folder if left out, or for a run in a store here.
        on_progress: called after each image with the number of all images.
        truth: where the true classes are, instead of what the run knew of them.

    Raises UsageError if there is no such run, or `output` is another file or cannot be used, and SmoothcamError if the report
    cannot be written.
    """
    run = RunReader(folder, truth)
    path = output or (Path(REPORT) if isinstance(folder, Url) else folder / REPORT)
    _check_output(path)
    total = run.count()
    gathering = Gathering(run, read_evaluation(folder), path.absolute().parent, detail_for(total))
    about = {"kind": "run", "root": run.root.name, "expected": total} | _about(run)
    size = _write(path, about, gathering, run, lambda: on_progress(total))
    return Report(path, gathering.shown, total - gathering.shown, size)


def write_comparison(comparison: Comparison, before: RunReader, after: RunReader, path: Path) -> None:
    """Write one HTML file that shows two runs side by side, of which `comparison` was made.

    Raises UsageError if `path` is another file or cannot be used, and SmoothcamError if the page cannot be written.
    """
    _check_output(path)
    total = len(comparison.images)
    sides = Sides(comparison, before, after, path.absolute().parent, detail_for(total))
    correlation = comparison.totals.correlation
    about: dict[str, Any] = {
        "kind": "comparison",
        "root": after.root.name,
        "folder": f"{before.name}-{after.name}",
        "expected": total,
        "before": _about(before),
        "after": _about(after),
        "correlation": correlation and asdict(correlation),
        "only_before": len(comparison.only_before),
        "only_after": len(comparison.only_after),
    }
    _write(path, about, sides, after, lambda: None)


def _write(
    path: Path, about: dict[str, Any], gathering: Gathering | Sides, run: RunReader, on_image: Callable[[], None]
) -> int:
    max_pixels = run.record.config.get("max_pixels", MAX_PIXELS)
    try:
        with DecoderPool(_DECODERS, _SECONDS_FOR_AN_IMAGE) as decoders, whole(path) as stream:
            write_page(stream, about, gathering.entries(decoders, max_pixels, on_image), gathering.closing)
            return stream.tell()
    except OSError as error:
        raise SmoothcamError(
            f"{shown(path)} cannot be written: {error.strerror}; make space or choose another path"
        ) from error


def _about(run: RunReader) -> dict[str, Any]:
    told = run.record.model_dump(mode="json", include=_OF_A_RUN, exclude_unset=True)
    return {"folder": run.name} | told


def _check_output(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {shown(path)} does not exist; make it, or choose another path")
    try:
        with path.open("rb") as stream:
            ours = stream.read(len(MARK)) == MARK
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be replaced: {error.strerror}; choose another path") from None
    if not ours:
        raise UsageError(f"{shown(path)} is not a report of smoothcam and is kept; choose another path")
