"""What a run says about how far its own maps can be trusted."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import write_card
from PIL import Image

Command = Callable[..., Any]


def saved(model: keras.Model, folder: Path, **card: object) -> Path:
    file = folder / "model.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(file)
    return write_card(file, **card)


def network(activation: str = "relu", bias: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(6)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu", name="first")(inputs)
    signed = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(6, 3, padding="same", name="second")(x))
    last = keras.layers.Activation(activation, name="active")(signed)
    pooled = keras.layers.GlobalAveragePooling2D()(last)
    dense = keras.layers.Dense(5, activation="softmax", bias_initializer=keras.initializers.Constant(bias), name="head")
    return keras.Model(inputs, dense(pooled))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_signed_layer_is_warned_of_and_the_better_one_named(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network(), tmp_path, layer="active")
    ended = smoothcam("explain", image, "--model", model, "--layer", "norm", "-o", tmp_path / "out", "--json")
    assert ended.code == 0
    assert "layer 'norm' has values of both signs" in ended.err
    assert "'active', the activation after it, is the better choice" in ended.err
    good = smoothcam("explain", image, "--model", model, "--layer", "active", "-o", tmp_path / "good", "--json")
    assert "both signs" not in good.err


def test_a_smooth_head_is_recorded_as_approximate_unless_exact(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network("silu"), tmp_path, layer="norm")
    found = {}
    for derivatives in ("closed", "exact"):
        out = tmp_path / derivatives
        ended = smoothcam("explain", image, "--model", model, "-o", out, "--json", "--derivatives", derivatives)
        assert ended.code == 0, ended.err
        (entry,) = ended.rows[0]["maps"]
        found[derivatives] = (entry["head"], entry["derivatives"])
    assert found == {"closed": ("smooth", "approximate"), "exact": ("smooth", "exact")}


def test_an_affine_head_is_said_once_and_recorded(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network(), tmp_path, layer="active")
    ended = smoothcam("explain", image, "--model", model, "-o", tmp_path / "out", "--json", "--nsamples", "5")
    assert ended.err.count("noise has no effect") == 1
    (entry,) = ended.rows[0]["maps"]
    assert (entry["noise"], entry["noise_effect"], entry["standard_error"]) == ("no effect, affine head", 1.0, 0.0)


def test_a_blank_map_is_counted_and_drawn_as_a_placard(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = network()
    model.get_layer("head").kernel.assign(-np.abs(model.get_layer("head").kernel.numpy()))
    file = saved(model, tmp_path, layer="active")
    ended = smoothcam("explain", image, "--model", file, "-o", tmp_path / "out", "--json")
    assert ended.code == 0
    assert "1 blank map" in ended.err
    (entry,) = ended.rows[0]["maps"]
    assert entry["state"] == "blank"
    folder = tmp_path / "out" / "image.png"
    assert not np.load(folder / entry["files"]["raw"]).any()
    for kind in ("heatmap", "overlay"):
        picture = np.asarray(Image.open(folder / entry["files"][kind]))
        assert picture.shape == (48, 64, 3)
        assert np.ptp(picture.astype(int), axis=-1).max() == 0, "a placard has no colour that could be taken for heat"


def test_noise_until_the_tolerance_is_met_says_how_much_it_took(
    smoothcam: Command, image: Path, tmp_path: Path
) -> None:
    model = saved(network(), tmp_path, layer="first")
    run = ("explain", image, "--model", model, "--json", "--nsamples", "auto", "--std-dev", "0.4")
    counts = []
    for tolerance in ("0.2", "0.0005"):
        ended = smoothcam(*run, "--tolerance", tolerance, "-o", tmp_path / tolerance)
        (entry,) = ended.rows[0]["maps"]
        count = int(entry["noise"].removesuffix(" samples"))
        assert entry["standard_error"] <= float(tolerance) or count == 200
        counts.append(count)
    assert counts[0] < counts[1]


def test_the_most_influential_neurons_are_listed(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network(), tmp_path, layer="active")
    ended = smoothcam("explain", image, "--model", model, "--subset", "top:3", "-o", tmp_path / "out", "--json")
    (entry,) = ended.rows[0]["maps"]
    assert entry["selection"]["top"] == 3
    values = np.load(tmp_path / "out" / "image.png" / entry["files"]["raw"])
    assert sorted(map(tuple, entry["selection"]["subset"])) == sorted(zip(*map(list, np.nonzero(values)), strict=True))
    assert "top-3" in entry["files"]["raw"]
    manifest = json.loads((tmp_path / "out" / "image.png" / "manifest.json").read_text())
    assert manifest["settings"]["subset"] == "top:3"


def test_a_card_says_how_tokens_lie(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((32, 32, 3))
    tokens = keras.layers.Reshape((16, 6), name="tokens")(keras.layers.Conv2D(6, 8, strides=8, name="embed")(inputs))
    tokens = keras.layers.ZeroPadding1D((2, 0), name="with_two_class_tokens")(tokens)
    attended = keras.layers.MultiHeadAttention(2, 3, name="attention")(tokens, tokens)
    read = keras.layers.GlobalAveragePooling1D()(keras.layers.Add(name="sum")([tokens, attended]))
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(read))
    card = {"tokens": {"grid": [4, 4], "class_tokens": 2}, "layer": "with_two_class_tokens"}
    file = saved(model, tmp_path, **card)
    ended = smoothcam("explain", image, "--model", file, "-o", tmp_path / "out", "--json", "--method", "gradcam++")
    assert ended.code == 0, ended.err
    (entry,) = ended.rows[0]["maps"]
    assert (entry["layer"], entry["grid"]) == ("with_two_class_tokens", [4, 4])
    undeclared = saved(model, tmp_path, layer="with_two_class_tokens")
    refused = smoothcam("explain", image, "--model", undeclared, "-o", tmp_path / "no")
    assert refused.code == 2
    assert "tokens: {grid: [ROWS, COLUMNS], class_tokens: N}" in refused.err


def test_class_names_that_do_not_match_the_classes_are_refused(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network(), tmp_path, layer="active")
    (tmp_path / "seven.txt").write_text("\n".join("abcdefg"))
    ended = smoothcam("explain", image, "--model", model, "--labels", tmp_path / "seven.txt", "-o", tmp_path / "out")
    assert ended.code == 2
    assert "there are 7 class names and the model has 5 classes" in ended.err


def test_a_sheet_shows_the_images_of_its_run_alone(smoothcam: Command, image: Path, tmp_path: Path) -> None:
    model = saved(network(), tmp_path, layer="active")
    other = tmp_path / "other.png"
    Image.open(image).rotate(90, expand=True).save(other)
    run = ("--model", model, "-o", tmp_path / "out", "--sheet", "--method", "activations")
    assert smoothcam("explain", image, *run).code == 0
    one = Image.open(tmp_path / "out" / "sheet.jpg").size
    assert smoothcam("explain", image, other, *run).code == 0
    two = Image.open(tmp_path / "out" / "sheet.jpg").size
    assert smoothcam("explain", image, *run).code == 0
    assert Image.open(tmp_path / "out" / "sheet.jpg").size == one
    assert two[1] > one[1]


def test_an_ensemble_is_explained_by_its_log_probability_at_a_layer_of_one_part(
    smoothcam: Command, image: Path, tmp_path: Path
) -> None:
    inputs = keras.Input((32, 32, 3))
    left, right = network(), network("tanh")
    left.name, right.name = "left", "right"
    ensemble = keras.Model(inputs, keras.layers.Average()([left(inputs), right(inputs)]))
    ended = smoothcam(
        "explain", image, "--model", saved(ensemble, tmp_path, layer=None), "-o", tmp_path / "out", "--json"
    )
    assert ended.code == 0, ended.err
    assert "layer auto: taking right/active, which sees only a part" in ended.err
    assert "the score is the logarithm of the probability" in ended.err
    manifest = json.loads((tmp_path / "out" / "image.png" / "manifest.json").read_text())
    assert manifest["model"]["score"] == "log probability"
    best = manifest["predictions"][0]
    assert best["probability"] == pytest.approx(np.exp(best["logit"]), rel=1e-4)


def test_dropout_that_stays_on_is_said_and_nothing_is_called_exact(
    smoothcam: Command, image: Path, tmp_path: Path
) -> None:
    inputs = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="maps")(inputs)
    dropped = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(maps), training=True)
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(dropped))
    ended = smoothcam("explain", image, "--model", saved(model, tmp_path, layer=None), "-o", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    assert "one draw of its randomness is explained" in ended.err
    assert {entry["derivatives"] for entry in ended.rows[0]["maps"]} == {"approximate"}
