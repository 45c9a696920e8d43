"""Files with parts that are not Keras's own: what is for training alone does not matter, layers come by `--import`, and what
is unknown is named with the package that it comes from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Command
from numpy.typing import NDArray

from cam_cli.config import RunConfig
from cam_cli.errors import ModelError, UsageError
from cam_cli.model_files.open import open_model
from cam_cli.model_files.packages import unknown_parts
from cam_cli.plan.plan import PlanInputs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

layers = keras.layers
Array = NDArray[np.float32]
X = np.random.default_rng(3).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)


def network(*first: Any, **options: Any) -> keras.Model:
    body = [layers.Conv2D(4, 3, activation="relu", **options), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 3)), *first, *body])


def outputs(model: keras.Model, x: Array = X) -> Array:
    return np.asarray(model(x, training=False), np.float32)


# --- what is for training alone


def own_loss(truth: Any, scores: Any) -> Any:
    return keras.ops.mean((truth - scores) ** 2)


class OwnMetric(keras.metrics.Metric):  # type: ignore[misc]
    def update_state(self, *_: Any, **__: Any) -> None: ...

    def result(self) -> float:
        return 0.0


class OwnSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    def __call__(self, step: Any) -> float:  # noqa: ARG002
        return 0.1

    def get_config(self) -> dict[str, Any]:
        return {}


class OwnPart:
    def get_config(self) -> dict[str, Any]:
        return {}


class OwnRegularizer(OwnPart, keras.regularizers.Regularizer):  # type: ignore[misc]
    def __call__(self, x: Any) -> Any:
        return 0.0 * keras.ops.sum(x)


class OwnInitializer(OwnPart, keras.initializers.Initializer):  # type: ignore[misc]
    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return keras.ops.ones(shape, dtype)


class OwnConstraint(OwnPart, keras.constraints.Constraint):  # type: ignore[misc]
    def __call__(self, w: Any) -> Any:
        return w


def compiled(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.Adam(OwnSchedule()), own_loss, metrics=[OwnMetric()])
    x = np.zeros((1, *model.input_shape[1:]), np.float32)
    model.fit(x, np.zeros_like(outputs(model, x)), verbose=0)
    return model


def backbone() -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1)], name="backbone")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("kind", ["compiled", "with a compiled backbone", "parts of layers"])
def test_what_is_for_training_alone_is_not_judged(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "compiled":
        model = compiled(network())
    elif kind == "parts of layers":
        own = {"kernel_initializer": OwnInitializer(), "kernel_constraint": OwnConstraint()}
        model = network(activity_regularizer=OwnRegularizer(), bias_regularizer=OwnRegularizer(), **own)
    else:
        model = network(compiled(backbone()))
    model.save(tmp_path / name)
    opened = open_model(tmp_path / name)
    np.testing.assert_array_equal(outputs(opened), outputs(model))
    assert not opened.compiled
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- layers of one's own


SOURCE = """
import keras

class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x

@keras.saving.register_keras_serializable("mine")
class Shifted(keras.layers.Layer):
    def __init__(self, by=1.0, **options):
        super().__init__(**options)
        self.by = by
    def call(self, x):
        return x + self.by
    def get_config(self):
        return {**super().get_config(), "by": self.by}

from keras.layers import Dense as Imported
"""


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with layers of one's own, which nothing has imported yet."""
    folder = tmp_path / "packages" / "ownpackage"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "parts.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder.parent))
    before = dict(keras.saving.get_custom_objects())
    yield "ownpackage.parts"
    forget(before)


def forget(before: dict[str, Any]) -> None:
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(before)
    for name in [name for name in sys.modules if name.startswith("ownpackage")]:
        del sys.modules[name]


