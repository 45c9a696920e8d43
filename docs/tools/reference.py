"""Writes docs/reference.md: every command and option, as `--help-all` has them, and every key of a run config."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cam_cli.cli import smoothcam
from cam_cli.cli.config import starter_yaml
from cam_cli.cli.options import ALL_OPTIONS

PAGE = Path(__file__).parent.parent / "reference.md"
_WIDTH = 120


def page() -> str:
    """Return the page as the code is now."""
    sections = "\n".join(f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps())
    return f"""# Reference

Every command and every option. `make reference` writes this page from the code; a test compares it.

{sections}
## Settings

Every option of a run is a key of the YAML file that `--config` names, and a variable: `--std-dev 0.3` is `std_dev: 0.3` and
`SMOOTHCAM_STD_DEV=0.3`. `smoothcam config init` writes this file:

```yaml
{starter_yaml()}```
"""


def helps(command: click.Command = smoothcam, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Yield each command's name and help, the command itself first and those below it in their order."""
    context = click.Context(
        command,
        info_name="smoothcam" if parent is None else command.name,
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        **command.context_settings if parent is None else {},
    )
    context.meta[ALL_OPTIONS] = True
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps(inner, context)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stderr.write(f"{PAGE.name} written\n")
