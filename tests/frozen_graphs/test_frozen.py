"""Models that are no Keras files: their maps are those of the Keras model they were made from, their layers have its names."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import mostly_long
from frozen_files import KINDS, largest_difference, layers, nested, opened, with_random_weights, written

from cam_cli.errors import ModelError, UsageError
from cam_cli.frozen_graphs.description import Choice, Kind, UnreadableError
from cam_cli.graph.layers import describe_layers
from cam_cli.graph.trace import trace
from cam_cli.model_files.open import open_model
from cam_cli.models.inputs import Overrides
from cam_cli.models.load import load_network
from cam_cli.models.randomise import layers_with_weights, randomised

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

METHODS = ("smoothgradcam++", "gradcam", "layercam")
NAMES = ("backbone_1.0/act", "backbone_1.0/dw", "c2", "sum", "last")
v1 = tf.compat.v1


def images(*shape: int) -> Any:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return nested()


@pytest.fixture(scope="module", params=KINDS)
def file(
    request: pytest.FixtureRequest, model: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Kind]:
    kind: Kind = request.param
    return written(model, kind, tmp_path_factory.mktemp("files")), kind


# --- the same maps, under the same names


def test_maps_and_scores_are_those_of_the_keras_model(model: keras.Model, file: tuple[Path, Kind]) -> None:
    graph = opened(*file)
    x = images(2, 24, 24, 3)
    np.testing.assert_allclose(graph.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    assert largest_difference(model, graph, x, NAMES, METHODS) < 1e-5


def test_layers_have_the_names_and_grids_that_they_have_in_keras(model: keras.Model, file: tuple[Path, Kind]) -> None:
    grids = {i.path: i.grid for i in describe_layers(trace(model, (24, 24, 3)))}
    found = {i.path: i.grid for i in describe_layers(trace(opened(*file), (24, 24, 3)))}
    shared = {name for name in grids if name in found}
    fused = {"backbone_1.0/c1"} if file[1] == "tflite" else set()  # into its batch norm
    assert {"rescaling", "backbone_1.0", "backbone_1.0/c1", "pool", "scores", *NAMES} - fused <= shared
    assert {name: found[name] for name in shared} == {name: grids[name] for name in shared}


def test_activations_of_several_operations_are_seen_as_such(file: tuple[Path, Kind]) -> None:
    infos = {info.path: info for info in describe_layers(trace(opened(*file), (24, 24, 3)))}
    assert infos["backbone_1.0/act"].activated
    assert infos["c2"].activated
    assert not infos["sum"].activated


def test_the_weights_of_a_graph_can_be_randomised_from_the_top(model: keras.Model, file: tuple[Path, Kind]) -> None:
    graph = opened(*file)
    shape = (24, 24, 3)
    paths = layers_with_weights(graph, shape)
    assert [path for path in paths if path in ("scores", "last", "c2")] == ["scores", "last", "c2"]
    assert paths[-1] in ("backbone_1.0/c1", "backbone_1.0/bn")
    x = images(1, *shape)
    before = graph.predict(x, verbose=0)
    for path, copy in randomised(graph, shape, seed=0):
        if path == paths[-1]:
            assert np.abs(copy.predict(x, verbose=0) - before).max() > 1e-4
    np.testing.assert_array_equal(graph.predict(x, verbose=0), before)


def test_a_child_process_parses_the_file_and_the_command_explains_it(
    file: tuple[Path, Kind], model: keras.Model
) -> None:
    network = load_network(str(file[0]))
    assert network.input_shape == (24, 24, 3)
    x = images(2, 24, 24, 3)
    np.testing.assert_allclose(network.model.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)


# --- archives


@pytest.mark.parametrize("form", mostly_long(["zip", "tar.gz", "saved_model.pb"], 1))
def test_a_saved_model_opens_from_an_archive_and_by_its_own_file(form: str, model: keras.Model, tmp_path: Path) -> None:
    folder = written(model, "saved_model", tmp_path)
    path = tmp_path / f"model.{form}"
    if form == "zip":
        shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path, "exported")
    elif form == "tar.gz":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, ".")
    else:
        path = folder / form
    assert open_model(path).count_params() > 0


def test_an_archive_unpacks_nothing_but_the_files_of_a_saved_model(model: keras.Model, tmp_path: Path) -> None:
    folder = written(model, "saved_model", tmp_path)
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for inner in (p for p in folder.rglob("*") if p.is_file()):
            archive.write(inner, f"m/{inner.relative_to(folder)}")
        archive.writestr("../../evil.txt", "x")
        archive.writestr("m/variables/../../../variables/variables.data-00000-of-00001", "x")
    assert open_model(path).count_params() > 0
    assert not [*tmp_path.parent.glob("evil*")]


# --- graphs of TensorFlow 1


def conv(x: Any, kernel: Any, name: str) -> Any:
    with v1.name_scope(name):
        return tf.nn.relu(
            tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), tf.constant([0.1] * int(kernel.shape[-1])))
        )


def kernel(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def frozen(graph: tf.Graph, path: Path) -> Path:
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_a_saved_model_of_tensorflow_1_gets_its_variables_from_its_checkpoint(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, (None, 12, 12, 3), "image")
        weights = v1.get_variable("conv/w", initializer=kernel(3, 3, 3, 4), use_resource=False)
        dense = v1.get_variable(
            "dense/w",
            (4, 6),
            initializer=v1.random_normal_initializer(seed=3),
            partitioner=v1.fixed_size_partitioner(2),
        )
        x = conv(image, weights, "conv")
        scores = tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (1, 2)), tf.convert_to_tensor(dense)), name="scores")
        session.run(v1.global_variables_initializer())
        fed = images(2, 12, 12, 3) / 255
        right = session.run(scores, {image: fed})
        builder = v1.saved_model.Builder(str(tmp_path / "one"))
        signature = v1.saved_model.predict_signature_def({"image": image}, {"scores": scores})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    model = opened(tmp_path / "one", "saved_model")
    np.testing.assert_allclose(model.predict(fed, verbose=0), right, rtol=1e-5)
    assert "conv" in [layer.path for layer in model.description.layers]


def test_what_decodes_an_image_falls_away_and_its_scaling_is_told(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        contents = v1.placeholder(tf.string, (), "contents")
        pixels = tf.cast(tf.io.decode_jpeg(contents, channels=3), tf.float32)
        batch = v1.image.resize_bilinear(tf.expand_dims((pixels - 128.0) / 64.0, 0), (10, 14))
        x = conv(batch, kernel(3, 3, 3, 4), "conv")
        tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (1, 2)), kernel(4, 5)), name="scores")
    description = opened(frozen(graph, tmp_path / "decoding.pb"), "frozen_graph").description
    assert description.shape == (10, 14, 3)
    assert (description.mean, description.std) == ((128.0,), (64.0,))


def test_whole_numbers_as_input_are_values_from_0_to_255(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.uint8, (None, 8, 8, 3), "image")
        x = conv(tf.cast(image, tf.float32) * (1 / 255), kernel(3, 3, 3, 4), "conv")
        tf.matmul(tf.reduce_mean(x, (1, 2)), kernel(4, 5), name="scores")
    path = frozen(graph, tmp_path / "whole.pb")
    network = load_network(str(path))
    assert network.preprocessing.mean == (0.0,)
    assert network.preprocessing.std == (1.0,)


def test_a_switch_for_training_is_off_and_a_dropout_that_a_placeholder_turns_off_is_left_out(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.float32, (None, 8, 8, 3), "image")
        keep = v1.placeholder(tf.float32, name="keep_prob")
        training = v1.placeholder_with_default(False, (), "keras_learning_phase")
        x = tf.reduce_mean(conv(image, kernel(3, 3, 3, 4), "conv"), (1, 2))
        switched, _ = tf.raw_ops.Switch(data=x, pred=training), None
        merged = tf.raw_ops.Merge(inputs=[switched[0] * 2.0, switched[1] + v1.random_normal((4,))]).output
        dropped = merged / keep * tf.floor(keep + v1.random_uniform((4,)))
        tf.matmul(dropped, kernel(4, 5), name="scores")
    model = opened(frozen(graph, tmp_path / "dropout.pb"), "frozen_graph")
    fed = images(2, 8, 8, 3)
    pooled = tf.reduce_mean(conv(fed, kernel(3, 3, 3, 4), "conv"), (1, 2))
    np.testing.assert_allclose(model.predict(fed, verbose=0), (pooled * 2) @ kernel(4, 5), rtol=1e-4)


def test_a_graph_that_was_saved_for_one_image_takes_any_number(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.float32, (1, 8, 8, 3), "image")
        x = tf.reduce_mean(conv(image, kernel(3, 3, 3, 4), "conv"), (1, 2), keepdims=True)
        x = tf.squeeze(tf.nn.conv2d(x, kernel(1, 1, 4, 5), 1, "SAME"))
        tf.nn.softmax(tf.reshape(x, (1, 5)), name="scores")
    model = opened(frozen(graph, tmp_path / "one.pb"), "frozen_graph")
    fed = images(3, 8, 8, 3)
    together = model.predict(fed, verbose=0)
    assert together.shape == (3, 5)
    np.testing.assert_allclose(together, [model.predict(one[None], verbose=0)[0] for one in fed], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dense_layer_on_feature_maps_takes_any_number_of_images(kind: Kind, tmp_path: Path) -> None:
    """It makes one axis of images, rows and columns, whose size a file may hold as a number, as in ConvNeXt."""
    image = keras.Input((8, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.Dense(5, activation="gelu", name="dense")(x)
    scores = keras.layers.Dense(3, name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    model = with_random_weights(keras.Model(image, scores))
    fed = images(3, 8, 6, 3)
    found = opened(written(model, kind, tmp_path), kind).predict(fed, verbose=0)
    np.testing.assert_allclose(found, model.predict(fed, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("native", [False, True])
def test_channels_first_is_fed_and_explained_with_the_channels_last(native: bool, tmp_path: Path) -> None:
    """As PyTorch's exporters write it, with transposes, or as a GPU was trained, with NCHW operations."""
    inputs = keras.Input((10, 12, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(inputs)
    x = layers.MaxPooling2D(2, name="pool")(x)
    scores = layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = with_random_weights(keras.Model(inputs, scores))
    weights, bias, dense, offset = map(np.asarray, model.weights)
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.float32, (None, 3, 10, 12), "image")
        with v1.name_scope("conv"):
            if native:
                x = tf.nn.conv2d(image, weights, [1, 1, 2, 2], "SAME", data_format="NCHW")
                x = tf.nn.relu(tf.nn.bias_add(x, bias, data_format="NCHW"))
            else:
                x = tf.nn.conv2d(tf.transpose(image, (0, 2, 3, 1)), weights, 2, "SAME")
                x = tf.nn.relu(tf.transpose(x, (0, 3, 1, 2)) + bias[:, None, None])
        with v1.name_scope("pool"):
            if native:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID", "NCHW")
            else:
                x = tf.transpose(tf.nn.max_pool2d(tf.transpose(x, (0, 2, 3, 1)), 2, 2, "VALID"), (0, 3, 1, 2))
        tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (2, 3)), dense) + offset, name="scores")
    first = opened(frozen(graph, tmp_path / "first.pb"), "frozen_graph")
    fed = images(2, 10, 12, 3) / 255
    np.testing.assert_allclose(first.predict(fed, verbose=0), model.predict(fed, verbose=0), atol=1e-5)
    assert largest_difference(model, first, fed, ("conv", "pool"), METHODS) < 1e-5


