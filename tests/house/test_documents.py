"""What is written by the code is as the code is now, the options and the picture of the packages; links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from cam_cli.cli import smoothcam
from cam_cli.config import RunConfig
from cam_cli.version import __version__

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TOOLS = ROOT / "docs" / "tools"
sys.path.insert(0, str(TOOLS))

import architecture  # noqa: E402
import kinds  # noqa: E402
import man  # noqa: E402
import reference  # noqa: E402


@pytest.mark.parametrize("tool", [reference, man], ids=["reference", "man"])
def test_what_is_made_of_the_options_is_current(tool: ModuleType) -> None:
    """In a process of its own, as click remembers how a command was first asked for its help."""
    code = f"import sys, {tool.__name__} as tool; sys.stdout.write(tool.page())"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TOOLS), str(ROOT)]), "PYTHONUTF8": "1"}
    written = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert tool.PAGE.read_text("utf-8") == written.stdout, "make reference"


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_the_man_page_is_one() -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", man.PAGE], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    text = " ".join(shown.split()).replace("\u2010 ", "-").replace("\u2010", "-")
    for path, parameter in parameters(smoothcam, "smoothcam"):
        assert path.upper() in text or path.count(" ") == 0 or path == "smoothcam config"
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text, parameter.name


def parameters(command: click.Command, path: str) -> Iterator[tuple[str, click.Parameter]]:
    yield from ((path, parameter) for parameter in command.params)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from parameters(inner, f"{path} {name}")


def test_every_command_option_and_setting_is_in_the_reference() -> None:
    page = reference.PAGE.read_text("utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for path, parameter in parameters(smoothcam, "smoothcam"):
        for option in [*parameter.opts, *parameter.secondary_opts] if isinstance(parameter, click.Option) else []:
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", sections[path]), f"{path} {option}"
    for key in RunConfig.model_fields:
        assert f"\n{key}: " in sections["Settings"]


def test_every_option_says_what_it_does_in_a_sentence() -> None:
    for path, parameter in parameters(smoothcam, "smoothcam"):
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts}"
            assert re.match(r"[A-Z].*[.\])]$", parameter.help), f"{path} {parameter.opts}: {parameter.help}"


def test_the_picture_of_the_packages_is_current() -> None:
    assert architecture.PICTURE.read_text("utf-8") == architecture.picture(), "make architecture"


def test_every_package_is_in_the_picture() -> None:
    packages = {path.name for path in architecture.PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert packages <= architecture.PACKAGES.keys()
    modules = {path.stem for path in architecture.PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    assert packages | modules == architecture.PACKAGES.keys() | set(architecture.COMMON)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            found = (page.parent / file).resolve() if file else page
            assert found.exists(), f"{page.name}: {target}"
            if heading:
                headings = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.MULTILINE)
                anchors = [re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings]
                assert heading in anchors, f"{page.name}: {target}"


def test_the_table_of_the_kinds_of_models_is_the_one_that_is_printed() -> None:
    assert kinds.table() in (ROOT / "docs" / "models.md").read_text("utf-8"), "make kinds"


@pytest.mark.parametrize("row", kinds.ROWS, ids=lambda row: row.kind[:30])
def test_each_kind_of_model_has_tests_that_exist(row: kinds.Row) -> None:
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text("utf-8")
        function, _, case = name.removesuffix("]").partition("[")
        assert f"def {function}(" in text or not name
        assert case in text


def test_the_citation_is_of_this_version_and_the_papers_of_its_name() -> None:
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["version"] == __version__
    assert {paper["identifiers"][0]["value"] for paper in told["references"]} == {
        "arXiv:1908.01224",
        "arXiv:1710.11063",
    }


DOCUMENTED = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.M)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_the_python_reference_names_is_defined_there(name: str) -> None:
    if (ROOT / f"{name.replace('.', '/')}.py").exists():  # a whole module
        return
    module, _, own = name.rpartition(".")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    assert own in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
