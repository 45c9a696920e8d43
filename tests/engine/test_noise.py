"""The noise is normal, as far as a statistician can tell, and follows from its seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cam_cli.engine.noise import Noise, noise

pytestmark = pytest.mark.pure
COUNT = 2_000_001
SEED = bytes(range(32))


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return noise(COUNT, SEED, 1.0).astype(np.float64)


def test_it_is_normal(drawn: np.ndarray) -> None:
    assert drawn.shape == (COUNT,)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    half = COUNT // 2
    assert stats.kstest(drawn[:half] ** 2 + drawn[half + 1 :] ** 2, "chi2", (2,)).pvalue > 0.01
    assert stats.kstest(drawn[:-1:2] ** 2 + drawn[1::2] ** 2, "chi2", (2,)).pvalue > 0.01


def test_its_moments_are_those_of_a_normal_distribution(drawn: np.ndarray) -> None:
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        values = drawn**power
        assert abs(values.mean() - moment) < 4 * values.std() / np.sqrt(COUNT), power


def test_its_tails_are_there(drawn: np.ndarray) -> None:
    for deviations in (2, 3, 4, 4.2, 4.5):
        expected = 2 * stats.norm.sf(deviations) * COUNT
        assert abs((np.abs(drawn) > deviations).sum() - expected) < 4 * np.sqrt(expected)
    assert np.abs(drawn).max() > 4.5, "beyond the last entry of a table of 16 bits, 4.3"


def test_neither_neighbours_nor_the_halves_know_of_each_other(drawn: np.ndarray) -> None:
    half = (COUNT + 1) // 2
    for values in (drawn, np.abs(drawn)):
        for shift in (1, 2, 3, 4, half):
            r = np.corrcoef(values[:-shift], values[shift:])[0, 1]
            assert abs(r) < 4 / np.sqrt(COUNT - shift), shift


def test_seeds_give_noise_of_their_own(drawn: np.ndarray) -> None:
    for seed in (bytes(32), bytes(range(1, 33)), SEED[:31] + b"x", b"x" + SEED[1:]):
        other = noise(COUNT, seed, 1.0)
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 4 / np.sqrt(COUNT)
    np.testing.assert_array_equal(noise(1000, SEED, 1.0), noise(1000, SEED, 1.0))


def test_sigma_is_its_standard_deviation(drawn: np.ndarray) -> None:
    np.testing.assert_allclose(noise(COUNT, SEED, 40.0), 40 * drawn, rtol=1e-5, atol=1e-5)
    assert not noise(COUNT, SEED, 0.0).any()


def test_the_scale_is_the_range_of_the_image_or_absolute() -> None:
    x = np.array([-2.0, 0.0, 6.0], np.float32).reshape(1, 1, 3)
    assert Noise(0.15).sigma(x) == pytest.approx(1.2)
    assert Noise(0.15, "absolute").sigma(x) == 0.15
    assert Noise(0.0).sigma(x) == 0
