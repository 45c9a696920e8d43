"""The further methods, exact derivatives, convergence, tokens and layer rules, each against its definition."""

from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from oracle import SmallNetwork
from PIL import Image
from test_engine import CLASS, SHAPE, keras_twin, noises, only

from cam_cli import Noise, Request, Selection, explain
from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.head import Head
from cam_cli.engine.methods import enlarged
from cam_cli.engine.request import Subject
from cam_cli.errors import ModelError, UsageError
from cam_cli.graph.layers import choose_layer, choose_scales, describe_layers
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import trace


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    return SmallNetwork.random(7)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, SHAPE).astype(np.float32)


def maps_of(model: keras.Model, image: np.ndarray, layers: list[str], request: Request, target: int = CLASS) -> tuple:
    return explain(model, image[None], layers, [target], request)[0].maps


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_cell_by_cell_methods_equal_their_definitions(network: SmallNetwork, image: np.ndarray, layer: str) -> None:
    selections = (Selection(), Selection(filters=(1, 2)), Selection(subset=((1, 1), (2, 3))))
    request = Request(methods=("layercam", "hirescam", "activations"), selections=selections)
    found = maps_of(keras_twin(network), image, [layer], request)
    A = network.activations(image.astype(np.float64))[layer]
    g = network.gradient(layer, A, CLASS)
    ones = np.ones(A.shape[2])
    for chosen in selections:
        bounds = (chosen.filters, chosen.region, chosen.subset)
        for method, cells in (("layercam", oracle.relu(g) * A), ("hirescam", g * A), ("activations", A)):
            truth = oracle.combine(ones, cells, *bounds)
            truth = truth if method == "activations" else oracle.relu(truth)
            ours = only(found, method=method, selection=chosen).values
            np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())


def test_gradient_is_the_slope_of_the_logit_at_the_image(network: SmallNetwork, image: np.ndarray) -> None:
    (found,) = maps_of(keras_twin(network), image, ["conv2"], Request(methods=("gradient",)))
    assert (found.layer, found.values.shape) == ("input", SHAPE[:2])
    x = image.astype(np.float64)
    for row, column in ((0, 0), (5, 4), (11, 9), (7, 2)):
        slopes = []
        for channel in range(3):
            step = np.zeros(SHAPE)
            step[row, column, channel] = 1e-6
            slopes.append((network.logits(x + step)[CLASS] - network.logits(x - step)[CLASS]) / 2e-6)
        assert found.values[row, column] == pytest.approx(np.abs(slopes).max(), rel=1e-4)


def input_gradient(network: SmallNetwork, x: np.ndarray) -> np.ndarray:
    A = network.activations(x)["conv1"]
    return oracle.conv2d_input_gradient(network.gradient("conv1", A, CLASS) * (A > 0), network.kernel1, 1, x.shape)


@pytest.mark.parametrize("nsamples", [0, 5, 12])
def test_smoothgrad_averages_signed_gradients(network: SmallNetwork, image: np.ndarray, nsamples: int) -> None:
    request = Request(methods=("smoothgrad",), nsamples=nsamples, noise=Noise(0.3), seed=2)
    model = keras_twin(network)
    engine = Explainer(model, analyse(trace(model, SHAPE), ["conv2"]), request)
    found = engine.explain([Subject(image, "cat", (CLASS,))])[0].maps[0]
    x = image.astype(np.float64)
    sigma = oracle.sigma(x, 0.3)
    samples = [x + sigma * e for e in noises("cat", 2, nsamples)] or [x]
    truth = np.abs(np.mean([input_gradient(network, s) for s in samples], axis=0)).max(axis=-1)
    np.testing.assert_allclose(found.values, truth, rtol=1e-4, atol=1e-5 * truth.max())
    assert found.samples == nsamples


