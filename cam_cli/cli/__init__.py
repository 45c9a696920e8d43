"""The front door: one thin file for each command, which parses, calls and prints."""

import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from signal import Signals
from typing import NoReturn

import click

from cam_cli.errors import ConfigError, ExitCode, SmoothcamError, UsageError
from cam_cli.interruption import Interrupted, Interruption
from cam_cli.machine import unsupported
from cam_cli.quiet import leave_the_cores_to_tensorflow
from cam_cli.text import escaped, near, one_line
from cam_cli.version import __version__

_COMMANDS = {
    "explain": "Explain images: raw maps, heatmaps, overlays and a manifest for each.",
    "summarize": "Add up a run and its shards, and name what is missing.",
    "evaluate": "Measure how far the maps of a run can be trusted.",
    "compare": "Show what changed between two runs, worst first.",
    "report": "Show a run as one HTML page, to be opened in a browser.",
    "layers": "List a model's layers: shape, grid, and which of them suit a map.",
    "models": "List the bundled models, or one model's classes.",
    "config": "Write, check and show run configs.",
    "completion": "Print what makes a shell complete commands and options by Tab.",
}


class _Commands(click.Group):
    """Imports a command's module only when it is the one that runs, so that --help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"cam_cli.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was named; raises UsageError with the nearest one if there is none."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            hint = near(name, _COMMANDS)
            if not hint and Path(name).exists():
                hint = f"; to explain images: smoothcam explain {escaped(name)}"
            raise UsageError(f"no command {name!r}{hint or '; there are ' + ', '.join(_COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="smoothcam")
def smoothcam() -> None:
    """Show what a Keras image classifier looked at, for one image or a million.

    \b
    smoothcam explain images/ --layer block5_conv3
    smoothcam explain images/ --json | jq -r 'select(.status == "failed") | .path'

    Exit codes: 0 all done; 1 fatal; 2 usage or config; 3 some images failed; 4 nothing matched; 5 a bound of `audit:`
    was crossed; 11 another run uses the output folder; 129, 130, 141, 143 stopped by a signal after the current images.
    """


def main() -> NoReturn:
    """Run the command line; every error ends as one line on stderr and an exit code, never as a traceback."""
    if why_not := unsupported():
        click.echo(why_not, err=True)
        sys.exit(ExitCode.FATAL)
    warnings.simplefilter("ignore")
    leave_the_cores_to_tensorflow()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    interruption = Interruption()
    interruption.install()
    try:
        code = smoothcam.main(standalone_mode=False, obj=interruption)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BaseException as error:
        if sys.flags.dev_mode or isinstance(error, SystemExit):
            raise
        code, words = _last_words(error)
        for line in error.mistakes if isinstance(error, ConfigError) else [words]:
            with suppress(OSError):
                click.echo(f"smoothcam: {escaped(line)}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _last_words(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line that an error ends with."""
    if isinstance(error, SmoothcamError):
        return error.exit_code, str(error)
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, Interrupted):
            return 128 + cause.signum, f"stopped by {Signals(cause.signum).name}; the same command goes on from here"
        if isinstance(cause, KeyboardInterrupt | click.Abort):
            return 130, "interrupted; the same command goes on from here"
    if isinstance(error, OSError):
        return 1, f"cannot write: {error.strerror}"
    words = f"{type(error).__name__}: {one_line(error)}"
    return 1, f"a mistake of smoothcam's own, please report it: {words} (`python -X dev -m cam_cli` shows where)"
