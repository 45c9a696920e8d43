"""The table of metrics: it has what is computed and documented, and a metric is added in one file."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from cam_cli.config_values import _bounds
from cam_cli.metrics import comparison, faithfulness, localisation, signals, stability
from cam_cli.metrics.table import BOUNDED, GROUPS, METRICS, SUSPICIOUS
from cam_cli.results.manifest import MapRecord

PACKAGE = Path(__file__).parent.parent.parent / "cam_cli"
MAP = np.eye(8, dtype=np.float32)
X = np.zeros((8, 8, 3), np.float32)


def names(group: str) -> list[str]:
    return [metric.name for metric in GROUPS[group]]


def test_what_is_computed_is_in_the_table_and_nothing_else() -> None:
    for placed in (MAP, np.zeros_like(MAP)):
        assert [*signals.signals(MAP, placed), "class_distance", "blank_for_first"] == names("signals")
        assert [*localisation.localise(placed, [MAP > 0])] == names("localisation")
        assert [*faithfulness.faithfulness(X, [placed], lambda x: np.ones(len(x)))[0]] == names("faithfulness")
    found = stability.stability(
        np.zeros((9, 9, 3), np.uint8), lambda _: (X, None), lambda x, *_: [[]] * len(x), seed=0, n=0
    )  # type: ignore[arg-type, return-value]
    assert found == []
    assert set(names("noise")) <= MapRecord.model_fields.keys()
    assert {f"map_{name}" for name in ("correlation", "overlap")} < set(names("comparison"))
    assert [*comparison.compare_maps(MAP, MAP)] == ["correlation", "overlap", "shift"]


def test_every_metric_has_one_row_a_meaning_and_a_line_in_the_documents() -> None:
    assert len(METRICS) == sum(map(len, GROUPS.values()))
    documented = (PACKAGE.parent / "docs" / "evaluation.md").read_text()
    for metric in METRICS.values():
        assert metric.meaning
        assert f"`{metric.name}`" in documented
    assert SUSPICIOUS == {
        "border_energy": 0.4,
        "flatness": 0.75,
        "blank_for_first": 0.5,
        "class_reversal": 0.5,
        "strategy_distance": 2.5,
        "standard_error": 0.1,
    }


def test_audit_bounds_every_metric_but_positions() -> None:
    assert set(METRICS) - set(BOUNDED) == {"centre_x", "centre_y"}
    assert _bounds({f"max_{name}": "5%" for name in BOUNDED}) == {f"max_{name}": 0.05 for name in BOUNDED}
    with pytest.raises(ValueError, match="unknown bound 'max_centre_x'"):
        _bounds({"max_centre_x": 1})


ROW = 'Metric("heat", "mean of the map", "higher", title="mean heat", suspicious_above=0.0),'


def test_a_metric_that_is_added_in_one_file_reaches_every_output(
    smoothcam: Command, model_file: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    ended = smoothcam("explain", tmp_path / "a.png", "--model", model_file, "--method", "gradcam", "-o", out)
    assert ended.code == 0, ended.err

    copy = Path(shutil.copytree(PACKAGE, tmp_path / "changed" / "cam_cli"))
    source = copy / "metrics" / "signals.py"
    text = source.read_text().replace("METRICS: Final = (\n", f"METRICS: Final = (\n    {ROW}\n", 1)
    source.write_text(
        text.replace("    return {\n", '    return {\n        "heat": float(np.nanmean(upsampled)),\n', 1)
    )

    def changed(*command: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "cam_cli", *map(str, command)]
        environment = os.environ | {"PYTHONPATH": str(copy.parent)}
        return subprocess.run(line, capture_output=True, text=True, check=False, cwd=copy.parent, env=environment)

    (tmp_path / "bounds.yaml").write_text("audit:\n  max_heat: -1\n")
    table = changed("evaluate", out, "--config", tmp_path / "bounds.yaml")
    assert table.returncode == 5, table.stderr
    assert re.search(r" gradcam  heat +\d", table.stdout)
    assert "audit: max_heat:" in table.stderr
    rows = list(csv.DictReader(changed("evaluate", out, "--format", "csv").stdout.splitlines()))
    (heat,) = (row for row in rows if row["metric"] == "heat")
    record = json.loads(changed("evaluate", out, "--format", "json").stdout)
    assert record["images"]["a.png"][0]["metrics"]["heat"] == pytest.approx(float(heat["mean"]))
    assert changed("report", out).returncode == 0
    page = (out / "report.html").read_text()
    closing = json.loads(re.search(r'id="closing">(.*?)</script>', page)[1])  # type: ignore[index]
    assert "heat" in closing["columns"]
    assert closing["titles"]["heat"] == "mean heat"
    assert closing["suspicious"]["heat"] == 0
    assert "heat" in {total["metric"] for total in closing["totals"]}
