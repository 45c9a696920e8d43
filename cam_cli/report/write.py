"""From a run folder to its report: there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.images.decode import MAX_PIXELS
from cam_cli.report.evaluation import read_evaluation
from cam_cli.report.gather import Entry, Gathering
from cam_cli.report.page import MARK, write_page
from cam_cli.report.thumbnails import detail_for
from cam_cli.results.files import whole
from cam_cli.results.index import Index
from cam_cli.results.layout import EVALUATION, REPORT
from cam_cli.results.reader import RunReader
from cam_cli.text import shown

_DECODERS = 2
_SECONDS_FOR_A_PHOTO = 60.0
_OF_A_RUN = {"model", "versions", "finished", "state"}


@dataclass(frozen=True)
class Report:
    """A report that was written.

    images: how many it shows. left_out: how many more the index has, whose folders are not there or cannot be read. size: of
    the file, in bytes.
    """

    path: Path
    images: int
    left_out: int
    size: int


def write_report(
    folder: Path, output: Path | None = None, tell: Callable[[int, int], None] = lambda _done, _total: None
) -> Report:
    """Write one HTML file that shows a run; photos and maps in full size are linked to where they are.

    Args:
        folder: of the run. output: the file; report.html in the run's folder when left out. tell: told after each image how
            many are done, and of how many.

    Raises:
        UsageError: there is no such run, or the file's place is taken or cannot be used. SmoothcamError: it cannot be written.
    """
    run = RunReader(folder)
    path = output or folder / REPORT
    _check_place(path)
    evaluation = read_evaluation(folder / EVALUATION)
    with Index(folder) as index:
        total = len(index)
    gathering = Gathering(run, evaluation, path.absolute().parent, detail_for(total))

    def told(entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            yield entry
            tell(gathering.shown, total)

    max_pixels = run.record.config.get("max_pixels", MAX_PIXELS)
    try:
        with DecoderPool(_DECODERS, _SECONDS_FOR_A_PHOTO) as decoders, whole(path) as stream:
            write_page(stream, _about(run, total), told(gathering.entries(decoders, max_pixels)), gathering.closing)
            size = stream.tell()
    except OSError as error:
        raise SmoothcamError(
            f"{shown(path)} cannot be written: {error.strerror}; free its place and run again"
        ) from error
    return Report(path, gathering.shown, total - gathering.shown, size)


def _about(run: RunReader, total: int) -> dict[str, Any]:
    record = run.record.model_dump(mode="json", include=_OF_A_RUN, exclude_unset=True)
    return record | {
        "photos": run.root.name,
        "folder": run.folder.resolve().name,
        "expected": total,
    }


def _check_place(path: Path) -> None:
    """Refuse a place where a report cannot be, or would replace something else.

    Raises:
        UsageError: as said.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {shown(path)} is not there; make it, or choose another path with -o")
    try:
        with path.open("rb") as stream:
            ours = stream.read(len(MARK)) == MARK
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be replaced: {error.strerror}; choose another path with -o") from None
    if not ours:
        raise UsageError(f"{shown(path)} is no report of smoothcam's and stays as it is; choose another path with -o")
