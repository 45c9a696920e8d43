"""The records of a run: the shipped schema, what a damaged record does, fingerprints, and file names."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_card
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from run_trees import read_manifest

from cam_cli.config import RunConfig
from cam_cli.engine.head import Head
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.selection import Selection
from cam_cli.methods import METHODS
from cam_cli.models.labels import Labels
from cam_cli.plan import plan as plan_module
from cam_cli.plan.plan import Plan, PlanInputs
from cam_cli.plan.resolve import resolve
from cam_cli.plan.targets import Targets
from cam_cli.results import manifest
from cam_cli.results.files import to_json, whole, write_new
from cam_cli.results.layout import stem
from cam_cli.results.manifest import (
    Failure,
    ImageRecord,
    Manifest,
    ModelRecord,
    manifest_schema,
)
from cam_cli.text import ranges

SHIPPED = Path(manifest.__file__).with_name("manifest.schema.json")


def record(**fields: Any) -> Manifest:
    known = {
        "status": "failed",
        "error": Failure(stage="decode", type="ImageError", message="cut short"),
        "image": ImageRecord(path="a b/\\xff.jpg"),
        "model": ModelRecord(name="tiny", sha256="0" * 64, input_size=(32, 32)),
        "fingerprint": "0" * 64,
        "settings": {"nsamples": 5},
        "versions": {"smoothcam": "0"},
    }
    return Manifest(**{**known, **fields})


def test_the_shipped_schema_is_the_one_the_records_have() -> None:
    assert SHIPPED.read_text("utf-8") == f"{to_json(manifest_schema(), indent=1)}\n", "run `make schema`"
    Draft202012Validator.check_schema(json.loads(SHIPPED.read_text("utf-8")))


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    written = record(timing={"read": 0.125})
    written.write(tmp_path)
    assert read_manifest(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60), deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        )
        .map(json.dumps)
        .map(str.encode),
        st.sampled_from([b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"null", b"\x00" * 64]),
    )
)
def test_garbage_is_no_manifest_and_no_crash(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(garbage)
    assert read_manifest(tmp_path) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40), deadline=None)
@given(st.data())
def test_half_a_manifest_or_one_of_another_version_is_none(tmp_path: Path, data: st.DataObject) -> None:
    whole = to_json(record().model_dump(mode="json"))
    cut = data.draw(st.integers(0, len(whole) - 1))
    for text in (whole[:cut], whole.replace('"schema_version":1', '"schema_version":2'), whole[:-1] + ',"new":1}'):
        (tmp_path / "manifest.json").write_text(text)
        assert read_manifest(tmp_path) is None


def test_no_manifest_and_a_folder_in_its_place_read_as_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "missing") is None
    (tmp_path / "manifest.json").mkdir()
    assert read_manifest(tmp_path) is None


def print_of(config: Mapping[str, Any]) -> str:
    return resolve(PlanInputs.of(RunConfig(**config), Path("root"))).plan.fingerprint("image", ())


def fingerprint(image: str | None, model: str, settings: Mapping[str, Any], targets: tuple[int, ...] = ()) -> str:
    named = ModelRecord(name="tiny", sha256=model, input_size=(32, 32))
    return Plan("key", named, 5, settings, (), Targets(Labels(), 5, "root", (-1,))).fingerprint(image, targets)


def test_the_fingerprint_follows_exactly_what_decides_a_result(model_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.keras"
    shutil.copy(model_file, other)
    write_card(other, name="other")
    (tmp_path / "names.txt").write_text("\n".join("abcde"))
    base = {"model": str(model_file), "filters": "0,1", "subset": "1,1 2,2", "std_dev": 0.2}
    changes: dict[str, Any] = {
        "model": str(other),
        "imports": "json",
        "layers": "conv2",
        "methods": "gradcam",
        "targets": "top2",
        "against": "second",
        "nsamples": 6,
        "std_dev": 0.3,
        "noise_scale": "absolute",
        "seed": 1,
        "score": "logit",
        "alpha_numerator": "first",
        "filters": "0,2",
        "filter_maps": "each",
        "subset": "1,1 2,3",
        "region": True,
        "write": "raw",
        "colormap": "jet",
        "opacity": 0.5,
        "picture_size": 64,
        "picture_format": "png",
        "contours": True,
        "input_size": "48",
        "fit": "crop",
        "channels": "bgr",
        "mean": "1",
        "std": "2",
        "labels": str(tmp_path / "names.txt"),
        "tolerance": 0.5,
        "derivatives": "exact",
        "precision": "bfloat16",
    }
    of_other_files = {"signature": "serving", "model_input": "image", "model_output": "age"}
    of_figures = {"figure_format": "svg"}
    neutral = {
        **{"output": "elsewhere", "sheet": True, "max_pixels": 10, "unsafe_lambda": True},
        **{"root": "a", "files_from": "b", "files_from0": "c", "ext": "png", "exclude": "d", "shard": "1/2"},
        **{"limit": 3, "sample": 2},
        **{"retry_failed": True, "max_failures": 3, "fail_fast": True, "lock_wait": 1, "progress_every": 2},
        **{"log_file": "e", "workers": 3, "image_timeout": 4},
        **{"device": "cpu", "batch": 2, "cache": False, "audit": "max_failed=1%"},
        **{"on": "ray", "actors": 2, "runtime": "openvino"},
    }
    # by the model's sha256, and by each image's targets and true classes
    counted_otherwise = {"weights", "targets_from", "truth"}
    with_methods = {"sizes": "48,64"}  # of a method that takes them
    left_open = {"best"}  # what it takes is what counts
    said = {*changes, *of_other_files, *of_figures, *neutral, *counted_otherwise, *with_methods, *left_open}
    assert said == set(RunConfig.model_fields), "say here what a new setting does"
    prints = {"as it is": print_of(base)} | {key: print_of({**base, key: value}) for key, value in changes.items()}
    assert len(set(prints.values())) == len(prints), "two settings share a fingerprint"
    scales = {**base, "methods": "twoscale"}
    assert len({print_of(scales), *(print_of({**scales, key: value}) for key, value in with_methods.items())}) == 2
    for key, value in of_other_files.items():
        assert RunConfig(**base, **{key: value}).result_settings()[key] == value
    for key, value in of_figures.items():
        of_one, of_other = (RunConfig(**base, write="figure", **more) for more in ({}, {key: value}))
        assert of_one.result_settings() != of_other.result_settings()
    for key, value in neutral.items():
        assert RunConfig(**base, **{key: value}).result_settings() == RunConfig(**base).result_settings(), key


def test_the_fingerprint_follows_image_model_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = [
        fingerprint("i", "m", {}),
        fingerprint("j", "m", {}),
        fingerprint("i", "n", {}),
        fingerprint("im", "", {}),
        fingerprint(None, "m", {}),
        fingerprint("i", "m", {}, (3,)),
        fingerprint("i", "m", {}, (3, 4)),
    ]
    monkeypatch.setattr(plan_module, "ENGINE_VERSION", plan_module.ENGINE_VERSION + 1)
    prints.append(fingerprint("i", "m", {}))
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_follows_the_revision_of_the_methods_of_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{"methods": ["gradcam"]}, {"methods": ["gradcam", "twoscale"]}, {"methods": ["unknown"]}, {}]
    before = [fingerprint("i", "m", settings) for settings in runs]
    monkeypatch.setitem(METHODS, "twoscale", replace(METHODS["twoscale"], revision=METHODS["twoscale"].revision + 1))
    same = [fingerprint("i", "m", settings) == old for settings, old in zip(runs, before, strict=True)]
    assert same == [True, False, True, True]


def test_the_fingerprint_does_not_follow_the_order_of_the_settings() -> None:
    assert fingerprint("i", "m", {"a": 1, "b": 2}) == fingerprint("i", "m", {"b": 2, "a": 1})


def named(layer: str, target: int, method: str, selection: Selection) -> SaliencyMap:
    return SaliencyMap(layer, method, target, selection, np.zeros((2, 2), np.float32), Head.AFFINE)


neurons = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=80, unique=True)
selections = st.builds(
    lambda filters, chosen: Selection(filters and tuple(sorted(filters)), False, chosen and tuple(chosen)),
    st.none() | st.lists(st.integers(0, 2000), min_size=1, max_size=400, unique=True),
    st.none() | neurons,
) | st.builds(lambda corners: Selection(None, True, tuple(corners)), neurons.filter(lambda chosen: len(chosen) == 2))
layer_names = st.text(min_size=1, max_size=300) | st.text(st.sampled_from("ab_/.1-"), min_size=1, max_size=5)
maps = st.builds(named, layer_names, st.integers(0, 10_000), st.sampled_from(sorted(METHODS)), selections)


@given(maps)
def test_file_names_are_safe_whatever_a_layer_is_called(saliency: SaliencyMap) -> None:
    name = f"{stem(saliency)}.heatmap.png"
    assert re.fullmatch(r"[A-Za-z0-9._,+~-]+", name)
    assert len(name) <= 255
    assert Path(name).name == name
    assert name != "manifest.json"


@settings(max_examples=examples(150))
@given(maps, st.sampled_from(sorted(METHODS)), layer_names, selections)
def test_no_two_maps_of_a_run_share_a_file_name(first: SaliencyMap, method: str, layer: str, other: Selection) -> None:
    one = (first.layer, first.method, first.selection)
    for second in ((layer, first.method, first.selection), (first.layer, method, first.selection), (*one[:2], other)):
        if second != one:
            assert stem(named(second[0], first.target, second[1], second[2])) != stem(first)


@pytest.mark.parametrize(
    ("one", "other"), [("block/conv", "block__conv"), ("a/b/c", "a/b__c"), ("a b", "a_b"), ("x" * 300, "x" * 299)]
)
def test_layers_of_like_names_do_not_share_a_file_name(one: str, other: str) -> None:
    assert stem(named(one, 1, "gradcam", Selection())) != stem(named(other, 1, "gradcam", Selection()))


@given(st.lists(st.integers(0, 300), min_size=1, unique=True))
def test_ranges_read_back_as_the_same_filters(numbers: list[int]) -> None:
    assert RunConfig.model_validate({"filters": ranges(tuple(numbers))}).filters == tuple(sorted(numbers))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_json_does_not_have(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": {"b": [value]}})


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_json_is_sorted_ascii_and_one_line(value: dict[str, Any]) -> None:
    text = to_json(value)
    assert text.isascii()
    assert "\n" not in text
    assert list(json.loads(text).items()) == sorted(value.items())


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    file = tmp_path / "run.json"
    for folder in (staging, None):
        with whole(file, folder) as stream:
            stream.write(b"old")
        with pytest.raises(TypeError), whole(file, folder) as stream:
            stream.writelines([b"half of it", "no bytes"])  # type: ignore[list-item]
        assert file.read_bytes() == b"old"
        with whole(file, folder) as stream:
            stream.write(b"new")
        assert file.read_bytes() == b"new"
        assert {entry.name for entry in tmp_path.iterdir()} == {"run.json", "staging"}
        assert not list(staging.iterdir())


def test_a_new_file_replaces_nothing_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"theirs")
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()
