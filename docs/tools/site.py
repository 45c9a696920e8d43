"""Hooks of mkdocs: the README is the first page, and files outside docs/ that a page links to become part of the site.

Pages keep links that also work in a checkout. Other files get the ending `.txt`, so that a browser shows them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
FIRST = ROOT / "README.md"
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_SHOWN = {".md", ".jpg", ".png", ".svg", ".ipynb"}


def address(file: Path) -> str:
    """Return where a file of the repository is in the site's sources."""
    if file == FIRST:
        return "index.md"
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    below = "repository/" + file.relative_to(ROOT).as_posix()
    return below if file.suffix in _SHOWN else f"{below}.txt"


def linked(page: Path) -> Iterator[Path]:
    """Yield the files that a page links to."""
    for _, target, _ in _LINK.findall(page.read_text("utf-8")):
        file = (page.parent / target.partition("#")[0]).resolve()
        if "://" not in target and not target.startswith("#") and file.is_file() and file.is_relative_to(ROOT):
            yield file


def rewritten(text: str, page: Path) -> str:
    """Return a page's text with links that lead to the same files in the site."""

    def link(found: re.Match[str]) -> str:
        target, _, heading = found[2].partition("#")
        file = (page.parent / target).resolve()
        if not target or "://" in target or not file.is_file() or not file.is_relative_to(ROOT):
            return found[0]
        path = os.path.relpath(address(file), Path(address(page)).parent)
        return found[1] + Path(path).as_posix() + (f"#{heading}" if heading else "") + found[3]

    return _LINK.sub(link, text)


def on_files(files: Any, config: Any) -> Any:
    """Add the README and every file that a page links to, and those that these link to."""
    from mkdocs.structure.files import File

    waiting, seen = [FIRST, *sorted(DOCS.glob("*.md"))], set[Path]()
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            if not page.is_relative_to(DOCS):
                files.append(File.generated(config, address(page), abs_src_path=str(page)))
            waiting += linked(page) if page.suffix == ".md" else ()
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Rewrite the links of a page."""
    return rewritten(markdown, Path(page.file.abs_src_path))
