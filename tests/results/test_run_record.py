"""run.json: exact when it is written, tolerant when it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cam_cli.results.manifest import ModelRecord
from cam_cli.results.run_record import PlanRecord, RunRecord, Totals
from cam_cli.results.shard import Shard

RUNNING = RunRecord(
    root="/data",
    cwd="/work",
    paths=("images", "a\\\\b.jpg"),
    config={"nsamples": 5, "write": ["raw"], "labels": None},
    origin={"nsamples": "flag --nsamples"},
    versions={"smoothcam": "1"},
    shard=Shard(2, 8),
    host="node",
    pid=7,
    started="2025-03-01T10:00:00+00:00",
    state="running",
    model=ModelRecord(name="tiny", sha256="0" * 64, input_size=(32, 24)),
    settings={"layers": ["conv"], "subset": ((1, 2), (3, 4)), "std_dev": 0.15},
    plan=PlanRecord(key="k", classes=4, remarks=("layer auto: taking conv",)),
)
FINISHED = RUNNING.model_copy(
    update={"state": "finished", "finished": "2025-03-01T11:30:00+00:00", "totals": Totals(images=3, failed=1)}
)
WRITTEN_BY_VERSION_1 = """{
 "config": {
  "labels": null,
  "nsamples": 5,
  "write": [
   "raw"
  ]
 },
 "cwd": "/work",
 "host": "node",
 "model": {
  "input_size": [
   32,
   24
  ],
  "name": "tiny",
  "sha256": "0000000000000000000000000000000000000000000000000000000000000000"
 },
 "origin": {
  "nsamples": "flag --nsamples"
 },
 "paths": [
  "images",
  "a\\\\\\\\b.jpg"
 ],
 "pid": 7,
 "plan": {
  "classes": 4,
  "key": "k",
  "remarks": [
   "layer auto: taking conv"
  ]
 },
 "root": "/data",
 "schema_version": 1,
 "settings": {
  "layers": [
   "conv"
  ],
  "std_dev": 0.15,
  "subset": [
   [
    1,
    2
   ],
   [
    3,
    4
   ]
  ]
 },
 "shard": {
  "count": 8,
  "index": 2
 },
 "started": "2025-03-01T10:00:00+00:00",
 "state": "running",
 "versions": {
  "smoothcam": "1"
 }
}
"""


def test_the_bytes_are_those_of_version_1() -> None:
    written = RUNNING.to_json().decode()
    written = written.replace('  "multi_label": false,\n', "")
    assert written.replace('  "score": "logit",\n', "") == WRITTEN_BY_VERSION_1, "which did not name the score"
    assert json.loads(RUNNING.model_copy(update={"shard": None}).to_json())["shard"] is None
    finished = json.loads(FINISHED.to_json())
    assert finished.keys() - json.loads(WRITTEN_BY_VERSION_1).keys() == {"finished", "totals"}
    assert sorted(finished["totals"]) == [
        "blank_maps", "exit_code", "explained", "failed", "images", "left_out", "maps", "nonfinite_maps", "outside_shard",
        "right", "skipped", "top1", "top5", "unknown_truth", "unreadable_folders", "wrong",
    ]  # fmt: skip


def test_what_is_read_back_is_written_again_byte_for_byte() -> None:
    for record in (RUNNING, FINISHED, RunRecord()):
        assert RunRecord.from_json(record.to_json()).to_json() == record.to_json()
    assert RunRecord.from_json(FINISHED.to_json()).totals == FINISHED.totals
    assert RunRecord.from_json(FINISHED.to_json()).seconds == 5400


def test_a_field_of_a_wrong_type_or_an_unknown_one_costs_nothing_else() -> None:
    whole = json.loads(FINISHED.to_json())
    for name in whole:
        read = RunRecord.from_json(json.dumps(whole | {name: [{}], "new in version 9": 1}).encode())
        default = getattr(RunRecord(), name)
        expected = FINISHED.model_copy(update={name: default})
        assert json.loads(read.to_json()) == json.loads(expected.to_json())
        assert read.is_of_a_run
        without = RunRecord.from_json(json.dumps({key: value for key, value in whole.items() if key != name}).encode())
        assert getattr(without, name) == default
        assert without.is_of_a_run == (name not in {"schema_version", "root", "settings"})
    totals = whole["totals"] | {"images": "many"}
    assert RunRecord.from_json(json.dumps(whole | {"totals": totals}).encode()).totals == Totals(failed=1)


def test_a_wrong_value_is_never_written() -> None:
    with pytest.raises(ValidationError):
        RunRecord(pid="seven")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON"):
        RunRecord(settings={"std_dev": float("nan")}).to_json()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(RunRecord.model_fields)), json_values))
def test_any_object_is_read(content: dict[str, Any]) -> None:
    RunRecord.from_json(json.dumps(content).encode())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"3", b"[" * 100_000, b'{"a":' * 100_000, b'{"root": "a'])
def test_what_is_no_object_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|value|object|utf|recursion|EOF"):
        RunRecord.from_json(content)


@pytest.mark.parametrize(
    ("started", "finished"),
    [("", None), ("yesterday", None), ("2025-03-01T10:00:00", "2025-03-01T10:00:00"), ("2025-03-01T10:00:00Z", None)],
)
def test_a_time_that_is_not_known_is_none(started: str, finished: str | None) -> None:
    record = RunRecord(started=started, finished=finished)
    assert record.seconds is None
    assert (record.start is not None) == started.endswith("Z")
