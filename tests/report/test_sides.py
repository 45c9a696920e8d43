"""`compare --html`: the same page for two runs, with image, A and B side by side, and what broke."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from shown_runs import Case, write_shown
from test_page import A, B, C, _downloaded, address_of, box_of, card, fresh, names
from webdriver import MISSING, Browser, browser

from cam_cli.errors import UsageError
from cam_cli.evaluate.compare import compare
from cam_cli.report.write import write_comparison
from cam_cli.results.reader import RunReader

pytestmark = [pytest.mark.pure, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

BEFORE = [
    Case("broke.png", (A, B), (0.9, 0.05), A),
    Case("fixed.png", (B, A), (0.6, 0.3), A),
    Case("both.png", (B, C), (0.7, 0.1), A),
    Case("right.png", (A, B), (0.8, 0.1), A),
    Case("blank.png", (A, B), (0.8, 0.1), A),
    Case("failed.png", (A, B), (0.5, 0.1), A),
    Case("only_before.png", (A, B), (0.5, 0.1), A),
]
AFTER = [
    Case("broke.png", (B, A), (0.55, 0.4), A),
    Case("fixed.png", (A, B), (0.65, 0.3), A),
    Case("both.png", (C, B), (0.4, 0.1), A),
    Case("right.png", (A, B), (0.85, 0.1), A),
    Case("blank.png", (A, B), (0.75, 0.1), A, states=("blank",)),
    Case("failed.png", truth=A),
]
CHIPS = {
    "broke": ["broke.png"],
    "fixed": ["fixed.png"],
    "both": ["both.png"],
    "changed": ["both.png", "broke.png", "fixed.png"],
    "newblank": ["blank.png"],
    "newfailed": ["failed.png"],
    "right": ["blank.png", "right.png"],
}


def write(folder: Path, *, told: bool = True) -> Path:
    a = write_shown(folder / "monday", BEFORE, seed=1, told=told)
    b = write_shown(folder / "tuesday", AFTER, seed=2, told=told)
    runs = RunReader(a), RunReader(b)
    write_comparison(compare(*runs), *runs, folder / "change.html")
    return folder / "change.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sides"))


@pytest.fixture(scope="module")
def one_window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def window(one_window: Browser, page: Path) -> Iterator[Browser]:
    one_window.fit(1400, 1000)
    fresh(one_window, page)
    yield one_window
    assert not [entry["message"] for entry in one_window.logs() if entry["level"] in {"SEVERE", "WARNING"}]


def test_the_headline_says_what_broke_and_of_which_runs(window: Browser) -> None:
    assert window.text("#title") == "1 broke, 1 fixed, 1 wrong in both of 6 images"
    lead = window.text("#lead")
    for part in (
        "A is monday, m,",
        "B is tuesday, m,",
        "1 image only in A, 0 only in B",
        "1 newly blank, 1 newly failed",
    ):
        assert part in lead


def test_what_broke_comes_first_and_each_chip_shows_its_images(window: Browser) -> None:
    assert names(window)[:3] == ["broke.png", "failed.png", "blank.png"]
    for name, paths in CHIPS.items():
        window.click(f'[data-chip="{name}"]')
        assert sorted(names(window)) == paths, name
        assert address_of(window) == {"show": name}
    window.click('[data-chip="all"]')
    window.choose("#sort", "correlation")
    measured = [path for path in names(window) if path not in ("failed.png", "blank.png")]
    runs = RunReader(Path(window.run("return decodeURIComponent(location.pathname)")).parent / "monday")
    other = RunReader(runs.folder.parent / "tuesday")
    correlations = {change.path: change.correlation for change in compare(runs, other).images}
    assert measured == sorted(measured, key=lambda path: correlations[path] or 0)


def test_image_a_and_b_stand_side_by_side_with_their_predictions(window: Browser) -> None:
    assert window.texts(f"{card('broke.png')} .caption") == ["image", "A", "B"]
    tops = window.run(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect().top)",
        f"{card('broke.png')} .frame",
    )
    assert len(set(tops)) == 1
    says = [text.replace("\xa0", " ") for text in window.texts(f"{card('broke.png')} .says")]
    assert says == ["should be a", "a 90%", "b 55%"]
    assert window.texts(f"{card('blank.png')} .empty") == ["blank map"]
    assert [text.replace("\xa0", " ") for text in window.texts(f"{card('failed.png')} .says")] == [
        "is a",
        "a 50%",
        "failed",
    ]
    pictures = window.run(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.src)", f"{card('broke.png')} img.over"
    )
    assert len(set(pictures)) == 2
    assert box_of(window, "#grid .open")["top"] < 333


def test_an_image_in_detail_has_both_maps_and_both_predictions(window: Browser) -> None:
    window.click(f"{card('broke.png')} .open")
    assert window.text("#detail-says").replace("\xa0", " ") == "A a 90% · B b 55% · should be a"
    facts = window.text("#facts")
    assert "Most likely classes in A" in facts
    assert "Most likely classes in B" in facts
    buttons = [text.split("\n")[0] for text in window.texts("#maps button")]
    assert buttons == ["A", "B"]
    assert "The map of B" in facts
    window.click("#maps button:first-child")
    assert "The map of A" in window.text("#facts")
    window.point("#stage", 0.1, 0.1)
    assert window.text("#neuron").startswith("neuron (0, 0): ")
    window.press("Escape")
    window.click(f"{card('failed.png')} .open")
    assert "B failed at decode" in window.text("#facts")


def test_the_table_and_what_is_saved_have_both_sides(window: Browser, tmp_path: Path) -> None:
    window.downloads(tmp_path)
    window.click('[data-view="table"]')
    (row,) = [text.split("\t") for text in window.texts("#table tbody tr") if "broke.png" in text.replace("\n", "")]
    assert [cell.strip() for cell in row[1:7]] == ["a", "90%", "b", "55%", "a", "broke"]
    window.click("#export summary")
    window.click("#save-csv")
    rows = {
        row["path"]: row for row in csv.DictReader(_downloaded(window, tmp_path, "monday-tuesday-6.csv").splitlines())
    }
    broke = rows["broke.png"]
    assert [broke[key] for key in ("predicted_a", "predicted_b", "truth", "correct_a", "correct_b")] == [
        "a",
        "b",
        "a",
        "true",
        "false",
    ]


def test_nothing_broke_where_no_truth_is_known(one_window: Browser, tmp_path: Path) -> None:
    fresh(one_window, write(tmp_path, told=False))
    assert one_window.text("#title") == "3 of 6 images with another class, 1 newly blank, 1 newly failed"
    chips = one_window.run("return [...document.querySelectorAll('#chips button')].map((e) => e.dataset.chip)")
    assert set(chips) == {"all", "changed", "newblank", "newfailed"}


def test_only_a_page_of_its_own_is_replaced(page: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.html"
    thesis.write_text("ten years")
    runs = RunReader(page.parent / "monday"), RunReader(page.parent / "tuesday")
    with pytest.raises(UsageError, match="is kept"):
        write_comparison(compare(*runs), *runs, thesis)
    assert thesis.read_text() == "ten years"
