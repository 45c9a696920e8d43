"""Words that readers did not understand stay out of the documents, the configs and the code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RETIRED = re.compile(
    "(workshop|studio|bench|scribe|recipe|recollection|recall|commission|errand|greeting|hand|room|passage|survey|lease|ticket"
    "|audience|pace|place|photo)(s|es|d)?",
    re.IGNORECASE,
)
ALLOWED = {
    r"\bmake bench\b|\bbench\.py\b|^bench:|(?<=dist )bench(?= capacity)": "the target and its file: short for benchmark",
    r"\bget_place_by_tensor_name\b": "OpenVINO's name",
    r"\bprecision and recall\b|\blabel_recall\b": "two figures of the literature",
    r"serialization_alias=\"same_photo\"|alias=\"photos\"": "names in the JSON of `compare` and `evaluate`, which others read",
}
"""What a retired word may be part of, and why."""

FROM_CODE = [ROOT / "docs" / "reference.md", ROOT / "docs" / "architecture.md"]
"""Documents that the code writes, or that name its packages."""

DOCUMENTS = [
    *ROOT.glob("*.md"),
    ROOT / "Makefile",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in FROM_CODE),
    *(ROOT / "tests" / "benchmarks").glob("*.md"),
    *sorted((ROOT / "configs").iterdir()),
]
CODE = [
    *sorted((ROOT / "cam_cli").rglob("*.py")),
    *sorted((ROOT / "cam_cli" / "report").rglob("*.js")),
    ROOT / "cam_cli" / "report" / "page.html",
    *sorted((ROOT / "docs" / "tools").glob("*.py")),
    *FROM_CODE,
]


def retired(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and word of each retired word in a text, parts of snake_case and CamelCase names included."""
    for pattern in ALLOWED:
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    for number, line in enumerate(text.splitlines(), 1):
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", line):
            if RETIRED.fullmatch(word):
                yield number, word


def retired_in(files: Iterable[Path]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {word}"
        for file in files
        for number, word in retired(file.read_text("utf-8"))
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("finish the image in hand", ["hand"]),
        ("class PhotoBench: RAY_STUDIO = read_photos(aPlace)", ["Photo", "Bench", "STUDIO", "photos", "Place"]),
        ("HTTPRoom", ["Room"]),
        ("`make bench` runs bench.py on the bench", ["bench"]),
        ("precision and recall, recall", ["recall"]),
        ("replace a placeholder, handle a photograph, by beforehand knowledge", []),
    ],
)
def test_a_retired_word_is_found_wherever_it_stands(text: str, words: list[str]) -> None:
    assert list(retired(text)) == [(1, word) for word in words]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_documents_and_configs_have_no_retired_word(file: Path) -> None:
    assert retired_in([file]) == []


def test_the_code_has_no_retired_word() -> None:
    assert retired_in(CODE) == []
