"""A run over a dataset: memory that stays, a complete index, and a second run that recognises all of it without the model."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from benchmarks.soak import IN_A_FOLDER, Figures, soak

MOST_GROWTH = 0.1
"""Memory over the last thousand images may exceed that over the first by this share."""


def soaked(tmp_path: Path, images: int) -> Figures:
    """Soak, print the figures, and hold what must be true of any number of images."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:  # pytest itself would keep it for days
        figures = soak(Path(folder), images)
    sys.stdout.write(f"\n{figures.table()}\n")
    assert set(figures.rows) == {f"{i // IN_A_FOLDER:04}/{i:07}.png" for i in range(images)}
    assert {row["status"] for row in figures.rows.values()} == {"ok"}
    assert not figures.strays
    done = {key: figures.totals[key] for key in ("images", "explained", "skipped", "failed")}
    assert done == {"images": images, "explained": 0, "skipped": images, "failed": 0}
    assert figures.skipped == images
    assert "nothing was written" in figures.dry.last_line
    return figures


def test_a_small_dataset_is_recognised_without_the_model(tmp_path: Path) -> None:
    soaked(tmp_path, 90)


@pytest.mark.long
def test_memory_stays_over_a_hundred_thousand_images(tmp_path: Path) -> None:
    figures = soaked(tmp_path, 100_000)
    assert figures.growth < MOST_GROWTH
    assert figures.growth_of_decoders < MOST_GROWTH
