"""`smoothcam explain`."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cam_cli.cli.audits import Audit, audited
from cam_cli.cli.console import Console
from cam_cli.cli.locations import LocationParam
from cam_cli.cli.options import RunCommand, resolve_options, run_options
from cam_cli.config import RunConfig
from cam_cli.errors import ExitCode, UsageError
from cam_cli.interruption import Interruption
from cam_cli.storage.location import Location
from cam_cli.text import escaped

if TYPE_CHECKING:
    from cam_cli.pipeline.stats import Stats


@click.command(cls=RunCommand)
@click.argument("paths", nargs=-1, type=LocationParam(), metavar="[PATH]...")
@run_options
@click.option("--dry-run", is_flag=True, help="List what would be done, and do nothing; loads no model.")
@click.option("--json", "json_lines", is_flag=True, help="One line of JSON on stdout for each image.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr: a line for each image.")
@click.pass_obj
def explain(
    interruption: Interruption,
    /,
    paths: tuple[Location, ...],
    dry_run: bool,
    json_lines: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Explain the images in PATH...: files, folders (walked recursively), quoted globs and URLs such as s3://bucket/images.

    Writes OUT/<relative folder>/<file name>/ for each image: manifest.json and, for each map, .npy, .heatmap.png and
    .overlay.jpg. Running the same command again does only what is missing. SIGUSR1 makes it say how far it is.

    \b
    smoothcam explain images/                                        the bundled model, its best layer
    smoothcam explain images/ --layer block5_conv3 --sheet           the paper's layer, and one contact sheet
    smoothcam explain a.jpg --layer block5_conv3 --filters 0,3,10-12 --filter-maps each
    smoothcam explain a.jpg --layer block5_conv3 --region --subset "0,10 12,12"
    find images -newer last -name '*.jpg' -print0 | smoothcam explain --files-from0 -
    smoothcam explain images/ --shard 2/8                            one part of eight, on a machine of its own
    """
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; leave one out")
    settings = resolve_options(options)
    config = settings.config
    shown = {"json_lines": json_lines, "quiet": quiet, "verbose": verbose}
    with Console(**shown, progress_every=config.progress_every, log_file=config.log_file) as console:
        if dry_run:
            return _preview(paths, config, console, as_json=json_lines)

        from cam_cli.pipeline.run import explain_run

        interruption.announce = lambda text: _aside(lambda: console.warn(text))
        signal.signal(signal.SIGUSR1, lambda *_: _aside(console.where))
        audit = Audit(config.audit or {}, given=settings.origin["audit"].startswith("flag"))
        found: int = ExitCode.DONE

        def judge(stats: Stats) -> None:
            nonlocal found
            behind = stats.truth.images_behind
            found = audited(audit, stats.figures(), "explain", warn=console.warn, say=console.say, images_behind=behind)

        stats = explain_run(paths, config, settings.origin, console, interruption, judge)
        return found or stats.exit_code


def _preview(paths: tuple[Location, ...], config: RunConfig, console: Console, *, as_json: bool) -> int:
    from cam_cli.pipeline.dry_run import dry_run

    for planned in dry_run(paths, config, console):
        line = f"{planned.action}\t{escaped(planned.path)}\t{escaped(planned.reason)}"
        click.echo(json.dumps(asdict(planned), sort_keys=True) if as_json else line)
    return 0


def _aside(action: Callable[[], None]) -> None:
    """Do something on another thread, as a signal handler may have interrupted the very code it would wait for."""
    threading.Thread(target=action, daemon=True).start()
