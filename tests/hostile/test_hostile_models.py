"""Model files and cards that were made to do harm: nothing of theirs runs, nothing outside is read or written, and what they
are is one line."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from conftest import Command
from fuzzing import mutated

from cam_cli.errors import ConfigError, ModelError, UsageError
from cam_cli.model_files.description import MOST_BYTES, code_runners, strangers
from cam_cli.model_files.formats import recognise
from cam_cli.model_files.open import load_weights, open_model
from cam_cli.models.card import read_card
from cam_cli.models.labels import MOST_BYTES as MOST_LABELS
from cam_cli.models.labels import read_labels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

layers = keras.layers
Config = dict[str, Any]


def network(*first: Any) -> keras.Model:
    body = [layers.Conv2D(2, 3, activation="relu", name="conv"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 3)), *first, *body])


def saved(folder: Path, name: str = "model.keras", *first: Any) -> Path:
    path = folder / name
    network(*first).save(path)
    return path


def rewritten(path: Path, change: Callable[[Any], Any], **members: bytes) -> Path:
    """Write a `.keras` or `.h5` file anew, its description changed, with further members in a `.keras` file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))
        return path
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["config.json"] = json.dumps(change(json.loads(contents["config.json"]))).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**contents, **members}.items():
            archive.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- code


def touching(marker: Path) -> Callable[[Any], Any]:
    """Return a lambda that carries its own code, as Lambda layers save it, and leaves a mark where it runs."""
    source = f"lambda x: (__import__('pathlib').Path({str(marker)!r}).touch(), x)[1]"
    return eval(source)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_model_file_runs_only_when_asked(name: str, nested: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    layer = layers.Lambda(touching(marker))
    path = saved(tmp_path, name, layers.TimeDistributed(layer) if nested else layer)
    marker.unlink()
    assert "Lambda" in refusal(path)
    assert not marker.exists()
    open_model(path, unsafe_lambda=True)
    assert marker.exists(), "the file was harmless, and this test worth nothing"


def test_a_keras_function_that_writes_files_gets_through_the_safe_mode_of_keras_but_not_through_ours(
    tmp_path: Path,
) -> None:
    """Here a Lambda layer has no code of its own: it names a function of Keras's, and gives the place to write to."""
    marker = tmp_path / "marker.png"
    entry = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None, "name": "look",
        "config": {
            "name": "look",
            "function": {
                "module": "keras.visualization", "class_name": "function", "config": "plot_image_gallery",
                "registered_name": "plot_image_gallery",
            },
            "arguments": {"path": str(marker), "rows": 1, "cols": 1, "value_range": [0, 255]},
            "output_shape": [8, 8, 3],
        },
        "inbound_nodes": [{"args": [], "kwargs": {"inputs": {
            "class_name": "__numpy__", "config": {"value": np.zeros((1, 8, 8, 3)).tolist(), "dtype": "float32"},
        }}}],
    }  # fmt: skip
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))
    model.save(tmp_path / "model.keras")

    def change(config: Config) -> Config:
        config["config"]["layers"].append(entry)
        return config

    path = rewritten(tmp_path / "model.keras", change)
    assert "Lambda" in refusal(path)
    assert not marker.exists()


def function(module: str | None, name: str, **more: object) -> Config:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name} | more


def of_class(module: str | None, name: str, config: object = None, **more: object) -> Config:
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None} | more