def saved_with_own_layers(folder: Path, module: str, name: str) -> tuple[Path, Array]:
    """Save a model with both layers, and forget the module; return the file and the outputs for `X`."""
    before = dict(keras.saving.get_custom_objects())
    parts = __import__(module, fromlist=["Doubled"])
    model = network(parts.Doubled(), parts.Shifted(0.5))
    model.save(folder / name)
    forget(before)
    return folder / name, outputs(model)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_an_imported_module_brings_its_layers(name: str, own_package: str, tmp_path: Path) -> None:
    path, expected = saved_with_own_layers(tmp_path, own_package, name)
    with pytest.raises(ModelError, match=r"'Doubled', .*Shifted.*--import MODULE"):
        open_model(path)
    np.testing.assert_array_equal(outputs(open_model(path, imports=(own_package,))), expected)
    assert "Imported" not in keras.saving.get_custom_objects()
    assert "Dense" not in keras.saving.get_custom_objects()


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_it_brings_them_to_a_file_of_keras_2_too(name: str, own_package: str, tmp_path: Path) -> None:
    old = pytest.importorskip("tf_keras")
    doubled = type("Doubled", (old.layers.Layer,), {"call": lambda _, x: 2 * x})
    body = [doubled(), old.layers.Conv2D(4, 3), old.layers.Flatten(), old.layers.Dense(3)]
    model = old.Sequential([old.Input((8, 8, 3)), *body])
    model.save(tmp_path / name)
    opened = open_model(tmp_path / name, imports=(own_package,))
    np.testing.assert_allclose(outputs(opened), model(X, training=False), atol=1e-5)


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    network().save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"cannot import 'absent\.layers' \(No module named 'absent'\); install it"):
        open_model(tmp_path / "model.keras", imports=("absent.layers",))


def test_the_command_imports_and_records_it(smoothcam: Command, own_package: str, tmp_path: Path) -> None:
    """And `evaluate` imports what it is told itself, not what run.json says."""
    path, _ = saved_with_own_layers(tmp_path, own_package, "model.keras")
    image = Path(__file__).parent.parent.parent / "sample_images" / "cow.jpg"
    out = tmp_path / "out"
    explain = ["explain", image, "--model", path, "-o", out, "--nsamples", "0"]
    assert "--import MODULE" in smoothcam(*explain).err
    ended = smoothcam(*explain, "--import", own_package)
    assert ended.code == 0, ended.err
    manifest = json.loads(next(out.rglob("manifest.json")).read_bytes())
    assert manifest["settings"]["imports"] == [own_package]
    before = dict(keras.saving.get_custom_objects())
    for name in [name for name in before if "Doubled" in name or "Shifted" in name]:
        del keras.saving.get_custom_objects()[name]
    del sys.modules[own_package]
    refused = smoothcam("evaluate", out, "--stability")
    assert (refused.code, own_package in sys.modules) == (1, False)
    assert "--import MODULE" in refused.err
    assert smoothcam("evaluate", out, "--stability", "--import", own_package).code == 0


def test_a_config_may_import_and_the_plan_depends_on_it(own_package: str, tmp_path: Path) -> None:
    path, _ = saved_with_own_layers(tmp_path, own_package, "model.keras")
    keys = {
        PlanInputs.of(RunConfig.model_validate({"model": str(path), "imports": imports}), tmp_path).key
        for imports in ([], [own_package], [own_package, "json"])
    }
    assert len(keys) == 3
    for wrong in ("a b", "os;id", "../evil", "a..b", ""):
        with pytest.raises(ValueError, match=r"must be modules|at least 1 character"):
            RunConfig.model_validate({"imports": [wrong]})


