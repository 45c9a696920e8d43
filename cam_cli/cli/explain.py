"""`smoothcam explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cam_cli.cli.console import Console
from cam_cli.cli.options import resolve_options, run_options


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False), metavar="PATH...")
@run_options
@click.option("--json", "json_lines", is_flag=True, help="One line of JSON on stdout for each image.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
def explain(paths: tuple[Path, ...], json_lines: bool, quiet: bool, **options: Any) -> int:
    """Explain the images in PATH..., files or folders (walked recursively).

    Writes OUT/<relative folder>/<file name>/ for each image: manifest.json and, for each map, .npy, .heatmap.png and
    .overlay.png. Running the same command again does only what is missing.

    \b
    smoothcam explain photos/                                        the bundled model, its best layer
    smoothcam explain photos/ --layer block5_conv3 --sheet           the paper's layer, and one contact sheet
    smoothcam explain a.jpg --layer block5_conv3 --filters 0,3,10-12 --filter-maps each
    smoothcam explain a.jpg --layer block5_conv3 --region --subset "0,10 12,12"
    """
    settings = resolve_options(options)

    from cam_cli.runs.explain import explain_run

    with Console(json_lines=json_lines, quiet=quiet) as console:
        outcome = explain_run(paths, settings.config, settings.origin, console)
    return outcome.exit_code