def test_twoscale_equals_its_definition(network: SmallNetwork, image: np.ndarray) -> None:
    model = keras_twin(network)
    infos = describe_layers(trace(model, SHAPE))
    assert choose_scales(infos) == ("conv3", "conv1")
    (found,) = maps_of(model, image, ["conv2"], Request(methods=("twoscale",)))
    x = image.astype(np.float64)
    held = network.activations(x)
    L = oracle.relu(network.pre_activations("conv2", held["conv2"])[-1])
    dense = network.dense_kernel[:, CLASS].reshape(L.shape)
    C = oracle.combine(dense.mean(axis=(0, 1)), L)
    F = (oracle.relu(network.gradient("conv1", held["conv1"], CLASS)) * held["conv1"]).sum(axis=-1)
    big = oracle.relu(np.asarray(Image.fromarray(C.astype(np.float32)).resize((10, 12), Image.Resampling.BILINEAR)))
    truth = (big / big.max() * np.sqrt(F / F.max())) ** (2 / 3)
    np.testing.assert_allclose(found.values, truth, atol=1e-5)
    assert found.layer == "conv3+conv1"


@pytest.mark.parametrize(("old", "new"), [((3, 5), (12, 10)), ((7, 7), (14, 14)), ((1, 1), (4, 3)), ((2, 3), (5, 7))])
def test_enlarging_is_pillows_bilinear(old: tuple[int, int], new: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random(old).astype(np.float32)
    theirs = np.asarray(Image.fromarray(values).resize(new[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(enlarged(values, new), theirs, atol=1e-6)


def test_twoscale_is_refused_on_one_grid() -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="only")]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    with pytest.raises(UsageError, match="twoscale needs activations on two grids"):
        explain(model, np.zeros((1, 8, 8, 3)), request=Request(methods=("twoscale",)))


def test_top_neurons_are_the_largest_of_the_map(network: SmallNetwork, image: np.ndarray) -> None:
    request = Request(selections=(Selection(), Selection(top=5)), methods=("activations", "smoothgradcam++"))
    found = maps_of(keras_twin(network), image, ["conv2"], request)
    for method in request.methods:
        whole, best = (m for m in found if m.method == method)
        cut = np.sort(whole.values, axis=None)[-5]
        np.testing.assert_array_equal(best.values, np.where(whole.values >= cut, whole.values, 0))
        assert set(best.selection.subset) == set(
            zip(*(i.tolist() for i in np.nonzero(whole.values >= cut)), strict=True)
        )


def smooth_model(activation: str) -> keras.Model:
    keras.utils.set_random_seed(9)
    inputs = keras.Input(SHAPE)
    maps = keras.layers.Conv2D(5, 3, padding="same", name="maps")(inputs)
    x = keras.layers.Activation(activation)(keras.layers.BatchNormalization(name="norm")(maps))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(2)(x))
    head = keras.layers.Dense(4, name="head", kernel_initializer=keras.initializers.RandomNormal(stddev=8.0))
    return keras.Model(inputs, head(x))


@pytest.mark.parametrize("activation", ["silu", "gelu", "softplus", "tanh", "elu"])
def test_exact_derivatives_are_those_of_finite_differences(image: np.ndarray, activation: str) -> None:
    """Weights from derivatives of exp(S) measured in float64, cell by cell, against the engine's."""
    model = smooth_model(activation)
    analysis = analyse(trace(model, SHAPE), ["maps"])
    assert analysis.heads["maps"] is Head.SMOOTH
    assert analysis.separable["maps"]
    target = 2
    exact = maps_of(model, image, ["maps"], Request(nsamples=0, derivatives="exact"), target)[0]
    closed = maps_of(model, image, ["maps"], Request(nsamples=0), target)[0]
    assert exact.exact
    assert not closed.exact

    A = keras.Model(model.input, model.get_layer("maps").output)(image[None])[0].numpy().astype(np.float64)
    kernel = model.get_layer("head").kernel.numpy().astype(np.float64)[:, target]
    slope = 1 / np.sqrt(1 + 1e-3)
    function = {
        "silu": lambda z: z / (1 + np.exp(-z)),
        "gelu": lambda z: tf.nn.gelu(tf.constant(z, tf.float64)).numpy(),
        "softplus": lambda z: np.log1p(np.exp(z)),
        "tanh": np.tanh,
        "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    }[activation]
    cells = A.shape[0] * A.shape[1]

    def exp_of_score(shift: np.ndarray) -> np.ndarray:
        """exp(S(A + shift in one cell) - S(A)) for every cell at once; the score is a sum over the cells."""
        return np.exp(kernel / cells * (function((A + shift) * slope) - function(A * slope)))

    step = 2e-2
    y = [exp_of_score(np.full(A.shape, k * step)) for k in (-3, -2, -1, 0, 1, 2, 3)]
    D1 = (-y[0] + 9 * y[1] - 45 * y[2] + 45 * y[4] - 9 * y[5] + y[6]) / (60 * step)
    D2 = (2 * y[0] - 27 * y[1] + 270 * y[2] - 490 * y[3] + 270 * y[4] - 27 * y[5] + 2 * y[6]) / (180 * step**2)
    D3 = (y[0] - 8 * y[1] + 13 * y[2] - 13 * y[4] + 8 * y[5] - y[6]) / (8 * step**3)
    below = 2 * D2 + A.sum(axis=(0, 1)) * D3
    ratio = np.where(below != 0, D2 / np.where(below != 0, below, 1), 0)
    alpha = np.where((ratio >= 0) & (ratio <= 1), ratio, 0)
    truth = oracle.relu(oracle.combine((alpha * oracle.relu(D1)).sum(axis=(0, 1)), A))
    assert np.corrcoef(exact.values.ravel(), truth.ravel())[0, 1] > 0.995
    near_one = np.abs(ratio - 1) < 1e-3
    if not near_one.any() and activation != "elu":
        np.testing.assert_allclose(exact.values, truth, rtol=0.02, atol=0.02 * truth.max())


def test_exact_derivatives_are_the_closed_form_under_relu(network: SmallNetwork, image: np.ndarray) -> None:
    both = [
        maps_of(keras_twin(network), image, ["conv2"], Request(derivatives=derivatives))[0].values
        for derivatives in ("closed", "exact")
    ]
    np.testing.assert_array_equal(*both)


def test_exact_derivatives_are_refused_where_they_are_not_diagonal(image: np.ndarray) -> None:
    inputs = keras.Input(SHAPE)
    maps = keras.layers.Conv2D(4, 3, name="maps", activation="relu")(inputs)
    mixed = keras.layers.Conv2D(4, 3, activation="silu")(maps)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(mixed)))
    assert not analyse(trace(model, SHAPE), ["maps"]).separable["maps"]
    with pytest.raises(UsageError, match="exact derivatives need a head whose smooth operations act on each cell"):
        maps_of(model, image, ["maps"], Request(derivatives="exact"), 0)


