"""Writes docs/smoothcam.1, the man page, from the options and the exit codes of the command; `make reference`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cam_cli.cli import smoothcam
from cam_cli.config import SECTIONS, SETTINGS

PAGE = Path(__file__).parent.parent / "smoothcam.1"
_WIDTH = 10_000


def page() -> str:
    """Return the page as the code is now, in the macros of man(7)."""
    lines = ['.TH SMOOTHCAM 1 "" "smoothcam" "User Commands"']
    lines += [".SH NAME", r"smoothcam \- show what an image classifier looked at"]
    lines += [".SH SYNOPSIS", r"\fBsmoothcam\fR \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]..."]
    lines += [".SH DESCRIPTION", *_paragraphs(smoothcam.help or "")]
    lines += [
        ".SH OPTIONS",
        *_options(smoothcam, click.Context(smoothcam, terminal_width=_WIDTH, max_content_width=_WIDTH)),
    ]
    for command in _commands(smoothcam, "smoothcam"):
        lines += _section(*command)
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        r"\fBSMOOTHCAM_CONFIG\fR",
        "A YAML file of settings, where --config names none.",
    ]
    lines += [
        ".TP",
        r"\fBSMOOTHCAM_\fR\fISETTING\fR",
        _text("The value of a setting, such as SMOOTHCAM_STD_DEV for --std-dev."),
    ]
    lines += [".SH SEE ALSO", _text("smoothcam COMMAND --help-all, and the folder docs of the source.")]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group, info_name=name)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} {each}")
        else:
            yield f"{name} {each}", command


def _section(name: str, command: click.Command) -> Iterator[str]:
    """Yield the section of a command: how it is called, what it does, and its options by what they are about."""
    context = click.Context(command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield f'.SH "{name.upper()}"'
    arguments = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield rf"\fB{name}\fR [\fIOPTION\fR]... {_text(arguments)}".rstrip()
    yield ".PP"
    yield from _paragraphs(command.help or "")
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the options of a command, those of a run under what they are about."""
    options: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, "Options")}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            setting = SETTINGS.get(parameter.name or "")
            options[setting.section if setting else "Options"].append(record)
    for title in filter(options.get, options):
        if command is not smoothcam:
            yield f".SS {title}"
        for flags, text in options[title]:
            yield from (".TP", rf"\fB{_text(flags)}\fR", _text(text))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help; those that click leaves as they are written are examples."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        example = paragraph.lstrip().startswith("\b")
        lines = [line.strip() if not example else line.rstrip() for line in paragraph.replace("\b", "").splitlines()]
        if number:
            yield ".PP"
        if example:
            yield from (".nf", *(_text(line) for line in lines if line), ".fi")
        else:
            yield _text(" ".join(line for line in lines if line))


def _text(text: str) -> str:
    """Return text in which troff sees no command: a backslash, a minus that is to be copied, a dot at the start of a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stderr.write(f"{PAGE.name} written\n")