# --- names of packages


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"module": "keras_hub.src.layers.x", "class_name": "X", "registered_name": "keras_hub>X"},
            "then --import keras_hub",
        ),
        ({"module": "keras_nlp.layers", "class_name": "Y"}, "then --import keras_hub"),
        ({"class_name": "keras_cv>DropPath"}, "then --import keras_cv"),
        ({"class_name": "KerasLayer"}, "needs tensorflow_hub: in the program that made it, model.export"),
        ({"class_name": "TFViTMainLayer"}, "needs transformers"),
        ({"class_name": "Addons>GroupNormalization"}, "needs tensorflow_addons: it exists for Keras 2 only"),
        ({"class_name": "QuantizeWrapperV2"}, "needs tensorflow_model_optimization"),
        ({"class_name": "ClassToken"}, "needs vit_keras"),
        ({"class_name": "LocallyConnected2D"}, "needs Keras 2 (tf_keras): Keras 3 has no such class"),
        ({"module": "tf_keras.src.layers", "class_name": "Odd"}, "needs Keras 2 (tf_keras)"),
        ({"class_name": "TensorFlowOpLayer"}, "as TensorFlow 2.0 to 2.3 recorded them"),
        ({"class_name": "Mine"}, "if it is your own"),
    ],
)
def test_the_package_of_an_unknown_layer_is_named(entry: dict[str, Any], said: str) -> None:
    message = unknown_parts([{"config": {}, **entry}])
    assert message is not None
    assert said in message
    assert repr(entry["class_name"]) in message


# --- keras_hub


def hub_classifiers() -> dict[str, Any]:
    """Return small classifiers of keras_hub with random weights."""
    hub = pytest.importorskip("keras_hub").models
    shape = (32, 32, 3)
    resnet = hub.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], stackwise_num_filters=[64, 128], stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2], block_type="basic_block", image_shape=shape,
    )  # fmt: skip
    vit = hub.ViTBackbone(image_shape=shape, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    efficientnet = hub.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2, stackwise_depth_coefficients=[1.0] * 2, stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2], stackwise_input_filters=[8, 8], stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 2], stackwise_strides=[1, 2], stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_block_types=["v1", "v1"], stackwise_force_input_filters=[0, 0], stackwise_nores_option=[False, False],
        min_depth=8, input_shape=shape,
    )  # fmt: skip
    return {
        "ResNet": hub.ResNetImageClassifier(backbone=resnet, num_classes=5),
        "ViT": hub.ViTImageClassifier(backbone=vit, num_classes=5),
        "EfficientNet": hub.EfficientNetImageClassifier(backbone=efficientnet, num_classes=5),
    }


@pytest.mark.parametrize("kind", ["ResNet", "ViT", "EfficientNet"])
def test_the_map_of_a_classifier_of_keras_hub_is_that_of_a_gradient_tape(kind: str, tmp_path: Path) -> None:
    from cam_cli.engine.analysis import analyse
    from cam_cli.engine.explain import Explainer
    from cam_cli.engine.request import Request, Subject
    from cam_cli.graph.layers import choose_layer, describe_layers
    from cam_cli.graph.trace import trace, watching
    from cam_cli.models.load import Overrides, load_network

    original = hub_classifiers()[kind]
    original.save(tmp_path / "model.keras")
    network = load_network(str(tmp_path / "model.keras"), overrides=Overrides(imports=("keras_hub",)))
    x = np.random.default_rng(0).uniform(0, 1, (32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(outputs(network.model, x[None]), outputs(original, x[None]))
    traced = trace(network.model, network.input_shape)
    info = choose_layer(describe_layers(traced))
    explainer = Explainer(network.model, analyse(traced, [info.path]), Request(methods=("gradcam",), nsamples=0))
    found = explainer.explain([Subject(x, "a", (1,))])[0].maps[0].values

    with watching({info.path: traced.layers[info.path]}) as seen, tf.GradientTape() as tape:
        image = tf.constant(x[None])
        tape.watch(image)
        score = network.model(image, training=False)[0, 1]
        maps = seen[info.path][-1]
    gradient = tape.gradient(score, maps)
    if info.tokens:
        rows, columns = info.grid or (0, 0)
        maps, gradient = (t[:, -rows * columns :] for t in (maps, gradient))
        maps, gradient = (tf.reshape(t, (1, rows, columns, -1)) for t in (maps, gradient))
    expected = tf.nn.relu(tf.reduce_sum(tf.reduce_mean(gradient, (1, 2), keepdims=True) * maps, -1))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
