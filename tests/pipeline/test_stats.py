"""The counts of a run, and what is made from them: the exit code, the shares that an audit bounds, the last line."""

from __future__ import annotations

from typing import Any

import pytest
from hand_written import row_of

from cam_cli.errors import ExitCode
from cam_cli.pipeline.stats import MOST_ROWS, Stats

pytestmark = pytest.mark.pure


def row(path: str, status: str = "ok", states: tuple[str, ...] = ("ok",)) -> Any:
    return {"path": path, "status": status, "maps": [{"state": state} for state in states if status == "ok"]}


@pytest.mark.parametrize(
    ("rows", "unreadable", "outside", "code"),
    [
        ([], 0, 0, ExitCode.NO_IMAGES),
        ([], 0, 5, ExitCode.DONE),
        (["ok"], 0, 0, ExitCode.DONE),
        (["ok"], 1, 0, ExitCode.SOME_FAILED),
        (["ok", "failed"], 0, 0, ExitCode.SOME_FAILED),
    ],
)
def test_the_exit_code(rows: list[str], unreadable: int, outside: int, code: ExitCode) -> None:
    stats = Stats(unreadable_folders=unreadable, outside_shard=outside)
    for number, status in enumerate(rows):
        stats.count(row(f"{number}.png", status))
    assert stats.exit_code is code
    assert stats.totals().exit_code == code


def test_a_failure_of_an_earlier_run_counts_as_failed_and_as_no_try() -> None:
    stats = Stats()
    stats.count(row("a.png", "failed"), skipped=True)
    stats.count(row("b.png", "failed"))
    assert (stats.failed, stats.failed_before) == (2, 1)
    assert "1 failed, 1 failed before (--retry-failed tries again)" in stats.summary(1.0)


def test_the_shares_that_an_audit_bounds() -> None:
    stats = Stats()
    assert stats.figures() == {}, "nothing was met, so nothing can be told"
    stats.count(row("a.png", states=("ok", "blank", "ok")))
    stats.count(row("b.png", states=("blank",)), skipped=True)
    stats.count(row("c.png", "failed"))
    assert stats.figures() == {"failed": pytest.approx(1 / 3), "blank": pytest.approx(2 / 4)}


def test_the_first_images_are_kept_in_the_order_they_were_met() -> None:
    stats = Stats()
    paths = [f"{i}.png" for i in range(MOST_ROWS + 5)]
    for path in paths:
        stats.meet(path)
    for path in reversed(paths):
        stats.count(row(path))
    assert [kept["path"] for kept in stats.first_rows] == paths[:MOST_ROWS]


def judged(path: str, correct: bool | None) -> Any:
    truth = None if correct is None else {"index": 1, "label": "b", "wnid": None, "rank": None, "probability": None}
    return row_of(path, [1] if correct else [2], truth=truth, also_true=[], unknown_truth=None, correct=correct)


def test_wrong_images_are_kept_for_the_sheet_however_late_they_come() -> None:
    stats = Stats()
    for number in range(3 * MOST_ROWS):
        correct = {0: False, 1: None}.get(number % 3, True)
        stats.meet(f"{number}.png")
        stats.count(judged(f"{number}.png", correct))
    stats.count(judged("late.png", False))
    assert [kept["path"] for kept in stats.wrong_rows] == [f"{3 * number}.png" for number in range(MOST_ROWS)]


def test_the_rate_counts_only_what_was_explained() -> None:
    stats = Stats(explained=10, skipped=90)
    assert stats.summary(5.0) == "10 explained, 90 already done in 5.0 s, 2.0 images/s"
