"""evaluation.json: what `evaluate` writes is what `report` reads, and files of before are read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cam_cli.errors import UsageError
from cam_cli.evaluate.records import Evaluation, read_evaluation
from cam_cli.results.manifest import MapFiles, MapRecord, SelectionRecord, TargetRecord

WHOLE = {"filters": None, "region": False, "subset": None, "top": None}
BEFORE: dict[str, Any] = {
    "schema_version": 1,
    "what": {"annotations": None, "faithfulness": "blur", "stability": False},
    "images": {
        "a.png": [
            {
                "map": {"layer": "l", "method": "m", "target": 3, "selection": WHOLE},
                "metrics": {"spread": 0.5, "x": None},
            },
            {
                "map": {"layer": "l", "method": "m", "target": 4, "selection": WHOLE},
                "metrics": {"spread": float("nan")},
            },
        ]
    },
    "totals": [
        {"layer": "l", "method": method, "metric": "spread", "mean": mean, "low": 0.1, "high": 0.9, "images": 2}
        for method, mean in (("m", 0.5), ("n", 0.7))
    ],
    "failed": 0.25,
    "blank": 0.5,
    "sanity": {
        "stages": ["top", "all"],
        "survivals": [{"layer": "l", "method": "m", "stages": [0.5, None], "photos": [{"3": None}], "survives": False}],
    },
}
"""As the version before wrote it (NaN: as a damaged one has it)."""


def record(target: int) -> MapRecord:
    return MapRecord(
        layer="l", method="m", target=TargetRecord(index=target, label=""), selection=SelectionRecord(**WHOLE),
        state="ok", grid=(1, 1), min=0, max=1, derivatives="exact", head="affine", noise="", guarded_cells=0,
        noise_effect=None, standard_error=None, files=MapFiles(),
    )  # fmt: skip


def written(folder: Path, value: object) -> Path:
    (folder / "evaluation.json").write_text(json.dumps(value))
    return folder


def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    found = read_evaluation(written(tmp_path, BEFORE))
    assert found.of("a.png", record(3)) == {"spread": 0.5, "x": None}
    assert found.of("a.png", record(4)) == {"spread": None}
    assert found.of("a.png", record(5)) == found.of("b.png", record(3)) == {}
    assert found.figures() == {"failed": 0.25, "blank": 0.5, "spread": 0.5}, "the first method's mean"
    again = json.loads(
        json.dumps(found.model_dump(by_alias=True, exclude={"images", "strategies", "counted", "missing"}))
    )
    assert again.pop("classification") is None
    assert again == {key: value for key, value in BEFORE.items() if key != "images"}


def test_without_a_file_nothing_was_measured(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path) == Evaluation()


@pytest.mark.parametrize("damage", [[], {"totals": [{}]}, {"images": []}, {"schema_version": 2}])
def test_a_file_that_cannot_be_understood_is_refused_in_one_line(damage: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `smoothcam evaluate` again") as raised:
        read_evaluation(written(tmp_path, damage))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("entry", [None, {}, {"map": 1, "metrics": 2}, {"map": {"layer": "l"}, "metrics": {}}])
def test_a_damaged_entry_costs_itself_alone(entry: object, tmp_path: Path) -> None:
    maps = [entry, *BEFORE["images"]["a.png"]]
    found = read_evaluation(written(tmp_path, BEFORE | {"images": {"a.png": maps}}))
    assert found.of("a.png", record(3)) == {"spread": 0.5, "x": None}
