"""`smoothcam report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.locations import LocationParam
from cam_cli.cli.progress import Bar, Progress
from cam_cli.cli.table import remark
from cam_cli.cli.truth import truth_option
from cam_cli.storage.location import Location

if TYPE_CHECKING:
    from cam_cli.results.truth import TruthSource


@click.command()
@click.argument("run", type=LocationParam(), metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The file to write.  [default: RUN/report.html; report.html here for a run in a store]",
)
@truth_option
@click.option("-q", "--quiet", is_flag=True, help="Write only errors to stderr.")
def report(run: Location, output: Path | None, truth: TruthSource | None, quiet: bool) -> int:
    """Show the output folder RUN as one HTML page, to be opened in a browser, also without a network.

    Where the true classes are known: how many images are right, and the wrong ones first, with the maps of the predicted and
    of the true class side by side; which classes are confused, and the accuracy of each. Failures, empty and suspicious maps
    come next. Every figure of `smoothcam evaluate`, if that was run before, sorts and filters. The filters stand in the page's
    address, and what passes them is saved as a list or as CSV. The page holds small pictures and links to those in full size,
    so leave the page where it is, or take RUN and the images with it.

    \b
    smoothcam report out                         writes out/report.html
    smoothcam report out --truth folder          the folder of an image names its class
    smoothcam report out -o monday.html
    """
    from cam_cli.report.write import write_report

    progress = Progress()
    with Bar(sys.stderr, hidden=quiet) as bar:

        def on_progress(total: int) -> None:
            progress.total = total
            progress.count("", failed=False, skipped=False)
            bar.draw(progress)

        done = write_report(run, output, on_progress, truth)
    images = f"{done.images:,} image{'' if done.images == 1 else 's'}"
    if not quiet:
        remark(f"report: {done.path} ({images}, {done.size / 1e6:.1f} MB)")
    if done.left_out:
        missing = "more are in the index, but their folders are not there or cannot be read"
        remark(f"{done.left_out:,} {missing}; run `smoothcam explain` again")
    return 0
