"""`smoothcam report`."""

import sys
from pathlib import Path

import click

from cam_cli.cli.locations import LocationParam
from cam_cli.cli.progress import Bar, Progress
from cam_cli.cli.table import remark
from cam_cli.storage.location import Location


@click.command()
@click.argument("run", type=LocationParam(), metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The file to write.  [default: RUN/report.html; report.html here for a run in a store]",
)
@click.option("-q", "--quiet", is_flag=True, help="Write only errors to stderr.")
def report(run: Location, output: Path | None, quiet: bool) -> int:
    """Show the output folder RUN as one HTML page, to be opened in a browser, also without a network.

    Images with a slider to their overlays; failures, empty and suspicious maps first. Sorted and filtered by class, confidence,
    state and every metric of `smoothcam evaluate`, if that was run before. The page holds small pictures and links to those in
    full size, so leave the page where it is, or take RUN and the images with it.

    \b
    smoothcam report out                         writes out/report.html
    smoothcam report out -o monday.html
    """
    from cam_cli.report.write import write_report

    progress = Progress()
    with Bar(sys.stderr, hidden=quiet) as bar:

        def on_progress(total: int) -> None:
            progress.total = total
            progress.count("", failed=False, skipped=False)
            bar.draw(progress)

        done = write_report(run, output, on_progress)
    images = f"{done.images:,} image{'' if done.images == 1 else 's'}"
    if not quiet:
        remark(f"report: {done.path} ({images}, {done.size / 1e6:.1f} MB)")
    if done.left_out:
        missing = "more are in the index, but their folders are not there or cannot be read"
        remark(f"{done.left_out:,} {missing}; run `smoothcam explain` again")
    return 0