# --- what is ambiguous


def two_heads(kind: str) -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    age, gender = layers.Dense(7, name="age")(x), layers.Dense(2, activation="softmax", name="gender")(x)
    outputs = {"dict": {"age": age, "gender": gender}, "list": [age, gender]}[kind]
    return with_random_weights(keras.Model(image, outputs))


@pytest.mark.parametrize("kind", ["dict", "list"])
@pytest.mark.parametrize(("name", "classes"), [("age", 7), ("gender", 2)])
def test_an_output_of_a_keras_model_is_chosen_by_its_name(kind: str, name: str, classes: int, tmp_path: Path) -> None:
    path = tmp_path / "heads.keras"
    model = two_heads(kind)
    model.save(path)
    network = load_network(str(path), overrides=Overrides(model_output=name))
    x = images(1, 8, 8, 3)
    every = model.predict(x, verbose=0)
    right = every[name] if kind == "dict" else every[["age", "gender"].index(name)]
    np.testing.assert_array_equal(network.model.predict(x, verbose=0), right)
    assert trace(network.model, (8, 8, 3)).output.shape[-1] == classes
    with pytest.raises(UsageError, match=r"no output 'agee'; it has 'age', 'gender'"):
        load_network(str(path), overrides=Overrides(model_output="agee"))
    with pytest.raises(ModelError, match=r"'age' \(7,\), 'gender' \(2,\).*--model-output"):
        load_network(str(path))


