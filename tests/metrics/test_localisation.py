"""Figures of localisation, signals and intervals against their definitions, written out pixel by pixel, and other libraries."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cam_cli.evaluate.bootstrap import Interval, interval
from cam_cli.metrics.localisation import baselines, localise, pointing_by_chance, pointing_game
from cam_cli.metrics.signals import border_energy, centre_of_attention, entropy, flatness, signals, spread
from cam_cli.render.upsample import upsample

Array = NDArray[Any]
SHAPE = (9, 13)

# Whole numbers, so that equal shares are equal in any precision; not looked at and below 0 included.
heats = arrays.arrays(np.float32, SHAPE, elements=st.sampled_from([np.nan, -2, 0, 0, 0, 1, 2, 3, 4, 5, 10]))
mask = arrays.arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, False, True]))
masks = st.lists(mask, min_size=1, max_size=4)


def cells(heat: Array) -> dict[tuple[int, int], float]:
    """The energy of each pixel, as the definitions have it."""
    return {at: float(value) if value > 0 else 0.0 for at, value in np.ndenumerate(heat)}


def is_hit(at: tuple[int, ...], peak: tuple[int, ...], reach: tuple[float, float]) -> bool:
    """Whether a pixel lies in the ellipse around a peak; where a half axis is 0, no step that way is allowed."""
    steps = [abs(at[axis] - peak[axis]) for axis in (0, 1)]
    if any(step and not length for step, length in zip(steps, reach, strict=True)):
        return False
    return sum((step / length) ** 2 for step, length in zip(steps, reach, strict=True) if step) <= 1


def by_definition(
    heat: Array, instances: list[Array], reach: tuple[float, float] = (15 / 224 * SHAPE[0], 15 / 224 * SHAPE[1])
) -> dict[str, float]:
    energy = cells(heat)
    peak = max(energy.values())
    if peak == 0:
        return dict.fromkeys(("pointing_game", "energy_inside", "iou_best", "iou_half", "instance_coverage"), 0.0)
    regions = [{at for at, inside in np.ndenumerate(instance) if inside} for instance in instances]
    union = set().union(*regions)
    top = min(at for at in energy if energy[at] == peak)

    def iou(percent: int) -> float:
        cut = {at for at, value in energy.items() if value * 100 >= percent * peak}
        return len(cut & union) / len(cut | union)

    return {
        "pointing_game": float(any(is_hit(at, top, reach) for at in union)),
        "energy_inside": sum(energy[at] for at in union) / sum(energy.values()),
        "iou_best": max(iou(percent) for percent in range(1, 101)),
        "iou_half": iou(50),
        "instance_coverage": sum(any(2 * energy[at] >= peak for at in region) for region in regions) / len(regions),
    }


@given(heats, masks)
def test_localisation_is_what_its_definitions_say(heat: Array, instances: list[Array]) -> None:
    assert localise(heat, instances) == pytest.approx(by_definition(heat, instances), abs=1e-6)


@given(heats, masks)
def test_on_request_the_tolerance_is_fifteen_pixels(heat: Array, instances: list[Array]) -> None:
    assert localise(heat, instances, "pixels") == pytest.approx(by_definition(heat, instances, (15, 15)), abs=1e-6)


@given(heats, mask, st.tuples(*[st.sampled_from([0, 0.5, 1, 2.5, 4, 20])] * 2))
def test_the_tolerance_of_the_pointing_game_is_an_ellipse(
    heat: Array, union: Array, reach: tuple[float, float]
) -> None:
    energy = np.where(heat > 0, heat, np.float32(0))
    assert pointing_game(energy, union, reach) == by_definition(heat, [union], reach)["pointing_game"]


@pytest.mark.parametrize("tolerance", ["share", "pixels"])
@pytest.mark.parametrize(("distance", "hit"), [(0, 1), (15, 1), (16, 0)])
@pytest.mark.parametrize("step", [(0, 1), (1, 0), (0, -1), (-1, 0)])
def test_fifteen_of_224_pixels_beside_the_object_is_a_hit(
    step: tuple[int, int], distance: int, hit: int, tolerance: Any
) -> None:
    heat, union = np.zeros((224, 224), np.float32), np.zeros((224, 224), np.bool_)
    heat[100 + distance * step[0], 100 + distance * step[1]] = 1
    union[100, 100] = True
    assert localise(heat, [union], tolerance)["pointing_game"] == hit


def test_the_size_of_an_image_does_not_decide_on_a_hit() -> None:
    for side in (112, 224, 896):
        heat, union = np.zeros((side, 2 * side), np.float32), np.zeros((side, 2 * side), np.bool_)
        heat[0, round(2 * side * 0.5)] = 1
        union[0, round(2 * side * 0.56)] = True
        assert localise(heat, [union])["pointing_game"] == 1
        assert localise(heat.T, [union.T])["pointing_game"] == 1
        assert localise(heat, [union], "pixels")["pointing_game"] == (side <= 112)


@settings(max_examples=25)
@given(mask, st.tuples(*[st.sampled_from([0, 0.5, 1, 2.5, 4, 20])] * 2))
def test_chance_is_the_share_of_the_pixels_that_would_be_a_hit(union: Array, reach: tuple[float, float]) -> None:
    object_at = [at for at, inside in np.ndenumerate(union) if inside]
    hits = [any(is_hit(at, peak, reach) for at in object_at) for peak in np.ndindex(SHAPE)]
    assert pointing_by_chance(union, reach) == pytest.approx(np.mean(hits))


def test_maps_that_cost_nothing_are_measured_as_any_other() -> None:
    y, x = ((np.indices((60, 80)) + 0.5).transpose(1, 2, 0) / (60, 80) - 0.5).transpose(2, 0, 1)
    gaussian = np.exp(-(x**2 + y**2) / (2 * 0.25**2))
    middle, corner = np.zeros((2, 60, 80), np.bool_)
    middle[20:40, 30:50] = corner[:6, :8] = True
    for masks in ([middle], [corner], [middle, corner]):
        found = baselines((60, 80), masks)
        assert found["centred gaussian"] == pytest.approx(localise(gaussian.astype(np.float32), masks), abs=1e-4)
        share = float(np.mean(np.logical_or.reduce(masks)))
        assert found["flat"]["energy_inside"] == found["flat"]["iou_best"] == pytest.approx(share)
        assert share < found["flat"]["pointing_game"] < 4 * share
    assert baselines((60, 80), [middle])["centred gaussian"]["pointing_game"] == 1
    assert baselines((60, 80), [corner])["centred gaussian"]["pointing_game"] == 0


@given(heats, masks, st.integers(-20, 20))
def test_the_scale_of_a_map_and_the_order_of_instances_do_not_count(
    heat: Array, instances: list[Array], power: int
) -> None:
    assert localise(heat * np.float32(2.0**power), instances[::-1]) == pytest.approx(localise(heat, instances))


@given(heats, masks)
def test_figures_are_shares_and_the_best_threshold_is_the_best(heat: Array, instances: list[Array]) -> None:
    found = localise(heat, instances)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["iou_best"] >= found["iou_half"]


def test_a_map_that_is_its_object_is_perfect_and_one_beside_it_worth_nothing() -> None:
    instances = [np.zeros((80, 80), np.bool_) for _ in range(2)]
    instances[0][5:15, 5:15] = instances[1][60:70, 60:75] = True
    both = np.logical_or(*instances)
    assert set(localise(both.astype(np.float32), instances).values()) == {1.0}
    beside = np.zeros((80, 80), np.float32)
    beside[40, 20] = 1
    assert set(localise(beside, instances).values()) == {0.0}
    one = localise(instances[0].astype(np.float32), instances)
    assert one["instance_coverage"] == 0.5
    assert one["iou_best"] == pytest.approx(100 / 250)


def test_a_faint_instance_is_lit_from_half_of_the_peak_on() -> None:
    instances = [np.zeros(SHAPE, np.bool_) for _ in range(2)]
    instances[0][1, 1] = instances[1][7, 11] = True
    heat = np.zeros(SHAPE, np.float32)
    for faint, share in ((0.5, 1.0), (0.49, 0.5)):
        heat[1, 1], heat[7, 11] = 1, faint
        assert localise(heat, instances)["instance_coverage"] == share


@pytest.mark.parametrize("blank", [0.0, -1.0, np.nan])
def test_blank_maps_score_nothing_and_have_no_signals(blank: float) -> None:
    heat = np.full(SHAPE, blank, np.float32)
    assert set(localise(heat, [np.ones(SHAPE, np.bool_)]).values()) == {0.0}
    assert set(signals(heat, heat).values()) == {None}


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        localise(np.ones(SHAPE, np.float32), [np.ones((3, 3), np.bool_)])
    with pytest.raises(ValueError, match="masks"):
        localise(np.ones(SHAPE, np.float32), [])


# --- signals


def signals_by_definition(heat: Array) -> dict[str, float | None]:
    energy, (height, width) = cells(heat), heat.shape
    total = sum(energy.values())
    if total == 0:
        return dict.fromkeys(("border_energy", "entropy", "spread", "centre_x", "centre_y", "flatness"))
    share = {at: value / total for at, value in energy.items()}
    x = sum(p * (column + 0.5) for (_, column), p in share.items())
    y = sum(p * (row + 0.5) for (row, _), p in share.items())
    fine = 10  # the border of an image of 10 n pixels is n wide: as fine a grid has no pixel that it cuts
    inner = sum(
        share[row // fine, column // fine] / fine**2
        for row in range(height, fine * height - height)
        for column in range(width, fine * width - width)
    )
    return {
        "border_energy": 1 - inner,
        "entropy": -sum(p * math.log(p) for p in share.values() if p) / math.log(height * width),
        "spread": math.sqrt(sum(p * math.dist((r + 0.5, c + 0.5), (y, x)) ** 2 for (r, c), p in share.items()))
        / (math.hypot(height, width) / 2),
        "centre_x": x / width,
        "centre_y": y / height,
        "flatness": total / sum(not np.isnan(value) for value in heat.flat) / max(energy.values()),
    }


@given(arrays.arrays(np.float32, (5, 4), elements=st.sampled_from([np.nan, -2, 0, 0, 0, 1, 2, 3, 40])))
def test_signals_are_what_their_definitions_say(heat: Array) -> None:
    assert signals(heat, heat) == pytest.approx(signals_by_definition(heat), abs=1e-6)


@given(heats)
def test_a_mirrored_map_has_the_same_signals_but_for_its_centre(heat: Array) -> None:
    here, there = signals(heat, heat), signals(heat[::-1, ::-1], heat[::-1, ::-1])
    for name in ("border_energy", "entropy", "spread", "flatness"):
        assert here[name] == pytest.approx(there[name], abs=1e-9)
    for name in ("centre_x", "centre_y"):
        first, second = here[name], there[name]
        assert first is None or second is None or first + second == pytest.approx(1)


def test_signals_of_maps_that_are_known() -> None:
    even = np.ones((50, 40), np.float32)
    assert signals(even, even) == pytest.approx(
        {
            "border_energy": 0.36,
            "entropy": 1,
            "spread": math.sqrt(1 / 3),
            "centre_x": 0.5,
            "centre_y": 0.5,
            "flatness": 1,
        },
        abs=1e-3,
    )
    corners = np.zeros((50, 40), np.float32)
    corners[0, 0] = corners[-1, -1] = 1
    found = signals(corners, corners)
    assert found["border_energy"] == pytest.approx(1)
    assert found["spread"] == pytest.approx(1, abs=0.03)
    point = np.zeros((50, 40), np.float32)
    point[12, 30] = 3
    assert signals(point, point) == pytest.approx(
        {"border_energy": 0, "entropy": 0, "spread": 0, "centre_x": 30.5 / 40, "centre_y": 0.25, "flatness": 1 / 2000},
        abs=1e-9,
    )


def test_signals_do_not_depend_on_the_size_of_the_image() -> None:
    values = np.random.default_rng(3).random((7, 7)).astype(np.float32)
    small, large = (
        signals(values, upsample(values, (0, 0, width, width * 0.75), (width, round(width * 0.75))))
        for width in (120, 960)
    )
    assert small == pytest.approx(large, abs=6e-3)


def test_where_the_network_did_not_look_is_no_energy() -> None:
    placed = upsample(np.ones((4, 4), np.float32), (20, 0, 60, 40), (80, 40))
    assert border_energy(placed) == pytest.approx(0.2)
    assert centre_of_attention(placed) == pytest.approx((0.5, 0.5))
    assert flatness(placed) == 1
    assert spread(placed) == pytest.approx(spread(np.nan_to_num(placed)) or 0)


def test_entropy_is_xpliques_complexity_as_a_share_of_its_maximum() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("xplique.metrics")
    maps = np.random.default_rng(5).random((6, 7, 9)).astype(np.float32) ** 4
    maps[0] = 1
    expected = np.asarray(metrics.Complexity().detailed_evaluate(maps)) / math.log(63)
    assert [entropy(saliency) for saliency in maps] == pytest.approx(expected.tolist(), abs=1e-5)


# --- intervals


def test_ends_agree_with_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=40)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=np.random.default_rng(2)
    ).confidence_interval
    ours = interval(values.tolist(), draws=20_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.count == 40


@pytest.mark.parametrize("name", ["normal", "skewed", "hit or miss"])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_intervals_hold_the_true_mean_as_often_as_they_say(name: str, level: float) -> None:
    repeats, draw = 400, np.random.default_rng(11)
    samples, true = {
        "normal": (draw.normal(2, 3, (repeats, 200)), 2.0),
        "skewed": (draw.exponential(1, (repeats, 200)), 1.0),
        "hit or miss": ((draw.random((repeats, 200)) < 0.7).astype(np.float64), 0.7),
    }[name]
    found = [interval(sample.tolist(), seed, draws=300, level=level) for seed, sample in enumerate(samples)]
    held = np.mean([each.low <= true <= each.high for each in found])
    chance = 3 * math.sqrt(level * (1 - level) / repeats)
    assert held == pytest.approx(
        level, abs=chance + 0.01
    )  # 0.01: percentile intervals are a little narrow at 200 values


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 5))
def test_an_interval_lies_within_the_values_and_moves_with_them(values: list[float], seed: int) -> None:
    found = interval(values, seed, draws=50)
    assert found == interval(values, seed, draws=50)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    moved = interval([2 * value + 7 for value in values], seed, draws=50)
    expected = (2 * found.low + 7, 2 * found.high + 7, 2 * found.mean + 7)
    assert (moved.low, moved.high, moved.mean) == pytest.approx(expected, abs=1e-6)


def test_of_one_value_the_interval_is_that_value() -> None:
    assert interval([0.25]) == Interval(0.25, 0.25, 0.25, 1)


def test_more_values_than_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(300)
    whole = interval(values.tolist(), draws=500)
    monkeypatch.setattr("cam_cli.evaluate.bootstrap._AT_ONCE", 700)
    parts = interval(values.tolist(), draws=500)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)
    monkeypatch.setattr("cam_cli.evaluate.bootstrap._AT_ONCE", 100)
    assert interval(values.tolist(), draws=500).low == pytest.approx(whole.low, abs=0.01)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_nothing_and_no_number_have_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one value"):
        interval(values)
