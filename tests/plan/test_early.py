"""Mistakes that are told before TensorFlow is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cam_cli.config import RunConfig
from cam_cli.errors import UsageError
from cam_cli.models import application_names
from cam_cli.models.keras_file import layer_names
from cam_cli.models.source import find_source
from cam_cli.plan.cache import Cache
from cam_cli.plan.early import ModelFacts, caches_of, check_early
from cam_cli.plan.plan import PlanInputs

pytestmark = pytest.mark.pure

SAMPLES = Path(__file__).parent.parent.parent / "sample_images"


def checked(**settings: object) -> None:
    check_early(PlanInputs.of(RunConfig.model_validate(settings), SAMPLES))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "flowers.keras"}, "no model 'flowers.keras': neither a file, nor a bundled model"),
        ({"model": "resnet5"}, "no model 'resnet5' .did you mean 'resnet50'"),
        ({"labels": "nope.txt"}, "labels 'nope.txt': no such file"),
        ({"model": "resnet50", "weights": "nope.h5"}, "weights 'nope.h5': no such file"),
        ({"targets_from": "nope.csv"}, "targets_from is 'nope.csv': no such file"),
        ({"imports": "nosuchmodule.layers"}, "cannot import 'nosuchmodule.layers'"),
        ({"layers": "block5_conv4"}, "no bundled model has the layer 'block5_conv4'; near it: 'block5_conv3'"),
        (
            {"layers": "block5_conv4", "model": "vgg16-lite"},
            "no layer 'block5_conv4' in this model; near it: 'block5_conv3'",
        ),
        ({"targets": "German sheperd"}, "no class of that name; near it: 'German shepherd'"),
        ({"targets": "1000"}, "target 1000: the model has 1000 classes"),
    ],
)
def test_a_mistake_is_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked(**settings)


def test_what_is_right_or_cannot_be_told_passes(tmp_path: Path) -> None:
    checked()
    checked(layers="block5_conv3", targets=["ox", "top5", "folder"], imports="json")
    checked(model="resnet50", layers="anything at all")


def test_what_is_known_of_a_model_that_was_loaded_before_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config: dict[str, object] = {"model": "efficientnet-lite0"}
    facts = ModelFacts(7, {"body/last": (4, 5, 6), "head": None})
    facts.keep(caches_of(PlanInputs.of(RunConfig.model_validate(config), SAMPLES))[1])
    checked(**config, layers="last", filters="5", subset="3,4")
    for wrong, message in [
        ({"layers": "lst"}, "no layer 'lst' in this model"),
        ({"layers": "last", "filters": "6"}, "filter 6 is past the end: layer 'body/last' has 6 feature maps"),
        ({"layers": "last", "subset": "4,0"}, r"neuron \(4, 0\) is off the grid"),
        ({"targets": "7"}, "the model has 7 classes"),
    ]:
        with pytest.raises(UsageError, match=message):
            checked(**config, **wrong)


def test_damaged_facts_are_no_facts(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "key")
    for contents in (b"", b"[]", b'{"classes": 3}', b'{"classes": 3, "layers": [1]}'):
        cache.save("layers", contents)
        assert ModelFacts.kept(cache) is None


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ({"class_name": "Sequential", "config": {"layers": [("Conv2D", "a"), ("Dense", "b")]}}, {"a", "b"}),
        ({"class_name": "Functional", "config": {"layers": [("Conv2D", "a"), ("MultiHeadAttention", "b")]}}, None),
        ({"class_name": "Functional", "config": {"layers": [("Functional", "body")]}}, None),
        ({"class_name": "MyModel", "config": {"layers": [("Conv2D", "a")]}}, None),
        ({"config": {}}, None),
        ([], None),
    ],
)
def test_layers_are_told_from_a_file_only_if_none_is_inside_another(tmp_path: Path, model: Any, names: object) -> None:
    if isinstance(model, dict) and "layers" in model["config"]:
        layers = model["config"]["layers"]
        model["config"]["layers"] = [
            {"module": "keras.layers", "class_name": k, "config": {"name": n}} for k, n in layers
        ]
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(model))
    assert layer_names(tmp_path / "m.keras") == names
    assert layer_names(tmp_path / "gone.keras") is None


def test_the_file_beside_is_offered(tmp_path: Path) -> None:
    (tmp_path / "flowers.keras").touch()
    with pytest.raises(UsageError, match=r"did you mean 'flowers\.keras'"):
        find_source(str(tmp_path / "flower.keras"))


def test_names_of_keras_that_cannot_be_read_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cam_cli.models.source.application_names", lambda: frozenset[str]())
    assert find_source("newnet9000").path is None
    assert {"resnet50", "vgg16", "convnexttiny"} <= application_names.application_names()


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "cow.jpg", "--model", "flowers.keras"],
        ["explain", "cow.jpg", "--layer", "block5_conv4", "--model", "vgg16-lite"],
        ["explain", "cow.jpg", "--target", "sheperd"],
        ["explain", "cwo.jpg"],
        ["layers", "flowers.keras"],
    ],
)
def test_the_command_tells_it_without_tensorflow_and_leaves_nothing_behind(
    tmp_path: Path, arguments: list[str]
) -> None:
    code = """
import sys
sys.modules["tensorflow"] = None  # importing it fails, and so importing Keras
from cam_cli.cli import main
main()
"""
    (tmp_path / "cow.jpg").write_bytes((SAMPLES / "cow.jpg").read_bytes())
    environ = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cow.jpg"]
