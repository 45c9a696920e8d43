"""The plan that run.json keeps: taken for inputs with its key, and for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from cam_cli.config import RunConfig
from cam_cli.errors import ImageError, UsageError
from cam_cli.plan.plan import PlanInputs, plan_from
from cam_cli.results.manifest import ModelRecord
from cam_cli.results.run_record import PlanRecord, RunRecord

pytestmark = pytest.mark.pure
MODEL = ModelRecord(name="m", sha256="0" * 64, input_size=(8, 8))


def inputs_of(**settings: object) -> PlanInputs:
    return PlanInputs.of(RunConfig(model="vgg16-lite", **settings), Path("root"))  # type: ignore[arg-type]


def record(key: str) -> RunRecord:
    kept = PlanRecord(key=key, classes=1000, remarks=("layer auto",))
    return RunRecord(root="/in", model=MODEL, settings={"seed": 0, "precision": "float32"}, plan=kept)


def test_a_plan_is_taken_for_the_inputs_it_was_made_from() -> None:
    inputs = inputs_of()
    found = plan_from(record(inputs.key), inputs)
    assert found is not None
    assert (found.model, found.classes, found.remarks, found.precision) == (MODEL, 1000, ("layer auto",), "float32")
    assert found.targets.of(PurePosixPath("a.png")) == (-1,)


def test_a_plan_is_not_taken_for_other_inputs_or_from_a_record_without_one() -> None:
    inputs = inputs_of()
    assert plan_from(record("another key"), inputs) is None
    assert plan_from(None, inputs) is None
    assert plan_from(RunRecord(root="/in"), inputs) is None


def test_the_key_follows_the_settings_that_decide_a_result_and_no_others() -> None:
    key = inputs_of().key
    assert inputs_of(output=Path("elsewhere"), workers=3, sheet=True).key == key
    assert inputs_of(seed=1).key != key
    assert inputs_of(std_dev=0.3).key != key
    assert inputs_of(unsafe_lambda=True).key != key, "another model may come of the same file"


def test_graphs_are_shared_by_all_settings_of_one_network(tmp_path: Path) -> None:
    """Each of the others opens another network, or feeds it otherwise."""
    key = inputs_of().network_key
    shared = {
        "seed": 1,
        "std_dev": 0.3,
        "layers": "block4_conv3",
        "colormap": "jet",
        "methods": "gradcam",
        "targets": "top2",
    }
    assert {inputs_of(**{name: value}).network_key for name, value in shared.items()} == {key}
    assert inputs_of(unsafe_lambda=True).network_key != key
    assert inputs_of(input_size="96").network_key != key
    keys = {PlanInputs.of(RunConfig(model=name), Path("root")).network_key for name in ("mobilenet", "mobilenetv2")}
    for contents in (b"a", b"b"):
        (tmp_path / "weights.h5").write_bytes(contents)
        config = RunConfig(model="mobilenet", weights=tmp_path / "weights.h5")
        keys.add(PlanInputs.of(config, Path("root")).network_key)
    assert len(keys | {key}) == 5


def test_a_target_that_is_no_class_is_told_though_the_plan_is_known() -> None:
    inputs = inputs_of(targets="no such animal")
    with pytest.raises(UsageError, match="no such animal"):
        plan_from(record(inputs.key), inputs)


def test_an_image_that_the_file_of_targets_does_not_name_has_no_target(tmp_path: Path) -> None:
    table = tmp_path / "targets.csv"
    table.write_text("path,target\na.png,3\n")
    inputs = inputs_of(targets_from=table)
    found = plan_from(record(inputs.key), inputs)
    assert found is not None
    assert found.targets.of(PurePosixPath("a.png")) == (-1, 3)
    with pytest.raises(ImageError, match="no row"):
        found.targets.of(PurePosixPath("b.png"))


def test_a_fingerprint_follows_image_settings_model_and_targets() -> None:
    inputs = inputs_of()
    found = plan_from(record(inputs.key), inputs)
    assert found is not None
    other_model = replace(found, model=MODEL.model_copy(update={"sha256": "1" * 64}), _digests={})
    other_settings = replace(found, settings={"seed": 1, "precision": "float32"}, _digests={})
    prints = [
        found.fingerprint("i", (1,)),
        found.fingerprint("j", (1,)),
        found.fingerprint("i", (2,)),
        found.fingerprint(None, (1,)),
        other_model.fingerprint("i", (1,)),
        other_settings.fingerprint("i", (1,)),
    ]
    assert len(set(prints)) == len(prints)
