"""Five hundred damaged model files of five formats: each opens, or ends in one line; none takes much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from frozen_files import nested, written

HERE = Path(__file__).parent

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]

MOST_MEMORY = 3 * 2**20
"""Kilobytes; TensorFlow alone takes 0.7 million."""

CRASHES = {"keras": 0, "h5": 0, "saved_model": 2, "frozen_graph": 2, "tflite": 2}
"""How many files may end the process that reads them: of graphs that is a child, whose end is one line for the user."""


@pytest.mark.parametrize("form", ["keras", "h5", "saved_model", "frozen_graph", "tflite"])
def test_a_hundred_damaged_files_of_a_format_open_or_end_in_one_line(form: str, tmp_path: Path) -> None:
    if form in ("keras", "h5"):
        path = tmp_path / f"model.{form}"
        nested().save(path)
    else:
        path = written(nested(), form, tmp_path)
    kind = "keras" if form in ("keras", "h5") else form
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzzing.py"), str(path), kind, "100", "5"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent.parent)},
    )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(results) == 100
    escaped = [result for result in results if result["outcome"].startswith(("escaped", "nothing"))]
    assert not escaped
    assert sum(result["outcome"].startswith("died") for result in results) <= CRASHES[form]
    assert max(result["peak"] for result in results) < MOST_MEMORY
    refused = [result["outcome"] for result in results if result["outcome"].startswith("refused")]
    assert len(refused) > 10
    assert not [line for line in refused if "\n" in line]