STRANGE: dict[str, tuple[str, Config]] = {
    "a function of Python's": ("system", function("os", "system")),
    "a function that fetches": ("get_file", function("keras.utils", "get_file")),
    "a function that opens models": ("load_model", function("keras.models", "load_model")),
    "a function that writes": ("plot_image_gallery", function("keras.visualization", "plot_image_gallery")),
    "a function that downloads": ("load_data", function("keras.datasets.mnist", "load_data")),
    "a function that builds what it is given": ("deserialize", function("keras.layers", "deserialize")),
    "the same among the built-in ones": ("deserialize", function("builtins", "deserialize")),
    "the same under its older name": (
        "deserialize_keras_object", function("keras.legacy.saving", "deserialize_keras_object"),
    ),
    "a switch of the safe mode": (
        "enable_unsafe_deserialization", function("keras.config", "enable_unsafe_deserialization"),
    ),
    "a class called as a function": ("Dense", function("keras.layers", "Dense")),
    "a function called a class": ("load_data", of_class("keras.datasets.mnist", "load_data")),
    "a function among the layers": ("deserialize", of_class("keras.layers", "deserialize")),
    "a network with weights to fetch": ("VGG16", of_class("keras.applications.vgg16", "VGG16", {"weights": "imagenet"})),
    "a callback": ("CSVLogger", of_class("keras.callbacks", "CSVLogger", {"filename": "/tmp/log"})),
    "an editor of files": ("KerasFileEditor", of_class("keras.saving", "KerasFileEditor")),
    "a class of Python's": ("Popen", of_class("subprocess", "Popen", {"args": "id"})),
    "a class of another package's": ("Evil", of_class("keras_hub.src.evil", "Evil")),
    "an unknown layer as Keras 2 wrote it": ("Evil", {"class_name": "Evil", "config": {}}),
    "a function as Keras 2 wrote a layer": ("deserialize", {"class_name": "deserialize", "config": {}}),
}  # fmt: skip
RUNNERS = {
    "Lambda": of_class("keras.layers", "Lambda", {"function": function("keras.ops", "relu")}),
    "Lambda by its place": of_class("keras.src.layers.core.lambda_layer", "Lambda"),
    "Lambda as Keras 2 wrote it": {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}},
    "TFSMLayer": of_class("keras.layers", "TFSMLayer", {"filepath": "/tmp/model"}),
    "TorchModuleWrapper": of_class("keras.layers", "TorchModuleWrapper", {"module": "gASVJQ=="}),
    "JaxLayer": of_class("keras.layers", "JaxLayer"),
    "FlaxLayer": of_class("keras.src.utils.jax_layer", "FlaxLayer"),
}


def inside(config: Config, entry: Config, where: str) -> Config:
    """Put an entry among the layers of a Sequential's description, or deep into one of them."""
    conv = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")
    if where == "layer":
        config["config"]["layers"].append(entry)
    elif where == "wrapped":
        config["config"]["layers"].append(of_class("keras.layers", "TimeDistributed", {"layer": entry}))
    else:
        conv["config"][where] = entry
    return config


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same harmless model in both formats."""
    folder = tmp_path_factory.mktemp("plain")
    for name in ("model.keras", "model.h5"):
        saved(folder, name)
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_no_network_consists_of_is_refused_before_keras_sees_it(
    kind: str, name: str, plain: Path, tmp_path: Path
) -> None:
    stranger, entry = STRANGE[kind]
    where = "layer" if "Keras 2" in kind or "class" in kind else "activation"
    path = rewritten(Path(shutil.copy(plain / name, tmp_path)), lambda config: inside(config, entry, where))
    reason = "needs keras_hub" if "another package" in kind else "no network of Keras consists of"
    assert f"{stranger!r}, which {reason}" in refusal(path)


@pytest.mark.parametrize("where", ["layer", "wrapped", "activation", "kernel_initializer", "name"])
@pytest.mark.parametrize("kind", [kind for kind in STRANGE if "Keras 2" not in kind])
def test_it_is_found_wherever_it_stands(kind: str, where: str) -> None:
    stranger, entry = STRANGE[kind]
    assert strangers(inside(json.loads(network().to_json()), entry, where)) == [stranger]


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("kind", RUNNERS)
def test_layers_that_run_code_are_told_as_such(kind: str, name: str, plain: Path, tmp_path: Path) -> None:
    for where in ("layer", "wrapped", "activation"):
        path = rewritten(
            Path(shutil.copy(plain / name, tmp_path)), lambda config, w=where: inside(config, RUNNERS[kind], w)
        )
        message = refusal(path)
        assert f"has a {kind.split()[0]} layer, which runs code" in message
        assert "--unsafe-lambda" in message


def test_all_that_networks_consist_of_is_let_in() -> None:
    """One refusal too many would be as bad: every layer of Keras, in words old and new, and networks with layers of its own."""
    for name in dir(keras.layers):
        if isinstance(getattr(keras.layers, name), type) and not code_runners(of_class("keras.layers", name)):
            assert not strangers(of_class("keras.layers", name)), name
            assert not strangers({"class_name": name, "config": {}}), name
    for entry in (
        of_class("keras.src.models.functional", "Functional"), of_class("keras", "DTypePolicy"), function("builtins", "relu"),
        of_class("keras.initializers", "HeNormal"), of_class("keras.regularizers", "L2"), function("keras.activations", "gelu"),
        of_class("keras.src.ops.numpy", "Add"), of_class("keras.optimizers.schedules", "CosineDecay"),
        {"class_name": "Functional", "config": {}},
        {"class_name": "Dense", "config": {"dtype": {"class_name": "Policy", "config": {"name": "float32"}}}},
    ):  # fmt: skip
        assert not strangers(entry), entry
    for build in (keras.applications.ConvNeXtTiny, keras.applications.MobileNetV3Small):
        model = build(weights=None, input_shape=(32, 32, 3), include_top=False)
        assert not strangers(json.loads(model.to_json())), build


def test_settings_of_the_training_are_not_read(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = saved(tmp_path, "model.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = pickle.dumps(marker.touch).decode("latin-1").replace("\0", "")
    assert open_model(path).count_params() > 0
    assert not marker.exists()


# --- files beside and inside


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "assets/evil.txt", "model.weights.h5/../../evil", "a\x1b[31m"]
)
def test_nothing_is_unpacked(name: str, tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path), lambda config: config, **{name: b"evil"})
    assert f"holds {name!r}" in refusal(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def secret_file(folder: Path) -> Path:
    """Return an HDF5 file that is none of the model's business, with all that a model of this kind reads from its own."""
    secret = folder / "secret.h5"
    network().save(secret)
    with h5py.File(secret, "r+") as file:
        file["kernel"] = np.full((3, 3, 3, 2), 42, np.float32)
    (folder / "secret.bin").write_bytes(np.full((3, 3, 3, 2), 42, np.float32).tobytes())
    return secret


