"""The noise is normal, as far as a statistician can tell, and follows from its seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cam_cli.engine.noise import noise

COUNT = 2_000_001


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return noise(COUNT, tf.constant([3, 5], tf.int64), tf.constant(1.0)).numpy().astype(np.float64)


def test_it_is_normal(drawn: np.ndarray) -> None:
    assert drawn.shape == (COUNT,)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert stats.kstest(drawn[: COUNT // 2] ** 2 + drawn[COUNT // 2 + 1 :] ** 2, "chi2", (2,)).pvalue > 0.01


def test_its_tails_are_there(drawn: np.ndarray) -> None:
    for deviations in (2, 3, 4, 4.5):
        expected = 2 * stats.norm.sf(deviations) * COUNT
        assert abs((np.abs(drawn) > deviations).sum() - expected) < 4 * np.sqrt(expected)


def test_neither_neighbours_nor_the_halves_know_of_each_other(drawn: np.ndarray) -> None:
    half = (COUNT + 1) // 2
    for values in (drawn, np.abs(drawn)):
        for shift in (1, 2, 3, half):
            r = np.corrcoef(values[:-shift], values[shift:])[0, 1]
            assert abs(r) < 4 / np.sqrt(COUNT - shift), shift


def test_seeds_give_noise_of_their_own(drawn: np.ndarray) -> None:
    for seed in ([3, 6], [4, 5], [5, 3]):
        other = noise(COUNT, tf.constant(seed, tf.int64), tf.constant(1.0)).numpy()
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 4 / np.sqrt(COUNT)


def test_sigma_is_its_standard_deviation(drawn: np.ndarray) -> None:
    wide = noise(COUNT, tf.constant([3, 5], tf.int64), tf.constant(40.0)).numpy()
    np.testing.assert_allclose(wide, 40 * drawn, rtol=1e-5, atol=1e-5)
    none = noise(COUNT, tf.constant([3, 5], tf.int64), tf.constant(0.0)).numpy()
    assert not none.any()
