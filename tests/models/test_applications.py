"""Every keras.applications network by name: Keras's own preprocessing, its size, its weights, and how it fails offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from examples import mostly_long
from launcher import ALONE

from cam_cli.engine.analysis import Link, analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Request, Subject
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.layers import choose_layer, describe_layers
from cam_cli.graph.trace import trace
from cam_cli.images.fit import fit
from cam_cli.images.image import RgbImage
from cam_cli.models.applications import applications, load_application, sha256_of_weights
from cam_cli.models.inputs import Overrides
from cam_cli.models.labels import read_labels
from cam_cli.models.load import load_network

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

SMALL = {"mobilenet": 224, "mobilenetv3small": 224}
SIZES = {
    "inceptionv3": 299, "inceptionresnetv2": 299, "xception": 299, "nasnetlarge": 331, "efficientnetb1": 240,
    "efficientnetb2": 260, "efficientnetb3": 300, "efficientnetb4": 380, "efficientnetb5": 456, "efficientnetb6": 528,
    "efficientnetb7": 600, "efficientnetv2b1": 240, "efficientnetv2b2": 260, "efficientnetv2b3": 300,
    "efficientnetv2s": 384, "efficientnetv2m": 480, "efficientnetv2l": 480,
}  # fmt: skip
"""Sizes on keras.io and in the papers, where it is not 224."""

# One network of each family, and the module of keras.applications whose `preprocess_input` is meant for it.
FAMILIES = {
    "vgg16": "vgg16", "vgg19": "vgg19", "resnet50": "resnet", "resnet50v2": "resnet_v2", "inceptionv3": "inception_v3",
    "inceptionresnetv2": "inception_resnet_v2", "xception": "xception", "densenet121": "densenet",
    "mobilenet": "mobilenet", "mobilenetv2": "mobilenet_v2", "mobilenetv3small": "mobilenet_v3",
    "nasnetmobile": "nasnet", "efficientnetb0": "efficientnet", "efficientnetv2b0": "efficientnet_v2",
    "convnexttiny": "convnext",
}  # fmt: skip


def explain_randomly(name: str, size: int) -> None:
    """Explain noise with random weights at the layer that `auto` takes."""
    model, card = load_application(name, weights=None)
    assert card.input.size == (size, size)
    traced = trace(model, (size, size, 3))
    chosen = choose_layer(describe_layers(traced))
    assert chosen.grid is not None
    assert min(chosen.grid) >= 4
    analysis = analyse(traced, [chosen.path])
    assert analysis.classes == 1000
    assert analysis.link is Link.SOFTMAX
    image = np.random.default_rng(3).integers(0, 256, (size, size, 3), np.uint8)
    x, _ = fit(RgbImage(image, size, size, ()), (size, size), card.input.preprocessing())
    explanation = Explainer(model, analysis, Request(methods=("gradcam",), nsamples=0)).explain([Subject(x, name)])[0]
    expected = keras.ops.convert_to_numpy(model(x[None], training=False))[0]
    assert int(np.argmax(explanation.logits)) == int(np.argmax(expected)) or np.ptp(expected) < 1e-5
    assert explanation.maps[0].values.shape == chosen.grid
    assert explanation.maps[0].state in ("ok", "blank")


def test_every_network_of_keras_has_a_name() -> None:
    """Catches a family left out of the table: each public builder is there, under its own name in lower case."""
    public = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {build.__name__ for build in applications().values()} == public
    assert set(applications()) == {name.lower() for name in public}
    assert {applications()[name].__module__.rpartition(".")[2] for name in FAMILIES} == {
        build.__module__.rpartition(".")[2] for build in applications().values()
    }


def standing_in(name: str, build: Callable[[], keras.Model]) -> Callable[..., keras.Model]:
    """Return what builds another network where smoothcam asks Keras for one of its own."""
    real = applications()[name]

    def stand_in(weights: None) -> keras.Model:
        return build()

    stand_in.__module__, stand_in.__name__ = real.__module__, real.__name__
    return stand_in


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_preprocessing_is_that_of_keras(name: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a wrong channel order, mean or deviation; the network itself is not needed, so a stand-in is built."""
    tiny = keras.Sequential([keras.Input((40, 32, 3)), keras.layers.Flatten()])
    monkeypatch.setitem(applications(), name, standing_in(name, lambda: tiny))
    _, card = load_application(name, weights=None)
    assert card.input.size == (40, 32), "the size is the network's own"
    pixels = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    how = card.input.model_copy(update={"fit": "stretch"}).preprocessing()
    x, _ = fit(RgbImage(pixels, 20, 20, ()), (20, 20), how)
    expected = import_module(f"keras.applications.{family}").preprocess_input(pixels.astype(np.float32).copy())
    np.testing.assert_allclose(x, expected, atol=1e-4)
    assert card.input.fit == "crop"


@pytest.mark.parametrize("name", mostly_long(SMALL, 1))
def test_one_network_of_each_kind_is_explained(name: str) -> None:
    explain_randomly(name, SMALL[name])


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(applications()) - set(SMALL)))
def test_every_other_network_is_explained(name: str) -> None:
    """In a process of its own, by the script that prints the table in docs/applications.md: some need 10 GB of memory."""
    script = Path(__file__).parent.parent / "benchmarks" / "applications.py"
    done = subprocess.run([sys.executable, script, name], capture_output=True, text=True, check=True)
    network, size, layer, grid, head, state, _ = (c.strip() for c in done.stdout.splitlines()[-1].strip("|").split("|"))
    assert (network, size) == (name, str(SIZES.get(name, 224)))
    assert layer
    assert min(map(int, grid.split("x"))) >= 4
    assert head in ("affine", "piecewise linear", "smooth")
    assert state in ("ok", "blank")