def first_kernel(file: h5py.File, shape: tuple[int, ...] = (3, 3, 3, 2)) -> str:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "shape", ()) == shape else None)
    return found[0]


def external(file: h5py.File, name: str, secret: Path) -> None:
    file[name] = h5py.ExternalLink(secret, "kernel")


def external_group(file: h5py.File, name: str, secret: Path) -> None:
    top = name.split("/")[0]
    del file[top]
    file[top] = h5py.ExternalLink(secret, "model_weights")


def soft(file: h5py.File, name: str, secret: Path) -> None:
    file["beside"] = h5py.ExternalLink(secret, "kernel")
    file[name] = h5py.SoftLink("/beside")


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 2), np.float32)
    layout[...] = h5py.VirtualSource(secret, "kernel", (3, 3, 3, 2))
    file.create_virtual_dataset(name, layout)


def raw(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(
        name, (3, 3, 3, 2), np.float32, external=[(str(secret.with_suffix(".bin")), 0, h5py.h5f.UNLIMITED)]
    )


def bomb(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (3, 3, 3, 1 << 40), np.float32, chunks=(3, 3, 3, 1024), compression="gzip")


def wrapped_in(path: Path, weights: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**contents, "model.weights.h5": weights.read_bytes()}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "plant", [external, external_group, soft, virtual, raw, bomb], ids=lambda plant: plant.__name__
)
@pytest.mark.parametrize("kind", ["model.keras", "model.h5", "model.weights.h5"])
def test_weights_are_read_from_the_model_file_alone(
    plant: Callable[[h5py.File, str, Path], None], kind: str, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path)
    model = network()
    weights = tmp_path / ("model.h5" if kind == "model.h5" else "some.weights.h5")
    model.save(weights) if kind == "model.h5" else model.save_weights(weights)
    with h5py.File(weights, "r+") as file:
        name = first_kernel(file)
        if plant is not external_group:
            del file[name]
        plant(file, name, secret)
    if kind == "model.keras":
        wrapped_in(saved(tmp_path), weights)
    before = model.layers[0].get_weights()[0].copy()
    attempt = (lambda: load_weights(model, weights)) if "weights" in kind else (lambda: open_model(tmp_path / kind))
    with pytest.raises(ModelError) as caught:
        attempt()
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], before)


