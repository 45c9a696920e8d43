"""What commands print: the format of their output, text tables, CSV, and remarks on stderr."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from cam_cli.text import cell, escaped

Command = TypeVar("Command", bound=Callable[..., Any])


def format_option(*forms: str, help: str) -> Callable[[Command], Command]:  # noqa: A002 - click's own name
    """Return the option `--format`, whose value the command gets as `form`; the first of `forms` is the default."""
    return click.option("--format", "form", type=click.Choice(forms), default=forms[0], show_default=True, help=help)


def config_option(name: str, help: str, callback: Any = None) -> Callable[[Command], Command]:  # noqa: A002
    """Return the option `--config`, whose value the command gets as `name`: a path, or what `callback` reads from it."""
    kind = click.Path(path_type=Path)
    return click.option("-c", "--config", name, metavar="FILE", type=kind, callback=callback, help=help)


def remark(text: str) -> None:
    """Print one line for a person to stderr."""
    click.echo(f"smoothcam: {escaped(text)}", err=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return left-aligned columns, two spaces apart, without trailing blanks; what is not printable is made visible."""
    lines = [head, *([escaped(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def csv_table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return CSV in which no text is a formula to a spreadsheet."""
    return csv_lines([head]) + csv_lines(rows)


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return lines of CSV in which no text is a formula to a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()
