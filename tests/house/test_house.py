"""The house rules of the source: which package may use which, what costs a TensorFlow import, what every module has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

PACKAGE = Path(__file__).parent.parent.parent / "cam_cli"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400

# A package is a folder or a module of `cam_cli`. Every package may use `GROUND`; an entry with a dot allows one module of
# another package.
GROUND = {"contrast", "errors", "machine", "methods", "quiet", "text", "version", "window", "storage.location"}
MAY_USE: dict[str, set[str]] = {
    "": {"api", "engine", "models"},
    "__main__": {"cli"},
    "api": {
        "engine", "models", "graph", "render", "images", "decoding", "config", "yaml_source", "plan", "executors.artefacts",
        "results.manifest",
    },
    "cli": {"pipeline", "results", "evaluate", "metrics.table", "report", "models", "graph", "config", "setting", "settings",
        "interruption", "yaml_source"},
    "config": {"config_values", "setting", "yaml_source"},
    "config_values": {"metrics.table"},
    "decoding": {"images", "render", "results.manifest", "storage"},
    "engine": {"graph"},
    "evaluate": {"metrics", "results", "plan", "decoding", "images", "engine", "models", "graph", "render", "config"},
    "executors": {
        "plan", "decoding", "results", "images", "engine", "models", "render", "config", "interruption", "reporter",
    },
    "images": {"storage"},
    "interruption": set(),
    "metrics": {"images.fit"},
    "frozen_graphs": {"graph"},
    "graph": {"images"},
    "model_files": {"frozen_graphs"},
    "models": {"graph", "model_files", "frozen_graphs", "images", "yaml_source"},
    "pipeline": {
        "executors", "plan", "decoding", "results", "images", "render", "models", "config", "interruption", "reporter",
        "storage",
    },
    "plan": {"results", "engine", "models", "graph", "images", "config"},
    "render": set(),
    "report": {"evaluate", "metrics", "results", "decoding", "render", "images"},
    "reporter": {"results.manifest"},
    "results": {"images", "engine", "metrics.classification", "metrics.several_labels", "models", "render", "storage"},
    "setting": set(),
    "settings": {"config", "yaml_source"},
    "storage": set(),
    "yaml_source": set(),
} | {name: set() for name in GROUND if "." not in name}  # fmt: skip
MAY_USE_TENSORFLOW = {"engine", "models", "graph", "model_files", "frozen_graphs", "api"}
TENSORFLOW = {"tensorflow", "keras", "tf_keras"}


def tree_of(source: Path) -> ast.Module:
    return ast.parse(source.read_text("utf-8"), str(source))


def package_of(source: Path) -> str:
    first = source.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(source: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, at whatever depth, as (line, absolute dotted name)."""
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: imports are absolute here"
            module = node.module or ""
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def test_every_package_is_in_the_plan() -> None:
    assert {package_of(source) for source in SOURCES} == set(MAY_USE)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows_of_the_design(source: Path) -> None:
    package = package_of(source)
    wrong = []
    for line, name in imported(source):
        root, *inside = name.split(".")
        if root in TENSORFLOW and package not in MAY_USE_TENSORFLOW:
            wrong.append(f"{source.name}:{line}: {name} belongs in {sorted(MAY_USE_TENSORFLOW)}")
        if root != "cam_cli" or not inside or inside[0] == package:
            continue
        if not {inside[0], ".".join(inside[:2])} & (MAY_USE[package] | GROUND):
            wrong.append(f"{source.name}:{line}: {package or 'cam_cli'} may not use {name}")
    assert not wrong


@pytest.mark.parametrize(
    "module", ["cam_cli", "cam_cli.cli", "cam_cli.cli.explain", "cam_cli.config", "cam_cli.results.manifest"]
)
def test_importing_the_front_packages_costs_no_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print(sorted({TENSORFLOW!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{child.name}.")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_name_says_what_it_is(source: Path) -> None:
    """An override is described by the method that it overrides, and an overload by its function."""
    tree = tree_of(source)
    assert ast.get_docstring(tree)
    undocumented = [
        name
        for name, node in public(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not ast.get_docstring(node)
        and not {each.id for each in node.decorator_list if isinstance(each, ast.Name)} & {"override", "overload"}
    ]
    assert not undocumented


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_finished_and_silent(source: Path) -> None:
    text = source.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    printing = [
        node.lineno
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not printing, "stdout is for data: use click.echo in cli, an Reporter in runs"