@pytest.mark.parametrize("plant", [external, soft, virtual, raw, bomb], ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("kind", ["func.h5", "func.keras"])
def test_weights_of_keras_2_are_read_from_the_model_file_alone(
    plant: Callable[[h5py.File, str, Path], None], kind: str, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path)
    path = Path(shutil.copy(Path(__file__).parent.parent / "data" / "keras2" / kind, tmp_path))
    path.chmod(0o600)
    weights = path
    if kind.endswith(".keras"):
        weights = tmp_path / "weights.h5"
        with zipfile.ZipFile(path) as archive:
            weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        name = first_kernel(file, (3, 3, 3, 8))
        del file[name]
        plant(file, name, secret)
    if weights is not path:
        wrapped_in(path, weights)
    message = refusal(path)
    assert "in the file itself" in message or "has shape" in message


def test_no_list_of_words_is_read_from_elsewhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    for file in ("model.keras", "model.h5"):
        entry = of_class(
            "keras.layers", "StringLookup", {"vocabulary": str(secret), "name": "words", "dtype": "string"}
        )
        path = rewritten(saved(tmp_path, file), lambda config, e=entry: inside(config, e, "layer"))
        assert "password" not in refusal(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b" " * (MOST_BYTES + 1), "larger than"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"class_name": "Sequential", "config": ' + b"9" * 10_000 + b"}", "digits"),
        (b"\xff\xfe", "cannot be read"),
    ],
    ids=["large", "deep list", "deep mapping", "long number", "no text"],
)
def test_a_description_beyond_all_measure_is_refused(text: bytes, said: str, tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path), lambda config: config, **{"config.json": text})
    assert said in refusal(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", "model.weights.h5"):
        (folder / name).write_bytes(text)
    assert said in refusal(folder)


def test_a_description_as_deep_as_json_allows_is_one_line(tmp_path: Path) -> None:
    def deep(config: Config) -> Config:
        for _ in range(150):
            config = of_class("keras.layers", "TimeDistributed", {"layer": config})
        return config

    for file in ("model.keras", "model.h5"):
        assert refusal(rewritten(saved(tmp_path, file), deep))


# --- cards


@pytest.mark.parametrize("labels", ["/etc/passwd", "../secret.txt", "a/../../secret.txt"])
def test_a_card_names_files_of_its_own_folder_alone(labels: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.txt").write_text("password")
    card = tmp_path / "model" / "model.yaml"
    card.write_text(f"name: m\nlabels: {labels}\n")
    with pytest.raises(ConfigError, match=r"model\.yaml:2:9: labels must be a file beside the card") as caught:
        read_card(card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system [touch marker]",
        "name: !!python/name:os.system",
        "? !!python/object/new:os.system [touch marker]\n: 1",
        "!!python/module:os\nname: x",
        "name: x\nunsafe_lambda: true",
        "name: x\nimports: [antigravity]",
    ],
)
def test_a_card_runs_nothing_and_allows_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_card(tmp_path / "model.yaml")
    assert all(line.startswith(f"{tmp_path / 'model.yaml'}:") for line in str(caught.value).splitlines()), (
        "a mistake a line"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.yaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"x" * (MOST_LABELS + 1), "larger than"),
        (b"index,name\n0,a\n\xc2\xb2,b\n", "not a whole number"),
        (b"name\n" + b"x" * 200_000, "field larger than"),
        (b"name\n\xff", "not UTF-8 text"),
    ],
    ids=["large", "superscript", "long field", "no text"],
)
def test_labels_beyond_all_measure_are_one_line(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_labels(tmp_path / "labels.csv")
    assert "\n" not in str(caught.value)


def test_labels_without_an_end_are_refused() -> None:
    with pytest.raises(UsageError, match="larger than"):
        read_labels(Path("/dev/zero"))


# --- the command


def test_names_in_a_model_steer_no_terminal(smoothcam: Command, tmp_path: Path) -> None:
    entry = of_class("evil", "Evil\x1b[31m\x07\u202e\n")
    path = rewritten(saved(tmp_path), lambda config: inside(config, entry, "layer"))
    photo = Path(__file__).parent.parent.parent / "sample_images" / "cow.jpg"
    for command in (["layers"], ["explain", photo, "-o", tmp_path / "out"]):
        ended = smoothcam(*command, "--model", path)
        assert ended.code == 1
        assert "Evil\\x1b[31m\\x07\\u202e\\n" in ended.err
        assert all(line.isprintable() for line in ended.err.splitlines())


def test_a_damaged_hdf5_file_is_recognised_or_refused_in_one_line(tmp_path: Path) -> None:
    """HDF5 raises OSError, KeyError or RuntimeError, as the damage is."""
    contents, random = saved(tmp_path, "model.h5").read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        (tmp_path / "damaged.h5").write_bytes(mutated(contents, random))
        with suppress(ModelError):
            recognise(tmp_path / "damaged.h5")
            continue
        refused += 1
    assert refused > 5