def test_an_output_is_chosen_by_the_key_that_its_author_gave_it(tmp_path: Path) -> None:
    heads = two_heads("list")
    model = keras.Model(heads.inputs, {"years": heads.outputs[0], "kind": heads.outputs[1]})
    path = tmp_path / "keys.keras"
    model.save(path)
    x = images(1, 8, 8, 3)
    for name, key in (("kind", "kind"), ("gender", "kind"), ("years", "years")):
        network = load_network(str(path), overrides=Overrides(model_output=name))
        np.testing.assert_array_equal(network.model.predict(x, verbose=0), model.predict(x, verbose=0)[key])
    with pytest.raises(ModelError, match=r"'kind'.*'years'"):
        load_network(str(path))


@keras.saving.register_keras_serializable("tests")
class Heads(keras.Model):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = layers.Conv2D(4, 3, activation="relu", name="conv")
        self.pool = layers.GlobalAveragePooling2D()
        self.age, self.gender = layers.Dense(7, name="age"), layers.Dense(2, name="gender")

    def call(self, images: Any) -> Any:
        x = self.pool(self.conv(images))
        return {"age": self.age(x), "gender": self.gender(x)}


def test_an_output_of_a_subclassed_model_is_chosen_by_its_key(tmp_path: Path) -> None:
    model = Heads()
    x = images(1, 8, 8, 3)
    right = model(x)["gender"]
    path = tmp_path / "heads.keras"
    model.save(path)
    network = load_network(str(path), overrides=Overrides(model_output="gender", input_size=(8, 8)))
    np.testing.assert_array_equal(network.model.predict(x, verbose=0), right)
    infos = {info.path: info for info in describe_layers(trace(network.model, (8, 8, 3)))}
    assert infos["conv"].grid == (6, 6)
    assert [path for path, _ in randomised(network.model, (8, 8, 3), 0)][-1] == "conv"


