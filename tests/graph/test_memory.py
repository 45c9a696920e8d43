"""An input that cannot fit into the memory is refused before anything is run, and one that fits is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from cam_cli.errors import UsageError
from cam_cli.graph import memory
from cam_cli.graph.memory import bytes_for_one_image, images_in_memory
from cam_cli.graph.trace import trace
from cam_cli.models.inputs import Overrides
from cam_cli.models.load import load_network

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
layers = keras.layers


def free_size(*body: Any) -> Any:
    inputs = x = keras.Input((None, None, 3))
    for layer in body:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def test_the_estimate_is_of_what_is_held_at_a_time() -> None:
    """Two convolutions of 8 maps: input and output of the second, not all that was ever computed."""
    convs = [layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{i}") for i in range(6)]
    traced = trace(free_size(*convs), (100, 100, 3))
    copies = 5 * 100 * 100 * 3 * 4
    assert bytes_for_one_image(traced) == 2 * 100 * 100 * 8 * 4 + copies
    kept = bytes_for_one_image(traced, [traced.calls["conv2"][0]])
    assert kept >= 4 * 100 * 100 * 8 * 4, "what lies above the layer is kept for the gradient"


def test_how_many_images_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda: 1000)
    assert images_in_memory(300, (8, 8, 3)) == 3
    assert images_in_memory(1000, (8, 8, 3)) == 1
    with pytest.raises(UsageError, match="needs about"):
        images_in_memory(1001, (8, 8, 3))
    monkeypatch.setattr(memory, "memory", lambda: None)
    assert images_in_memory(10**15, (8, 8, 3)) > 10**6


def test_a_size_beyond_the_memory_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda: 16 * 10**9)
    free_size(layers.Conv2D(16, 3, activation="relu")).save(tmp_path / "model.keras")
    with pytest.raises(
        UsageError, match=r"20000x20000 needs about \d+\.\d GB .* this machine has 16\.0 GB.*--input-size"
    ):
        load_network(str(tmp_path / "model.keras"), overrides=Overrides(input_size=(20000, 20000)))
    assert load_network(str(tmp_path / "model.keras"), overrides=Overrides(input_size=(64, 64))).input_shape == (
        64,
        64,
        3,
    )
