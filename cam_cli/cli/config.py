"""`smoothcam config`: write, check and show the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cam_cli.cli.options import RunCommand, resolve_options, run_options
from cam_cli.errors import ConfigError, UsageError
from cam_cli.text import escaped, shown_if_odd


@click.group()
def config() -> None:
    """Write, check and show the settings of a run."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default="-")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def init(file: Path, force: bool) -> None:
    """Write every setting at its default, with its meaning, to FILE, or to stdout without FILE or for `-`."""
    from cam_cli.config import starter_yaml

    if str(file) == "-":
        click.echo(starter_yaml(), nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(starter_yaml())
    except FileExistsError:
        raise UsageError(f"{shown_if_odd(file)} exists; choose another name, or replace it with --force") from None
    except OSError as error:
        raise UsageError(f"cannot write {shown_if_odd(file)}: {error.strerror}; choose another place") from None


@config.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, files: tuple[Path, ...]) -> None:
    """Check that each FILE can be used with --config; exit code 2 if any cannot."""
    from cam_cli.config import resolve

    failed = False
    for file in files:
        try:
            resolve({}, {}, file)
        except ConfigError as error:
            failed = True
            click.echo(escaped(str(error)), err=True)
        else:
            click.echo(f"{shown_if_odd(file)}: ok")
    if failed:
        context.exit(ConfigError.exit_code)


@config.command(cls=RunCommand)
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of YAML.")
def show(as_json: bool, **options: Any) -> None:
    """Show each setting a run with these flags would use, and where it comes from."""
    from cam_cli.config import shown_json, shown_yaml

    resolved = resolve_options(options)
    click.echo(shown_json(resolved) if as_json else shown_yaml(resolved), nl=False)
