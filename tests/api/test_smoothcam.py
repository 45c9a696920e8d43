"""`import smoothcam`: models and images of any kind, what comes back, and what is kept between two calls."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import CLASSES, Command
from PIL import Image

import smoothcam
from cam_cli.api import kept
from cam_cli.graph import trace

COLOURS = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(COLOURS).save(path)
    return path


def network(seed: int = 0) -> keras.Model:
    """A classifier of three classes that scales images by itself."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            keras.layers.Rescaling(1 / 255, name="scale"),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="first"),
            keras.layers.Conv2D(5, 3, activation="relu", name="second"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with each call of a model for tracing."""
    calls: list[object] = []
    real = trace.run_model

    def counting(model: keras.Model, x: Any) -> Any:
        calls.append(model)
        return real(model, x)

    monkeypatch.setattr(trace, "run_model", counting)
    monkeypatch.setattr("cam_cli.engine.tracing.run_model", counting)
    return calls


@pytest.mark.filterwarnings("ignore:no model card")
def test_a_file_gives_the_map_of_the_command(smoothcam_command: Command, model_file: Path, image: Path) -> None:
    out = image.parent / "out"
    smoothcam_command("explain", image, "--model", model_file, "--layer", "conv1", "--target", "moon", "-o", out)
    found = smoothcam.explain(model_file, str(image), layer="conv1", target="moon")
    np.testing.assert_allclose(found.map, np.load(out / "cat.png" / "conv1.4.npy"), rtol=1e-4, atol=1e-6)
    assert (found.target.label, found.target.index) == ("moon", CLASSES.index("moon"))
    assert found.prediction.probability == max(each.probability for each in found.predictions)
    assert found.standard_error is not None


@pytest.fixture
def smoothcam_command(request: pytest.FixtureRequest) -> Command:
    command: Command = request.getfixturevalue("smoothcam")
    return command


def test_a_path_a_pil_image_and_an_array_are_the_same_image(model: keras.Model, image: Path) -> None:
    forms = [image, str(image), Image.fromarray(COLOURS), COLOURS]
    found = smoothcam.explain(model, forms, layer="second", target=1, nsamples=0)
    assert [each.name for each in found[:2]] == [str(image)] * 2
    for each in found[1:]:
        np.testing.assert_array_equal(each.map, found[0].map)
    alone = smoothcam.explain(model, Image.fromarray(COLOURS), layer="second", target=1, nsamples=0)
    np.testing.assert_allclose(alone.map, found[0].map, rtol=1e-5)


def test_a_floating_point_array_is_the_input_as_it_is(model: keras.Model) -> None:
    x = np.random.default_rng(2).uniform(0, 255, (24, 24, 3)).astype(np.float32)
    found = smoothcam.explain(model, np.stack([x, x[::-1]]), layer="second", target=0, nsamples=0)
    assert len(found) == 2
    scores = model(np.stack([x, x[::-1]])).numpy()
    for each, row in zip(found, scores, strict=True):
        np.testing.assert_allclose([p.probability for p in each.predictions], np.sort(row)[::-1], rtol=1e-4)


def test_an_image_of_a_phone_is_turned_upright(model: keras.Model, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    with Image.open(tmp_path / "turned.jpg") as opened:
        assert smoothcam.explain(model, opened, nsamples=0).overlay().size == (40, 48)


def test_what_is_found_draws_and_saves_itself(model: keras.Model, image: Path, tmp_path: Path) -> None:
    found = smoothcam.explain(model, image, layer="first", target=2, method="gradcam++")
    assert found.map.dtype == np.float32
    assert found.overlay().size == found.heatmap().size == (48, 40)
    assert found.overlay().mode == found.heatmap().mode == "RGB"
    found.save(tmp_path / "cat.jpg")
    found.save(tmp_path / "cat.npy")
    with Image.open(tmp_path / "cat.jpg") as saved:
        assert saved.size == (48, 40)
    np.testing.assert_array_equal(np.load(tmp_path / "cat.npy"), found.map)
    with Image.open(io.BytesIO(found._repr_png_())) as shown:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(found.overlay()))
    assert repr(found).startswith(f"<'{image}': predicted ")
    with pytest.raises(smoothcam.UsageError, match=r"path is .*cat\.xyz.*end it with"):
        found.save(tmp_path / "cat.xyz")


def test_several_names_give_several_maps(model: keras.Model, image: Path, tmp_path: Path) -> None:
    found = smoothcam.explain(model, image, ["first", "second"], [0, "2"], ["gradcam", "hirescam"], nsamples=0)
    told = {(each.layer, each.method, each.target.index) for each in found.maps}
    assert told == {(a, b, c) for a in ("first", "second") for b in ("gradcam", "hirescam") for c in (0, 2)}
    with pytest.raises(smoothcam.UsageError, match=r"there are 8 maps; .*maps\[7\]"):
        _ = found.map
    found.save(tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as saved:
        assert saved.width > 8 * 48


def test_names_of_classes_may_be_a_list(model: keras.Model, image: Path) -> None:
    found = smoothcam.explain(model, image, target="rose", labels=["daisy", "rose", "tulip"], nsamples=0)
    assert (found.target.index, found.target.label) == (1, "rose")


@pytest.mark.filterwarnings("ignore:the map is blank")
def test_a_second_call_does_not_trace_again(image: Path, traces: list[object]) -> None:
    model = network(4)
    first = smoothcam.explain(model, image, layer="first", target=0)
    assert traces
    traces.clear()
    again = smoothcam.explain(model, image, layer="first", target=0)
    smoothcam.explain(model, image, layer="first", target=1, filters=[0, 2], score="logit", seed=3)
    assert traces == []
    np.testing.assert_array_equal(first.map, again.map)
    x = np.zeros((24, 24, 3), np.float32) + 99
    smoothcam.grad_cam_plus_smooth(model, x, "second", nsamples=2)
    assert traces
    traces.clear()
    smoothcam.grad_cam_plus_smooth(model, x, "second", nsamples=2, filters=[1])
    assert traces == []


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.get_layer("head").kernel.assign(np.eye(5, 3)),
        lambda model: setattr(model.get_layer("first"), "activation", keras.activations.tanh),
    ],
    ids=["weights", "activation"],
)
def test_a_model_that_has_changed_is_traced_again(image: Path, change: Callable[[keras.Model], object]) -> None:
    model = network(5)
    smoothcam.explain(model, image, layer="first", target=0)
    change(model)
    found = smoothcam.explain(model, image, layer="first", target=0)
    kept._KEPT.clear()
    anew = smoothcam.explain(model, image, layer="first", target=0)
    np.testing.assert_array_equal(found.map, anew.map)
    assert found.predictions == anew.predictions


def test_what_is_kept_is_forgotten_with_the_model(image: Path) -> None:
    model = network(6)
    smoothcam.explain(model, image, layer="first")
    reference, before = weakref.ref(model), len(kept._KEPT)
    del model
    gc.collect()
    assert reference() is None
    assert len(kept._KEPT) < before


def test_few_passes_are_kept(image: Path) -> None:
    model = network(7)
    for count in range(1, kept.MOST_PASSES + 4):
        smoothcam.explain(model, image, layer="first", nsamples=count)
    assert len(kept._KEPT[model].passes) == kept.MOST_PASSES


@pytest.mark.filterwarnings("ignore:no model card")
def test_a_named_model_stays_open(model_file: Path, image: Path, traces: list[object]) -> None:
    smoothcam.explain(model_file, image, layer="conv1")
    traces.clear()
    smoothcam.explain(str(model_file), image, layer="conv1")
    assert traces == []


def test_what_is_assumed_of_a_model_is_warned_of_once(image: Path) -> None:
    plain = keras.Sequential([network(8).get_layer("first"), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    plain.build((None, 24, 24, 3))
    with pytest.warns(UserWarning, match=r"assuming input values.*\(mean and std"):
        found = smoothcam.explain(plain, image, nsamples=0)
    assert any("assuming" in each for each in found.remarks)
    smoothcam.explain(plain, image, nsamples=0)
    smoothcam.explain(network(9), image, nsamples=0, mean=0, std=1)


def test_a_network_of_keras_applications_is_known_by_its_name(image: Path) -> None:
    vgg = keras.Sequential([keras.Input((32, 32, 3)), *network(3).layers[1:4], keras.layers.Dense(1000)], name="vgg16")
    with pytest.warns(UserWarning, match="taken for keras.applications' vgg16"):
        found = smoothcam.explain(vgg, image, target="ox", layer="second", nsamples=0)
    assert found.target.index == 345


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": "caat.png"}, r"image is 'caat.png'; there is no such file"),
        ({"image": 3}, "image is 3; it must be a path"),
        ({"image": []}, r"image is \[\]"),
        ({"image": [COLOURS, None]}, "image 1 is None"),
        ({"image": np.zeros((24, 24, 7), np.uint8)}, r"image 0 is an array of shape \(24, 24, 7\)"),
        ({"image": np.zeros((10, 10, 3))}, "image 0: an array of 10 x 10 x 3, and the network takes 24 x 24 x 3"),
        ({"model": 3}, "model is 3"),
        ({"model": "vgg16lite"}, "no model 'vgg16lite' .did you mean 'vgg16-lite'"),
        ({"layer": "frist"}, "no layer 'frist' in this model; near it: 'first'"),
        ({"layer": ""}, "layer: must be text that is not empty"),
        ({"method": "gradcm"}, "method: must be one of .*'gradcm' .did you mean 'gradcam'"),
        ({"target": 3}, "target 3: the model has 3 classes"),
        ({"target": -4}, "target is -4"),
        ({"target": "cat"}, "target 'cat': this model has no class names"),
        ({"target": 1.5}, "target is 1.5"),
        (
            {"target": "cat", "labels": ["a", "b", "c"]},
            r"target 'cat': no class of that name; the model has 'a' \(0\), 'b'",
        ),
        ({"labels": ["a", "b"]}, "labels has 2 names, and the model has 3 classes"),
        ({"nsamples": -1}, "nsamples: must be a whole number from 0"),
        ({"nsample": 1}, "unknown argument 'nsample' .did you mean 'nsamples'"),
        ({"layers": "first"}, "unknown argument 'layers' .did you mean 'layer'"),
        ({"filters": [9], "layer": "first"}, "filter 9 is past the end"),
    ],
)
def test_an_error_names_the_argument_and_its_value(model: keras.Model, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(smoothcam.SmoothcamError, match=message):
        smoothcam.explain(**{"model": model, "image": COLOURS, **arguments})


def test_importing_smoothcam_costs_no_tensorflow() -> None:
    code = (
        "import smoothcam, sys; print('tensorflow' in sys.modules, 'numpy' in sys.modules, sorted(dir(smoothcam))[:2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["False", "False"]
    assert all(getattr(smoothcam, name) is not None for name in smoothcam.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = smoothcam.nothing
