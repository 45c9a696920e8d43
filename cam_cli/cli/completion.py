"""`smoothcam completion`."""

import sys

import click
from click.shell_completion import get_completion_class

from cam_cli.errors import UsageError

_PUT_INTO = {
    "bash": ("~/.bashrc", 'eval "$(smoothcam completion bash)"'),
    "zsh": ("~/.zshrc, below the line with compinit", 'eval "$(smoothcam completion zsh)"'),
    "fish": ("~/.config/fish/completions/smoothcam.fish", "smoothcam completion fish | source"),
}
"""The file of each shell, and the line to put there."""


@click.command()
@click.argument("shell", type=click.Choice(list(_PUT_INTO)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, layers and models by Tab, and where to put it.

    \b
    eval "$(smoothcam completion bash)"      now, in this shell
    smoothcam completion bash                says what to put into which file for every shell to come
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"shell '{shell}': this click cannot complete it; update click")
    file, line = _PUT_INTO[shell]
    hint = f"# Put this line into {file}:\n#   {line}\n"
    script = kind(context.find_root().command, {}, "smoothcam", "_SMOOTHCAM_COMPLETE").source_vars()
    click.echo(hint + kind.source_template % script)
    if sys.stdout.isatty():
        click.echo(f"smoothcam: put this line into {file}: {line}", err=True)
