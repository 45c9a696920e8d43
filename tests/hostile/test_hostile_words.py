"""Words from outside, as class names of a labels file: whatever command shows them, they steer no terminal, are no formula in a
spreadsheet, no markup in a page, and come back whole from JSON."""

from __future__ import annotations

import csv
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Command, Ended, write_card
from test_hostile_names import plant_photos

WORDS = (
    '=HYPERLINK("x","y")',
    "\x1b[2J\x1b]0;title\x07\u202egnp.exe",
    "</script><script>alert(1)</script>",
    "@SUM(1)",
    "-1+1 \u2066x",
)
COMMANDS = {
    "explain": ("explain", "{photos}", "--model", "{model}", "-o", "{out}", "--target", "top5", "--verbose"),
    "explain --json": ("explain", "{photos}", "--model", "{model}", "-o", "{out}", "--target", "top5", "--json"),
    "explain --dry-run": ("explain", "{photos}", "--model", "{model}", "-o", "{out}", "--dry-run"),
    "summarize": ("summarize", "{out}"),
    "summarize json": ("summarize", "{out}", "--format", "json"),
    "summarize csv": ("summarize", "{out}", "--format", "csv"),
    "evaluate": ("evaluate", "{out}"),
    "evaluate csv": ("evaluate", "{out}", "--format", "csv"),
    "evaluate json": ("evaluate", "{out}", "--format", "json"),
    "compare": ("compare", "{out}", "{out}", "--html", "{page}"),
    "compare json": ("compare", "{out}", "{out}", "--format", "json"),
    "report": ("report", "{out}"),
    "layers": ("layers", "--model", "{model}"),
    "config show": ("config", "show", "--model", "\x1b[31m\u202e", "--config", "{good}"),
    "config show --json": ("config", "show", "--model", "\x1b[31m\u202e", "--json"),
}
REFUSED = {
    "explain --target": ("explain", "{photos}", "--model", "{model}", "-o", "{out}", "--target", "\x1b[31mnone"),
    "config check": ("config", "check", "{config}"),
    "models": ("models", "--labels", "\x1b[31m"),
    "no such command": ("\x1b[31m",),
    "no such option": ("explain", "--\x1b[31m"),
    "no such choice": ("summarize", "{out}", "--format", "\x1b[31m\u202e"),
    "no such run": ("report", "\x1b[31m\u202e"),
    "no such config": ("evaluate", "{out}", "--config", "\x1b[31m\u202e.yaml"),
    "a bad bound": ("evaluate", "{out}", "--config", "{bound}"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("words")
    plant_photos(top / "photos", [b"=1+1.png", b"\x1b[31m.png", b"<b>.png", b"plain.png"])
    model = write_card(Path(shutil.copy(model_file, top)))
    model.with_suffix(".txt").write_text("\n".join(WORDS) + "\n")
    (top / "bad.yaml").write_text('"\\e[31m\\u202e": 1\n')
    (top / "\x1b[31m.yaml").write_text("seed: 3\n")
    (top / "bound.yaml").write_text('audit: {"max_\\e[31m": 1}\n')
    return {
        "photos": top / "photos", "model": model, "out": top / "out", "page": top / "change.html",
        "config": top / "bad.yaml", "good": top / "\x1b[31m.yaml", "bound": top / "bound.yaml",
    }  # fmt: skip


def run(smoothcam: Command, places: dict[str, Path], name: str) -> Ended:
    return smoothcam(*(word.format(**places) if word.startswith("{") else word for word in (COMMANDS | REFUSED)[name]))


@pytest.mark.parametrize("name", [*COMMANDS, *REFUSED])
def test_no_command_prints_what_steers_a_terminal(smoothcam: Command, places: dict[str, Path], name: str) -> None:
    if not places["out"].exists():
        assert run(smoothcam, places, "explain").code == 0
    ended = run(smoothcam, places, name)
    assert ended.code == (2 if name in REFUSED else 0)
    assert ended.out + ended.err
    for line in (ended.out + ended.err).replace("\t", " ").split("\n"):
        assert line.isprintable(), line


def test_class_names_come_back_whole_from_json(smoothcam: Command, places: dict[str, Path]) -> None:
    run(smoothcam, places, "explain")
    ended = run(smoothcam, places, "explain --json")
    assert {entry["label"] for row in ended.rows for entry in row["predictions"]} == set(WORDS)


@pytest.mark.parametrize("name", ["summarize csv", "evaluate csv"])
def test_no_cell_is_a_formula(smoothcam: Command, places: dict[str, Path], name: str) -> None:
    run(smoothcam, places, "explain")
    cells = [cell for row in csv.reader(io.StringIO(run(smoothcam, places, name).out)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    negative = [cell for cell in cells if cell.startswith("-")]
    assert all(float(cell) < 0 for cell in negative), "numbers stay numbers"


class Tags(HTMLParser):
    """Collects what a browser would take for elements, and the text that a person would read."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cdata_elem == "script":
            self.scripts.append(data)


def test_no_class_name_is_markup_in_the_page_of_a_comparison(smoothcam: Command, places: dict[str, Path]) -> None:
    run(smoothcam, places, "explain")
    run(smoothcam, places, "compare")
    page = Tags()
    page.feed(places["page"].read_text("utf-8"))
    assert page.scripts
    assert not [text for text in page.scripts if text.startswith("alert")]
    assert "b" not in page.tags
    assert "alert(1)" in page.text
