"""The README's commands, in order and as pasted: they name options and files that exist, and each of them works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest
from conftest import Command

from cam_cli.cli import smoothcam as cli

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "docs" / "tools"))

import notebook  # noqa: E402

README = ROOT / "README.md"
NOT_RUN = ("make ", "python3 -m venv ", "pip install ")
"""What the demo, the tests and the installation begin with: other tests run them."""


def blocks() -> list[tuple[str, str]]:
    """Return language and text of each block to paste, in order."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found if not text.startswith(NOT_RUN)]


def commands() -> list[list[str]]:
    """Return the words of each command, without `smoothcam`."""
    lines = [line for language, text in blocks() if language == "sh" for line in text.splitlines() if line]
    return [shlex.split(line, comments=True)[1:] for line in lines if shlex.split(line)[0] == "smoothcam"]


def test_every_line_to_paste_is_a_command_of_ours() -> None:
    lines = [line for language, text in blocks() if language == "sh" for line in text.splitlines() if line]
    assert len(lines) == len(commands())
    used = {words[0] for words in commands()}
    assert {"explain", "evaluate", "report", "compare", "summarize", "layers", "config"} <= used


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_has_options_and_files_that_exist(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command: click.Command = cli
    context = click.Context(cli, info_name="smoothcam")
    while isinstance(command, click.Group):
        inner = command.get_command(context, words[0])
        assert inner is not None, words[0]
        command, words = inner, words[1:]
    made_before = [word for word in words if word.startswith("out/")]
    known = {opt for parameter in command.params for opt in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known
    for word in words:
        if "/" in word and word not in made_before and not word[0].isdigit():
            assert list(ROOT.glob(word)), word


def test_each_run_has_an_output_of_its_own_that_later_commands_read() -> None:
    written: list[str] = []
    for words in commands():
        output = words[words.index("-o") + 1] if "-o" in words else None
        if words[0] == "explain":
            assert output, words
            assert output not in written
            written.append(output)
        elif words[0] in ("evaluate", "report", "compare", "summarize"):
            runs = [word for word in words[1:] if word.startswith("out/") and "." not in word]
            assert runs
            assert set(runs) <= set(written)


@pytest.mark.long
def test_the_readme_runs_from_top_to_bottom(
    smoothcam: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("sample_images", "configs", "cam_cli/models/bundled"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    for language, text in blocks():
        if language == "python":
            exec(compile(text, str(README), "exec"), {})
            continue
        for line in text.splitlines():
            if line:
                ended = smoothcam(*shlex.split(line, comments=True)[1:])
                assert ended.code == 0, f"{line}\n{ended.err}"
    assert Path("cow.png").is_file()
    assert Path("out/audit/report.html").is_file()
    assert Path("out/change.html").is_file()
    assert Path("out/methods/sheet.jpg").is_file()
    assert {path.suffix for path in Path("out/one/cow.jpg").iterdir()} == {".json", ".npy", ".png", ".jpg"}


@pytest.mark.long
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "sample_images", tmp_path / "sample_images")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    now = notebook.executed(json.loads(notebook.NOTEBOOK.read_text("utf-8")))
    cells = [cell for cell in now["cells"] if cell["cell_type"] == "code"]
    assert [bool(cell["outputs"]) for cell in cells] == [False] + [True] * (len(cells) - 1)


def test_the_notebook_is_kept_with_what_it_shows() -> None:
    kept = json.loads(notebook.NOTEBOOK.read_text("utf-8"))
    cells = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "make notebook"
    assert all(cell["outputs"] for cell in cells[1:]), "make notebook"