def test_signature_input_and_output_of_a_saved_model_are_named_where_it_has_several(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(kernel(3, 3, 3, 4))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def both(image: Any) -> Any:
        x = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "SAME")), (1, 2))
        return {"age": x @ kernel(4, 7), "gender": x @ kernel(4, 2)}

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def features(image: Any) -> Any:
        return {"features": tf.reduce_mean(tf.nn.conv2d(image, module.kernel, 1, "SAME"), (1, 2))}

    tf.saved_model.save(module, str(tmp_path / "two"), {"faces": both, "embed": features})
    with pytest.raises(UnreadableError, match=r"2 signatures: 'embed', 'faces'; name one with --signature"):
        opened(tmp_path / "two", "saved_model")
    with pytest.raises(UnreadableError, match=r"'age' \(None, 7\), 'gender' \(None, 2\); name one with --model-output"):
        opened(tmp_path / "two", "saved_model", Choice("faces"))
    model = opened(tmp_path / "two", "saved_model", Choice("faces", output="gender"))
    x = images(2, 8, 8, 3)
    np.testing.assert_allclose(model.predict(x, verbose=0), both(x)["gender"], rtol=1e-4)
    with pytest.raises(UnreadableError, match=r"no signature 'face'; it has 'embed', 'faces'"):
        opened(tmp_path / "two", "saved_model", Choice("face"))
    with pytest.raises(UnreadableError, match=r"no output or operation 'sex'; its outputs are 'age', 'gender'"):
        opened(tmp_path / "two", "saved_model", Choice("faces", output="sex"))
    two_heads("list").save(tmp_path / "heads.keras")
    with pytest.raises(UsageError, match=r"--signature goes with a SavedModel"):
        load_network(str(tmp_path / "heads.keras"), overrides=Overrides(signature="faces"))


# --- class names


def test_names_of_classes_are_taken_from_labels_txt_beside_a_model_if_their_number_is_right(
    model: keras.Model, tmp_path: Path
) -> None:
    path = written(model, "tflite", tmp_path)
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"{i} animal {i}\n" for i in range(5)))
    network = load_network(str(path))
    assert [label.name for label in network.labels.entries] == [f"animal {i}" for i in range(5)]
    assert any("labels.txt" in remark for remark in network.remarks)
    names.write_text("one\ntwo\n")
    network = load_network(str(path))
    assert network.labels.entries == ()
    assert any("names 2 classes and the model has 5" in remark for remark in network.remarks)


def test_names_of_classes_are_taken_from_the_zip_at_the_end_of_a_tflite_file(
    model: keras.Model, tmp_path: Path
) -> None:
    path = written(model, "tflite", tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\ncow\nhen\nowl\n")
    network = load_network(str(path))
    assert [label.name for label in network.labels.entries] == ["cat", "dog", "cow", "hen", "owl"]


def test_a_recurrent_network_is_refused_with_what_to_give_instead(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    rows = layers.Reshape((6, 24))(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.GRU(4)(rows)))
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(ModelError, match=r"a loop \(LSTM, GRU\).*give the \.keras or \.h5 file"):
        open_model(tmp_path / "saved")


@pytest.mark.parametrize("name", ["graph.pbtxt", "graph.txt"])
def test_a_graph_as_text_is_told_as_such(name: str, tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
    tf.io.write_graph(graph.as_graph_def(), str(tmp_path), name, as_text=True)
    with pytest.raises(ModelError, match=r"is a graph as text; write it as a binary \.pb"):
        open_model(tmp_path / name)
