"""The option that says where the true classes of a finished run's images are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cam_cli.cli.table import Command

if TYPE_CHECKING:
    from cam_cli.results.truth import TruthSource


def truth_option(command: Command) -> Command:
    """Add `--truth`; the command gets `truth`: `folder`, the path of a file, or None for what the run knew itself."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> TruthSource | None:
        if value is None or value == "folder":
            return "folder" if value else None
        return Path(value)

    return click.option(
        "--truth",
        metavar="folder|FILE",
        callback=read,
        help="Where the true classes are: the images' folders, or a CSV with columns path and label.  [default: as the run "
        "was told]",
    )(command)
