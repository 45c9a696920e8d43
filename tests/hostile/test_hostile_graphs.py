"""SavedModels, frozen graphs and `.tflite` files that were made to do harm: nothing of them runs, and each is one line."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from frozen_files import nested, written

from cam_cli.errors import ModelError
from cam_cli.frozen_graphs.bounds import MOST_VALUES
from cam_cli.frozen_graphs.description import Kind, ReadRequest, UnreadableError
from cam_cli.frozen_graphs.inline import MOST_NODES
from cam_cli.frozen_graphs.model import GraphModel
from cam_cli.frozen_graphs.read import read_graph
from cam_cli.model_files.open import open_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

v1 = tf.compat.v1
Body = Callable[[Any], Any]
KERNEL = np.random.default_rng(0).normal(0, 0.5, (3, 3, 3, 4)).astype(np.float32)


def frozen(path: Path, body: Body, above: Body = tf.identity) -> Path:
    """Write a frozen classifier of 8 x 8 images that does something between its convolution and its scores."""
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.float32, (None, 8, 8, 3), "image")
        x = tf.nn.relu(tf.nn.conv2d(above(image), KERNEL, 1, "SAME"), name="conv/Relu")
        x = body(tf.reduce_mean(x, (1, 2)))
        tf.nn.softmax(tf.matmul(x, np.ones((4, 5), np.float32)), name="scores")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def refusal(path: Path, kind: Kind = "frozen_graph") -> str:
    with pytest.raises(UnreadableError) as caught:
        read_graph(ReadRequest(path, kind))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def readable(path: Path, kind: Kind) -> GraphModel:
    network = read_graph(ReadRequest(path, kind))
    return GraphModel(network.description, network.definition)


# --- operations that do more than compute


def test_the_benign_graph_opens(tmp_path: Path) -> None:
    assert readable(frozen(tmp_path / "a.pb", tf.identity), "frozen_graph").count_params() > 0


def read(secret: Path) -> Any:
    return tf.reduce_sum(tf.cast(tf.io.decode_raw(tf.io.read_file(str(secret)), tf.uint8), tf.float32))


@pytest.mark.parametrize(
    ("name", "body"),
    {
        "DecodeRaw": lambda secret: lambda x: x + read(secret),
        "MatchingFiles": lambda secret: lambda x: x + tf.cast(tf.size(tf.io.matching_files(f"{secret}*")), tf.float32),
        "ImmutableConst": lambda secret: lambda x: x
        + tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=(4,), memory_region_name=str(secret)),
        "PyFunc": lambda _: lambda x: v1.py_func(lambda v: v, [x], tf.float32),
        "EagerPyFunc": lambda _: lambda x: tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), (None, 4)),
        "RestoreV2": lambda secret: lambda x: x + tf.raw_ops.RestoreV2(
            prefix=str(secret), tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
        "IteratorGetNext": lambda _: lambda x: x
        + v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(np.ones(4, np.float32))).get_next(),
    }.items(),
)  # fmt: skip
def test_an_operation_that_reads_or_runs_code_between_image_and_scores_is_refused_by_its_name(
    name: str, body: Callable[[Path], Body], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 8)
    assert name in refusal(frozen(tmp_path / "a.pb", body(secret)))


def test_a_file_that_decides_a_shape_is_not_read_while_shapes_are_inferred(tmp_path: Path) -> None:
    """TensorFlow computes constants while it imports a graph, to infer shapes, ReadFile among them."""
    shape = tmp_path / "shape"
    shape.write_text("4")

    def body(x: Any) -> Any:
        return tf.reshape(x, tf.stack([-1, tf.strings.to_number(tf.io.read_file(str(shape)), tf.int32)]))

    assert "ReadFile" in refusal(frozen(tmp_path / "a.pb", body)) or "StringToNumber" in refusal(tmp_path / "a.pb")


def test_control_inputs_devices_and_attributes_of_a_stranger_are_left_behind(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def body(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(marker), "x")]), tf.device("/job:evil/task:7"):
            return tf.identity(x * 1.0)

    path = frozen(tmp_path / "a.pb", body)
    definition = v1.GraphDef.FromString(path.read_bytes())
    assert any(source.startswith("^") for node in definition.node for source in node.input)
    for node in definition.node:
        node.attr["_gradient_op_type"].s = b"PyFuncGrad0"
    path.write_bytes(definition.SerializeToString())
    network = read_graph(ReadRequest(path, "frozen_graph"))
    kept = network.definition.node
    assert not any(node.device or "WriteFile" in node.op for node in kept)
    assert not any(source.startswith("^") for node in kept for source in node.input)
    assert not any(name.startswith("_") for node in kept for name in node.attr)
    GraphModel(network.description, network.definition).predict(np.zeros((1, 8, 8, 3), np.float32), verbose=0)
    assert not marker.exists()


def test_an_initialiser_that_writes_a_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, (None, 8, 8, 3), "image")
        kernel = v1.get_variable("kernel", initializer=KERNEL)
        x = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
        scores = tf.matmul(tf.reduce_mean(x, (1, 2)), np.ones((4, 5), np.float32))
        session.run(kernel.initializer)
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        signature = v1.saved_model.predict_signature_def({"image": image}, {"scores": scores})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=tf.io.write_file(str(marker), "x")
        )
        builder.save()
    open_model(tmp_path / "model").predict(np.zeros((1, 8, 8, 3), np.float32), verbose=0)
    assert not marker.exists()
    tf.saved_model.load(str(tmp_path / "model"))
    assert marker.exists(), "the file was harmless, and this test worth nothing"


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("a loop", lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), (0, x))[1]),
        ("random", lambda x: x * tf.floor(0.5 + v1.random_uniform((4,)))),
        (
            "decides while it runs",
            lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: x * 2.0),
        ),
    ],
)
def test_loops_branches_and_training_graphs_are_refused(words: str, body: Body, tmp_path: Path) -> None:
    assert words in refusal(frozen(tmp_path / "a.pb", body))


def test_a_batch_norm_in_training_mode_is_refused(tmp_path: Path) -> None:
    def training(image: Any) -> Any:
        ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
        return v1.nn.fused_batch_norm(tf.nn.conv2d(image, np.ones((1, 1, 3, 3), np.float32), 1, "SAME"), ones, zeros)[0]

    assert "training graph" in refusal(frozen(tmp_path / "a.pb", tf.identity, training))


# --- sizes


@pytest.mark.parametrize(
    "body",
    [
        lambda x: x + tf.reduce_sum(tf.fill((10**6, 10**6), 1.0)),
        lambda x: x + tf.reduce_sum(tf.fill(tf.constant([1000, 1000]) * 1000, 1.0)),
        lambda x: x + tf.reduce_sum(tf.tile(tf.ones((1000, 1000)), (1000, 1000))),
        lambda x: x + tf.reduce_sum(tf.broadcast_to(1.0, (10**6, 10**6))),
        lambda x: x + tf.reduce_sum(tf.range(0.0, 1e12, 1.0)),
        lambda x: x + tf.reduce_sum(tf.one_hot([0, 1], 10**9)),
        lambda x: x + tf.reduce_sum(tf.fill(tf.cast(tf.reduce_sum(x)[None] * 1e12, tf.int32), 1.0)),
        lambda x: x + tf.reduce_sum(tf.pad(x, [[0, 0], [0, 2 * 10**9]]), -1, keepdims=True),
        lambda x: tf.add_n([x, *(tf.reduce_sum(tf.fill((MOST_VALUES // 8,), float(i))) * x for i in range(12))]),
    ],
)
def test_a_graph_that_would_fill_the_memory_is_refused_before_anything_is_computed(body: Body, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(frozen(tmp_path / "a.pb", body))
    assert "more than any network" in message or "not known before it runs" in message or "not sound" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "a gigabyte, in kilobytes"


def test_a_constant_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    path = frozen(tmp_path / "a.pb", lambda x: x + tf.constant(1.0, name="bomb"))
    definition = v1.GraphDef.FromString(path.read_bytes())
    bomb = next(node for node in definition.node if node.name == "bomb")
    bomb.attr["value"].tensor.tensor_shape.CopyFrom(tf.TensorShape((10**6, 10**6)).as_proto())
    path.write_bytes(definition.SerializeToString())
    assert "'bomb' of 1,000,000,000,000 values" in refusal(path)


@pytest.mark.long
def test_a_graph_of_a_million_operations_is_refused(tmp_path: Path) -> None:
    path = frozen(tmp_path / "a.pb", lambda x: tf.identity(x, "first"))
    definition = v1.GraphDef.FromString(path.read_bytes())
    next(node for node in definition.node if node.op == "MatMul").input[0] = f"n{10**6 - 1:07}"
    link = v1.NodeDef(name="n0000001", op="Neg", input=["n0000000"])
    link.attr["T"].type = 1
    definition.node.add(name="n0000000", op="Identity", input=["first"]).attr["T"].type = 1
    one = v1.GraphDef(node=[link]).SerializeToString()
    links = [one.replace(b"n0000001", b"n%07d" % i).replace(b"n0000000", b"n%07d" % (i - 1)) for i in range(1, 10**6)]
    path.write_bytes(b"".join([definition.SerializeToString(), *links]))
    assert f"more than {MOST_NODES:,} operations" in refusal(path)


def functions_that_double(depth: int, *, itself: bool) -> Any:
    """Return a graph whose function calls another twice, and so on; or one that calls itself."""
    definition = v1.GraphDef()
    for level in range(depth):
        function = definition.library.function.add()
        function.signature.name = f"f{level}"
        function.signature.input_arg.add(name="x", type=1)
        function.signature.output_arg.add(name="y", type=1)
        inner = f"f{level if itself else level + 1}"
        for number, source in enumerate(("x", "c0:output:0")):
            if level == depth - 1 and not itself:
                node = function.node_def.add(name=f"c{number}", op="Neg", input=[source.replace("output", "y")])
                node.attr["T"].type = 1
            else:
                node = function.node_def.add(name=f"c{number}", op="PartitionedCall", input=[source])
                node.attr["f"].func.name = inner
                for end in ("Tin", "Tout"):
                    node.attr[end].list.type.append(1)
        function.ret["y"] = "c1:y:0" if level == depth - 1 and not itself else "c1:output:0"
    return definition


@pytest.mark.parametrize(("depth", "itself"), [(40, False), (1, True)])
def test_functions_that_double_at_each_level_or_call_themselves_are_refused(
    depth: int, itself: bool, tmp_path: Path
) -> None:
    path = frozen(tmp_path / "a.pb", lambda x: tf.identity(x, "first"))
    definition = v1.GraphDef.FromString(path.read_bytes())
    definition.library.CopyFrom(functions_that_double(depth, itself=itself).library)
    call = definition.node.add(name="call", op="PartitionedCall", input=["first"])
    call.attr["f"].func.name = "f0"
    for end in ("Tin", "Tout"):
        call.attr[end].list.type.append(1)
    next(node for node in definition.node if node.op == "MatMul").input[0] = "call"
    path.write_bytes(definition.SerializeToString())
    message = refusal(path)
    assert "more than" in message or "circle" in message


def test_operations_that_take_from_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = frozen(tmp_path / "a.pb", lambda x: tf.identity(tf.add(x, x, "one"), "two"))
    definition = v1.GraphDef.FromString(path.read_bytes())
    next(node for node in definition.node if node.name == "one").input[0] = "two"
    path.write_bytes(definition.SerializeToString())
    assert "a loop" in refusal(path)


# --- damage


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(nested(), "saved_model", tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(nested(), "tflite", tmp_path_factory.mktemp("lite"))


@pytest.mark.parametrize(
    ("file", "share"),
    [
        ("saved_model.pb", 0.5),
        ("saved_model.pb", 0.0),
        ("variables/variables.index", 0.5),
        ("variables/variables.data-00000-of-00001", 0.5),
        ("variables/variables.data-00000-of-00001", None),
        ("variables/variables.index", None),
    ],
)
def test_a_saved_model_that_is_cut_short_is_called_so(
    file: str, share: float | None, saved_model: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(saved_model, tmp_path / "cut"))
    cut = copy / file
    if share is None:
        cut.unlink()
    else:
        contents = cut.read_bytes()
        cut.write_bytes(contents[: int(len(contents) * share)])
    assert refusal(copy, "saved_model")


def test_a_frozen_graph_that_is_cut_short_is_called_so(tmp_path: Path) -> None:
    path = frozen(tmp_path / "a.pb", tf.identity)
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) * 2 // 3])
    with pytest.raises(ModelError, match=r"a\.pb' is cut short or damaged"):
        open_model(path)


def test_offsets_that_lead_out_of_a_tflite_file_end_in_one_line(tflite: Path, tmp_path: Path) -> None:
    contents = tflite.read_bytes()
    path = tmp_path / "a.tflite"
    random = np.random.default_rng(0)
    refused = 0
    for position in [0, 4, 8, 12, 16, 20, 24, *random.integers(28, len(contents) - 4, 40)]:
        broken = bytearray(contents)
        broken[position : position + 4] = (2**31 - int(random.integers(1, 2**20))).to_bytes(4, "little")
        if position != 4:
            path.write_bytes(bytes(broken))
            reason = ""
            try:
                read_graph(ReadRequest(path, "tflite"))
            except UnreadableError as error:
                reason = str(error)
            assert "\n" not in reason
            refused += bool(reason)
    assert refused > 10


def test_a_tflite_file_with_operations_of_others_names_them(tflite: Path, tmp_path: Path) -> None:
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(tflite.read_bytes()))
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = b"Evil"
    path = tmp_path / "a.tflite"
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    assert "custom Evil" in refusal(path, "tflite")


# --- the process that parses


def test_a_parser_that_needs_too_much_memory_or_crashes_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = frozen(tmp_path / "a.pb", tf.identity)
    monkeypatch.setattr("cam_cli.frozen_graphs.reader._MEMORY", 100 * 2**20)
    with pytest.raises(ModelError, match=r"the process that read it ended with") as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


def test_a_parser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = frozen(tmp_path / "a.pb", tf.identity)
    monkeypatch.setattr("cam_cli.frozen_graphs.reader._SECONDS", 0.2)
    with pytest.raises(ModelError, match=r"could not be read within 0 s"):
        open_model(path)