def test_labels_are_those_of_imagenet() -> None:
    _, card = load_application("mobilenetv3small", weights=None)
    assert card.labels is not None
    entries = read_labels(card.labels).entries
    assert (len(entries), entries[235].name, entries[281].wnid) == (1000, "German shepherd", "n02123045")


def few_layers() -> keras.Model:
    """A network of the kinds of layers that MobileNetV3 has, to be built in no time."""
    x = inputs = keras.Input((224, 224, 3))
    x = keras.layers.Conv2D(4, 3, strides=16, name="conv")(keras.layers.Rescaling(1 / 127.5, -1)(x))
    x = keras.layers.BatchNormalization(name="conv_bn")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="expanded_conv_depthwise")(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization(name="expanded_conv_depthwise_BN")(x)
    x = keras.layers.Flatten()(
        keras.layers.Conv2D(1000, 1, name="logits")(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))
    )
    return keras.Model(inputs, keras.layers.Softmax(name="predictions")(x))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, keras.Model]]:
    """Files of the weights of a network that stands in for MobileNetV3Small, and that network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(applications(), "mobilenetv3small", standing_in("mobilenetv3small", few_layers))
        yield saved_weights(tmp_path_factory.mktemp("weights"))


def saved_weights(folder: Path) -> tuple[Path, keras.Model]:
    model, _ = load_application("mobilenetv3small", weights=None)
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "whole.h5")
    model.save(folder / "whole.keras")
    (folder / "under-another-name").write_bytes((folder / "new.weights.h5").read_bytes())
    (folder / "legacy.weights.h5").write_bytes((folder / "whole.h5").read_bytes())
    with h5py.File(folder / "whole.h5") as whole, h5py.File(folder / "as-keras-publishes.h5", "w") as alone:
        group = whole["model_weights"]
        alone.attrs.update(group.attrs)
        for layer in group:
            group.copy(layer, alone)
    return folder, model


@pytest.mark.parametrize(
    "file",
    ["new.weights.h5", "whole.h5", "whole.keras", "under-another-name", "legacy.weights.h5", "as-keras-publishes.h5"],
)
def test_weights_from_a_file_are_the_same_from_every_format(weights: tuple[Path, keras.Model], file: str) -> None:
    """Catches weights that were silently left random, and a fingerprint that depends on the format."""
    folder, model = weights
    network = load_network("MobileNetV3Small", overrides=Overrides(weights=folder / file))
    assert network.name == "mobilenetv3small"
    assert network.input_shape == (224, 224, 3)
    assert network.remarks == ()
    assert network.sha256 == sha256_of_weights("mobilenetv3small", model)
    for ours, theirs in zip(network.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_a_real_network_are_loaded(tmp_path: Path) -> None:
    test_weights_from_a_file_are_the_same_from_every_format(saved_weights(tmp_path), "as-keras-publishes.h5")


def test_the_fingerprint_follows_the_weights(weights: tuple[Path, keras.Model]) -> None:
    other, _ = load_application("mobilenetv3small", weights=None)
    ours = sha256_of_weights("mobilenetv3small", other)
    assert ours != sha256_of_weights("mobilenetv3small", weights[1])
    assert ours != sha256_of_weights("mobilenetv3large", other)


def test_weights_that_do_not_fit_are_refused_in_one_line(weights: tuple[Path, keras.Model], tmp_path: Path) -> None:
    folder = weights[0]
    with pytest.raises(ModelError, match=r"weights '.*whole.h5' do not fit mobilenet") as caught:
        load_network("mobilenet", overrides=Overrides(weights=folder / "whole.h5"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="No such file"):
        load_network("mobilenet", overrides=Overrides(weights=tmp_path / "absent.h5"))
    with pytest.raises(UsageError, match=r"--weights goes with a keras.applications name .* not with 'vgg16-lite'"):
        load_network("vgg16-lite", overrides=Overrides(weights=folder / "whole.h5"))


OFFLINE = f"""
{ALONE}
from cam_cli import load_network
from cam_cli.errors import ModelError
try:
    load_network(sys.argv[1])
except ModelError as error:
    sys.exit(f"smoothcam: {{error}}")
"""


@pytest.mark.parametrize("name", [pytest.param("NASNetMobile", marks=pytest.mark.long), "mobilenetv3small"])
def test_without_a_network_one_line_names_three_ways_out(name: str, tmp_path: Path) -> None:
    """The proxy is a closed port of this machine, so that a real fetch fails at once wherever the test runs."""
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environ = {**os.environ, **closed, "KERAS_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, name], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("smoothcam:")]
    assert len(lines) == len(done.stderr.splitlines()) == 1, done.stderr
    assert f"no weights for '{name.lower()}'" in lines[0]
    assert "--weights FILE" in lines[0]
    assert "https://storage.googleapis.com/" in lines[0]
    assert f"cache folder '{tmp_path / 'models'}'" in lines[0]
    assert "efficientnet-lite0" in lines[0]


def test_a_misspelt_name_gets_its_neighbours() -> None:
    with pytest.raises(
        UsageError, match=r"no model 'resnet5O' .did you mean 'resnet50'.*smoothcam models --applications"
    ):
        load_network("resnet5O")
