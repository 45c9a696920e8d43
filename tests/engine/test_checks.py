"""A slip in what is asked from Python is an error that names the value."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from cam_cli import Noise, Request, Selection, explain, grad_cam_plus_smooth
from cam_cli.errors import UsageError

X = np.zeros((1, 12, 12, 3), np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    layers = [keras.layers.Conv2D(4, 3, activation="relu", name="conv"), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((12, 12, 3)), *layers])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Request(methods=("gradcma",)), "'gradcma'.*did you mean 'gradcam'.*smoothgrad"),
        (lambda: Request(methods="gradcam"), "methods is 'gradcam'.*tuple"),
        (lambda: Request(methods=()), r"methods is \(\)"),
        (lambda: Request(methods=(["gradcam"],)), r"method is \['gradcam'\]"),
        (lambda: Request(selections=Selection()), "selections is Selection"),
        (lambda: Request(selections=((0, 3),)), r"selection is \(0, 3\)"),
        (lambda: Request(nsamples=-1), "nsamples is -1.*from 0"),
        (lambda: Request(nsamples="auto"), "nsamples is 'auto'"),
        (lambda: Request(nsamples=2.5), "nsamples is 2.5"),
        (lambda: Request(nsamples=True), "nsamples is True"),
        (lambda: Request(tolerance=0), "tolerance is 0.*above 0"),
        (lambda: Request(noise=0.15), r"noise is 0.15.*Noise\("),
        (lambda: Request(score="log"), "score is 'log'.*exp, logit"),
        (lambda: Request(alpha_numerator="third"), "alpha_numerator is 'third'.*second, first"),
        (lambda: Request(derivatives="approximate"), "derivatives is 'approximate'.*closed, exact"),
        (lambda: Request(seed=-1), "seed is -1"),
        (lambda: Request(seed=2**63), "seed is 9223372036854775808"),
        (lambda: Noise(-0.1), "std_dev is -0.1.*0 or more"),
        (lambda: Noise(float("nan")), "std_dev is nan"),
        (lambda: Noise("0.1"), "std_dev is '0.1'"),
        (lambda: Noise(scale="relative"), "'relative'.*range, absolute"),
        (lambda: Selection(filters=3), "filters is 3"),
        (lambda: Selection(filters=()), r"filters is \(\)"),
        (lambda: Selection(filters=(0, -1)), "filter is -1"),
        (lambda: Selection(subset=(0, 10)), "neuron is 0"),
        (lambda: Selection(subset=((0, 10, 2),)), r"neuron is \(0, 10, 2\)"),
        (lambda: Selection(subset=((0, 1.5),)), "1.5"),
        (lambda: Selection(top=0), "top"),
    ],
)
def test_a_wrong_value_is_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"layers": "conv"}, "layers is 'conv'"),
        ({"layers": ()}, r"layers is \(\)"),
        ({"targets": 1}, "targets is 1"),
        ({"targets": ("cat",)}, "target is 'cat'"),
        ({"targets": ()}, r"targets is \(\)"),
        ({"request": {"nsamples": 3}}, "request is {'nsamples': 3}"),
    ],
)
def test_explain_names_a_wrong_argument(model: keras.Model, arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        explain(model, X, **arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"nsamples": -1}, "nsamples is -1"),
        ({"std_dev": -1}, "std_dev is -1"),
        ({"filters": 3}, "filters is 3"),
        ({"subset": (0, 10)}, "neuron is 0"),
        ({"subset": [(0, 1, 2)]}, r"neuron is \(0, 1, 2\)"),
        ({"target": "cat"}, "target is 'cat'"),
    ],
)
def test_the_papers_call_names_a_wrong_argument(model: keras.Model, arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        grad_cam_plus_smooth(model, X[0], "conv", **arguments)


def test_whole_numbers_of_numpy_and_lists_are_as_good(model: keras.Model) -> None:
    request = Request(methods=["gradcam"], nsamples=np.int64(0), selections=[Selection(filters=(np.int32(1),))])
    (found,) = explain(model, X, ["conv"], np.array([1]), request)
    assert [entry.target for entry in found.maps] == [1]
    assert grad_cam_plus_smooth(model, X[0] + 1, "conv", subset=np.array([[0, 1]])).shape == (12, 12)
