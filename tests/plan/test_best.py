"""What `--best` takes: as many input sizes as a network allows, and a method that every network has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from cam_cli.config import RunConfig
from cam_cli.graph.layers import describe_layers
from cam_cli.graph.trace import trace
from cam_cli.models.load import load_network
from cam_cli.plan.best import best_settings
from cam_cli.plan.plan import PlanInputs
from cam_cli.plan.resolve import as_decided, resolve

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

layers = keras.layers


def network(*head: Any, two_grids: bool = True) -> keras.Model:
    stem = [layers.Conv2D(4, 3, padding="same", activation="relu")]
    further = [layers.AveragePooling2D(2), layers.Conv2D(4, 3, padding="same", activation="relu")] if two_grids else []
    return keras.Sequential([keras.Input((28, 42, 3)), *stem, *further, *head, layers.Dense(3)])


@pytest.mark.parametrize(
    ("model", "methods", "sizes", "told"),
    [
        (
            lambda: network(layers.GlobalAveragePooling2D()),
            ("twoscale",),
            ((28, 42), (40, 60), (56, 84)),
            "28x42, 40x60",
        ),
        (lambda: network(layers.Flatten()), ("twoscale",), None, "own size"),
        (lambda: network(layers.GlobalAveragePooling2D(), two_grids=False), ("gradcam",), None, "one grid"),
    ],
)
def test_the_best_that_a_network_allows_is_taken_and_told(
    tmp_path: Path, model: Any, methods: tuple[str, ...], sizes: Any, told: str
) -> None:
    file = tmp_path / "model.keras"
    model().save(file)
    opened = load_network(str(file))
    infos = describe_layers(trace(opened.model, opened.input_shape))
    config, (remark,) = best_settings(RunConfig(best=True), opened, infos)
    assert (config.methods, config.sizes, config.best) == (methods, sizes, False)
    assert told in remark


def test_results_are_those_of_the_same_settings_named(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    network(layers.GlobalAveragePooling2D()).save(file)
    best = resolve(PlanInputs.of(RunConfig(model=str(file), best=True), tmp_path))
    config = RunConfig(model=str(file), methods="twoscale", sizes="28x42,40x60,56x84")
    said = resolve(PlanInputs.of(config, tmp_path))
    assert best.plan.digest == said.plan.digest
    assert best.request == said.request
    assert best.request.methods == ("twoscale",)
    assert best.analysis.further_sizes == ((40, 60), (56, 84))
    assert as_decided(RunConfig(nsamples=3), best.plan.settings).methods == ("smoothgradcam++",)
