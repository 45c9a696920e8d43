"""From a run folder to its report, which is written whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.evaluate.records import read_evaluation
from cam_cli.images.image import MAX_PIXELS
from cam_cli.report.gather import Gathering
from cam_cli.report.page import MARK, write_page
from cam_cli.report.thumbnails import detail_for
from cam_cli.results.files import whole
from cam_cli.results.index import Index
from cam_cli.results.layout import REPORT
from cam_cli.results.reader import RunReader
from cam_cli.results.truth import TruthSource
from cam_cli.text import shown

_DECODERS = 2
_OF_A_RUN = {"model", "versions", "finished", "state"}
_SECONDS_FOR_AN_IMAGE = 60.0


@dataclass(frozen=True)
class Report:
    """A report of `size` bytes that was written; `left_out` images are in the index but cannot be read."""

    path: Path
    images: int
    left_out: int
    size: int


def write_report(
    folder: Path,
    output: Path | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    truth: TruthSource | None = None,
) -> Report:
    """Write one HTML file that shows a run; images and maps in full size are linked.

    Args:
        output: the file; report.html in the run's folder if left out.
        on_progress: called after each image with the number of all images.
        truth: where the true classes are, instead of what the run knew of them.

    Raises UsageError if there is no such run, or `output` is another file or cannot be used, and SmoothcamError if the report
    cannot be written.
    """
    run = RunReader(folder, truth)
    path = output or folder / REPORT
    _check_output(path)
    with Index(folder) as index:
        total = len(index)
    gathering = Gathering(run, read_evaluation(folder), path.absolute().parent, detail_for(total))
    about: dict[str, Any] = {"kind": "run", "root": run.root.name, "folder": run.folder.resolve().name, "expected": total}
    about |= run.record.model_dump(mode="json", include=_OF_A_RUN, exclude_unset=True)
    max_pixels = run.record.config.get("max_pixels", MAX_PIXELS)
    try:
        with DecoderPool(_DECODERS, _SECONDS_FOR_AN_IMAGE) as decoders, whole(path) as stream:
            entries = gathering.entries(decoders, max_pixels, lambda: on_progress(total))
            write_page(stream, about, entries, gathering.closing)
            size = stream.tell()
    except OSError as error:
        raise SmoothcamError(
            f"{shown(path)} cannot be written: {error.strerror}; make space or choose another path with -o"
        ) from error
    return Report(path, gathering.shown, total - gathering.shown, size)


def _check_output(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {shown(path)} does not exist; make it, or choose another path with -o")
    try:
        with path.open("rb") as stream:
            ours = stream.read(len(MARK)) == MARK
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be replaced: {error.strerror}; choose another path with -o") from None
    if not ours:
        raise UsageError(f"{shown(path)} is not a report of smoothcam and is kept; choose another path with -o")
