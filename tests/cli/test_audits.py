"""Bounds: what is crossed is named with images, and no bound is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from hand_written import row_of, write_run

from cam_cli.cli.audits import Audit, audited

pytestmark = pytest.mark.pure


def lines(
    judge: str, bounds: dict[str, float], figures: dict[str, float], *, given: bool = True
) -> tuple[int, list[str], list[str]]:
    warned: list[str] = []
    said: list[str] = []
    code = audited(Audit(bounds, given), figures, judge, warn=warned.append, say=said.append)  # type: ignore[arg-type]
    return code, warned, said


@pytest.mark.parametrize(
    ("judge", "rule", "told"),
    [
        ("explain", "max_border_energy", "not judged by `explain`: max_border_energy (by `smoothcam evaluate`)"),
        ("explain", "max_broke", "(by `smoothcam compare --truth`)"),
        ("explain", "min_accuracy", "min_accuracy is not judged: needs --truth"),
        ("explain", "min_pointing_game", "(by `smoothcam evaluate --annotations`)"),
        ("evaluate", "min_pointing_game", "min_pointing_game is not judged: needs --annotations"),
        ("evaluate", "min_insertion_auc", "needs --faithfulness"),
        ("evaluate", "min_stability_jpeg", "needs --stability"),
        ("evaluate", "max_standard_error", "this run has no such figure"),
        ("evaluate", "max_changed_predictions", "(by `smoothcam compare`)"),
        ("compare", "max_failed", "(by `smoothcam explain` and `smoothcam evaluate`)"),
        ("compare", "max_broke", "needs --truth"),
    ],
)
def test_a_bound_that_is_not_judged_is_told_with_who_judges_it(judge: str, rule: str, told: str) -> None:
    code, warned, said = lines(judge, {rule: 0.5}, {})
    assert code == 0
    assert said == []
    assert len(warned) == 1
    assert told in warned[0]


def test_bounds_of_a_config_for_other_commands_are_talk_alone() -> None:
    code, warned, said = lines("explain", {"max_broke": 0.1, "max_entropy": 1, "max_failed": 1}, {}, given=False)
    assert (code, warned) == (0, [])
    assert said == [
        "audit: not judged by `explain`: max_broke (by `smoothcam compare --truth`), max_entropy (by `smoothcam evaluate`)"
    ]


def test_a_crossed_bound_names_its_images(smoothcam: Command, tmp_path: Path) -> None:
    rows = [row_of(f"b/{i:02}.jpg", [0, 1], [0.5 + i / 30, 0.1]) for i in range(14)] + [row_of("a/x.jpg", [0, 1])]
    run = write_run(tmp_path / "out", rows)
    ended = smoothcam("evaluate", run, "-q", "--truth", "folder", "--audit", "max_confidently_wrong=5%")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.splitlines() == [
        "smoothcam: audit: max_confidently_wrong: 0.06667 found, at most 0.05 allowed",
        "smoothcam:   b/13.jpg: a 93%, but it is b 10%",
    ]
    ended = smoothcam("evaluate", run, "-q", "--truth", "folder", "--audit", "min_class_accuracy=50%")
    told = ended.err.splitlines()
    assert ended.code == 5
    assert len(told) == 1 + 10 + 1
    assert told[-1].startswith("smoothcam:   and others; ")
    assert not [line for line in told if "a/x.jpg" in line]


def test_a_flag_wins_over_the_bounds_of_a_config(smoothcam: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "out", [row_of("a/x.jpg", [0, 1]), row_of("a/y.jpg", [])])
    config = tmp_path / "audit.yaml"
    config.write_text("audit: {max_failed: 10%}\n")
    assert smoothcam("evaluate", run, "-q", "--config", config).code == 5
    assert smoothcam("evaluate", run, "-q", "--config", config, "--audit", "max_failed=60%").code == 0
    ended = smoothcam("compare", run, run, "--audit", "max_faild=1")
    assert (ended.code, "did you mean 'max_failed'" in ended.err) == (2, True)
