"""The two models that ship: what they predict, what they look at, and that their cards say what is true."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.errors import UsageError
from cam_cli.graph.trace import trace
from cam_cli.images.decode import decode
from cam_cli.images.fit import InputBox, fit
from cam_cli.images.image import RgbImage
from cam_cli.models.bundled import bundled_models, choose_bundled
from cam_cli.models.card import read_card
from cam_cli.models.labels import read_labels
from cam_cli.models.load import Network, load_network

ROOT = Path(__file__).parent.parent.parent
IMAGES = sorted((ROOT / "sample_images").glob("*.jpg"))
REFERENCE = json.loads((Path(__file__).parent.parent / "data" / "reference.json").read_text())
BOXES = json.loads((ROOT / "sample_images" / "boxes.json").read_text())
MODELS = ("efficientnet-lite0", "vgg16-lite")
CLEAN = Request(nsamples=0)


@cache
def network(name: str) -> Network:
    return load_network(name)


@cache
def explained(name: str, request: Request, how: str = "crop") -> dict[str, tuple[RgbImage, InputBox, Explanation]]:
    net = network(name)
    analysis = analyse(trace(net.model, net.input_shape), [net.default_layer])
    engine = Explainer(net.model, analysis, request, images=1)
    found = {}
    for path in IMAGES:
        image = decode(path.read_bytes())
        x, box = fit(image, net.input_shape[:2], replace(net.preprocessing, fit=how))
        found[path.name] = (image, box, engine.explain([Subject(x, path.name)])[0])
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_the_original_weights(name: str) -> None:
    """Catches a wrong channel order, mean, resampling filter or a lost weight.

    The figures come from other frameworks, which were given whole photos, stretched.
    """
    assert len(IMAGES) == 10
    for image, reference in REFERENCE[name].items():
        logits = explained(name, CLEAN, "stretch")[image][2].logits
        assert int(np.argmax(logits)) == reference[0]["index"], image
        for entry in reference:
            assert logits[entry["index"]] == pytest.approx(entry["logit"], abs=0.06), image


@pytest.mark.parametrize("request_", [CLEAN, pytest.param(Request(), marks=pytest.mark.long)], ids=["clean", "noisy"])
@pytest.mark.parametrize("name", MODELS)
def test_the_peak_of_the_map_lies_on_the_animal(name: str, request_: Request) -> None:
    hits = []
    for image, truth in BOXES.items():
        original, box, explanation = explained(name, request_)[image]
        assert [original.width, original.height] == truth["size"]
        values = explanation.maps[0].values
        row, column = np.unravel_index(np.argmax(values), values.shape)
        x = box.left + (column + 0.5) / values.shape[1] * (box.right - box.left)
        y = box.top + (row + 0.5) / values.shape[0] * (box.bottom - box.top)
        hits.append(any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in truth["boxes"]))
    assert len(hits) == 9
    assert sum(hits) >= 8, dict(zip(BOXES, hits, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_card_describes_the_file(name: str) -> None:
    path = bundled_models()[name]
    card = read_card(path.with_suffix(".yaml"))
    assert card.name == name
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.licence
    assert card.source
    assert card.labels is not None
    assert len(read_labels(card.labels).entries) == network(name).model.output_shape[-1] == 1000
    assert card.layer in [layer.name for layer in network(name).model.layers]


@pytest.mark.parametrize("name", MODELS)
def test_the_card_takes_the_centre_crop_that_the_network_was_made_with(name: str) -> None:
    how = network(name).preprocessing
    assert (how.fit, how.crop_fraction) == ("crop", 0.875)


@pytest.mark.parametrize("name", MODELS)
def test_animals_of_the_sample_images_are_named(name: str) -> None:
    """By what the photos show; two big cats of one kind of coat may be taken for each other."""
    right = []
    for image, truth in BOXES.items():
        best = int(np.argmax(explained(name, CLEAN)[image][2].logits))
        right.append(best == truth["class_index"] or image == "jaguars.jpg")
    assert sum(right) >= len(right) - 1, dict(zip(BOXES, right, strict=True))


def test_labels_agree_with_the_boxes() -> None:
    labels = network("efficientnet-lite0").labels
    for truth in BOXES.values():
        entry = labels[truth["class_index"]]
        assert entry.wnid == truth["wnid"]
        assert labels.resolve(truth["wnid"], 1000) == labels.resolve(truth["label"], 1000) == (truth["class_index"],)


def test_a_class_may_be_written_in_several_ways() -> None:
    labels = network("efficientnet-lite0").labels
    assert labels.resolve("predicted", 1000) == (-1,)
    assert labels.resolve("top3", 1000) == (-1, -2, -3)
    assert labels.resolve("235", 1000) == (235,)
    assert labels.resolve("GERMAN SHEPHERD", 1000) == labels.resolve("alsatian", 1000) == (235,)
    for wrong, text in (
        ("1000", "1000 classes, 0 to 999"),
        ("top1001", "top1 to top1000"),
        ("German sheperd", "near it: 'German shepherd' \\(235\\)"),
        ("crane", r"names 2 classes; give the index or the WordNet id: 134 \(n02012849\) or 517 \(n03126707\)"),
    ):
        with pytest.raises(UsageError, match=text):
            labels.resolve(wrong, 1000)


def test_the_layer_chooses_the_model() -> None:
    assert choose_bundled(["auto"]) == "efficientnet-lite0"
    assert choose_bundled(["block5_conv3"]) == "vgg16-lite"
    assert choose_bundled(["top_activation", "auto"]) == "efficientnet-lite0"
    with pytest.raises(UsageError, match="no bundled model has the layer 'block5_conv3', 'top_conv'"):
        choose_bundled(["block5_conv3", "top_conv"])


def test_the_synonyms_are_those_of_the_table() -> None:
    path = bundled_models()["vgg16-lite"].parent / "imagenet1k.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = read_labels(path).entries
    assert [e.wnid for e in entries] == [row["wnid"] for row in rows]
    assert [e.name for e in entries] == [row["name"] for row in rows]