def test_noise_is_added_until_the_tolerance_is_met(network: SmallNetwork, image: np.ndarray) -> None:
    model = keras_twin(network)
    counts = []
    for tolerance in (0.5, 0.01):
        request = Request(nsamples=400, tolerance=tolerance, noise=Noise(0.2))
        found = maps_of(model, image, ["conv1"], request)[0]
        assert found.standard_error <= tolerance
        fixed = maps_of(model, image, ["conv1"], Request(nsamples=found.samples, noise=Noise(0.2)))[0]
        np.testing.assert_allclose(found.values, fixed.values, rtol=1e-5, atol=1e-6 * fixed.values.max())
        counts.append(found.samples)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] < 400
    short = maps_of(model, image, ["conv1"], Request(nsamples=9, tolerance=1e-9, noise=Noise(0.2)))[0]
    assert short.samples == 9


def test_the_standard_error_shrinks_like_one_over_root_n(network: SmallNetwork, image: np.ndarray) -> None:
    errors = [
        maps_of(keras_twin(network), image, ["conv1"], Request(nsamples=n, noise=Noise(0.2)))[0].standard_error
        for n in (16, 256)
    ]
    assert 2 < errors[0] / errors[1] < 8


def token_model(class_token: bool, pooled: str) -> keras.Model:
    """A small vision transformer: 4x3 patches, attention, and a head that reads the mean of the tokens or the class token."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((16, 12, 3))
    patches = keras.layers.Conv2D(8, 4, strides=4, name="embed")(inputs)
    tokens = keras.layers.Reshape((12, 8), name="tokens")(patches)
    if class_token:
        tokens = keras.layers.ZeroPadding1D((1, 0), name="with_class")(tokens)
    normed = keras.layers.LayerNormalization(name="norm1")(tokens)
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(normed, normed)
    tokens = keras.layers.Add(name="block1")([tokens, attended])
    tokens = keras.layers.LayerNormalization(name="norm2")(tokens)
    read = tokens[:, 0] if pooled == "class" else keras.layers.GlobalAveragePooling1D()(tokens)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head")(read))


@pytest.mark.parametrize(("class_token", "pooled"), [(False, "mean"), (True, "mean"), (True, "class")])
def test_tokens_lie_on_their_grid(class_token: bool, pooled: str) -> None:
    model = token_model(class_token, pooled)
    image = np.random.default_rng(0).uniform(-1, 1, (16, 12, 3)).astype(np.float32)
    layer = "with_class" if class_token else "tokens"
    found = explain(model, image[None], [layer], [1], Request(methods=("gradcam", "gradcam++")))[0].maps
    tokens = keras.Model(model.input, model.get_layer(layer).output)(image[None])
    rest = keras.Model(model.get_layer(layer).output, model.output)
    head = model.get_layer("head")
    head.activation = keras.activations.linear
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        score = rest(tokens)[0, 1]
    g = tape.gradient(score, tokens).numpy()[0, -12:].reshape(4, 3, 8)
    A = tokens.numpy()[0, -12:].reshape(4, 3, 8)
    truth = np.maximum((g.mean(axis=(0, 1)) * A).sum(axis=-1), 0)
    np.testing.assert_allclose(only(found, method="gradcam").values, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


def test_auto_takes_tokens_that_the_score_reads() -> None:
    mean = describe_layers(trace(token_model(True, "mean"), (16, 12, 3)))
    assert choose_layer(mean).path == "norm2"
    of_class = describe_layers(trace(token_model(True, "class"), (16, 12, 3)))
    assert choose_layer(of_class).path == "with_class"
    (unread,) = [info for info in of_class if info.path == "norm2"]
    assert unread.suitability == "not read by the score"


def test_a_grid_that_is_not_plain_must_be_declared() -> None:
    model = token_model(True, "mean")
    image = np.zeros((1, 16, 12, 3), np.float32)
    with pytest.raises(UsageError, match=r"tokens: \{grid: \[ROWS, COLUMNS\], class_tokens: N\}"):
        explain(model, image, ["with_class"], [0], tokens=Tokens(grid=(5, 2)))
    declared = explain(model, image, ["with_class"], [0], tokens=Tokens(grid=(6, 2)))[0].maps[0]
    assert declared.values.shape == (6, 2)


def test_auto_takes_what_all_information_goes_through() -> None:
    """The last activation sits in a residual branch that the sum leads around; the sum itself is the bottleneck."""
    inputs = keras.Input((8, 8, 3))
    stem = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    branch = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="branch")(stem)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(stem + branch)))
    infos = describe_layers(trace(model, (8, 8, 3)))
    chosen = choose_layer(infos)
    assert chosen.kind == "Add"
    assert not next(i for i in infos if i.path == "branch").bottleneck
    found = explain(model, np.ones((1, 8, 8, 3)), [chosen.path], [0], Request(methods=("cam",)))
    assert found[0].maps[0].values.shape == (8, 8)


def test_a_network_without_feature_maps_is_explained_at_its_input() -> None:
    inputs, head = keras.Input((4, 6, 1)), keras.layers.Dense(3)
    model = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    image = np.random.default_rng(5).normal(size=(1, 4, 6, 1)).astype(np.float32)
    (found,) = explain(model, image, targets=(1,), request=Request(methods=("gradient",)))
    weights = np.asarray(head.kernel)[:, 1].reshape(4, 6)
    np.testing.assert_allclose(found.maps[0].values, np.abs(weights), rtol=1e-5)
    with pytest.raises(ModelError, match="--method gradient"):
        explain(model, image, request=Request(methods=("gradcam",), nsamples=0))
