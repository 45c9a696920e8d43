"""What is right and wrong on the page, in a real browser: every control, by mouse and by keyboard, at every width."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hand_written import NAMES
from scipy.stats import binomtest
from shown_runs import WHOLE, Case, write_shown
from sklearn.metrics import confusion_matrix
from webdriver import MISSING, Browser, browser

from cam_cli.report.write import write_report

pytestmark = [pytest.mark.pure, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

A, B, C, D, E = range(5)
LONG_NAME = "b/a rather long name, which has to be shortened in the middle.png"
BOTH = ("ok", "ok")
CASES = [
    Case("a/sure.png", (A, B), (0.97, 0.02), A),
    Case("a/unsure.png", (A, B), (0.4, 0.3), A),
    Case("a/wrong.png", (B, C, A), (0.57, 0.2, 0.01), A, states=BOTH),
    Case("a/surely_wrong.png", (B, A), (0.95, 0.03), A, states=BOTH),
    Case("a/unlisted.png", (C, B), (0.3, 0.2), A, states=BOTH),
    Case("b/blank.png", (B, A), (0.8, 0.1), B, states=("blank",)),
    Case("b/noisy.png", (B, A), (0.7, 0.1), B, standard_error=0.5),
    Case(
        "b/a rather long name, which has to be shortened in the middle.png", (B, A), (0.9, 0.05), B, standard_error=0.01
    ),
    Case("b/failed.png", truth=B),
    Case("c/wrong.png", (A, C), (0.66, 0.3), C, states=("ok", "blank")),
    Case("c/right.png", (C, A), (0.75, 0.2), C, standard_error=0.02),
    Case("=zebra/unknown.png", (D, E), (0.6, 0.2), unknown="zebra"),
]
OF = {case.path: case for case in CASES}
WRONG = sorted((case for case in CASES if case.correct is False), key=lambda case: -case.probabilities[0])
JUDGED = [case for case in CASES if case.correct is not None]
WAYS = {"a/sure.png": 0, "a/unsure.png": 0, "c/wrong.png": 1}
"""Which way of looking at class a the map of an image shows."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shown(tmp_path_factory.mktemp("shown") / "run", CASES)
    key = {"layer": "conv", "method": "gradcam", "target": A, "selection": WHOLE}
    ways = [
        {"number": number, "size": size, "accuracy": accuracy, "mean_map": [[0.0, 1.0], [0.5, 0.2]], "likeness": 0.9,
         "odd": number == 1, "typical": [path for path, of in WAYS.items() if of == number]}
        for number, (size, accuracy) in enumerate([(2, 1.0), (1, 0.0)])
    ]  # fmt: skip
    of_a = {"target": {"index": A, "label": "a"}, "images": 3, "blank": 0, "flagged": True, "strategies": ways}
    evaluation = {
        "schema_version": 1, "what": {"annotations": None, "seed": 0},
        "images": {path: [{"map": key, "metrics": {}, "strategy": way}] for path, way in WAYS.items()},
        "strategies": [{"layer": "conv", "method": "gradcam", "fewest": 1, "left_out": 2, "classes": [of_a]}],
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return write_report(folder).path


@pytest.fixture(scope="module")
def one_window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def window(one_window: Browser, page: Path) -> Iterator[Browser]:
    """The page as it opens, at 1400 by 1000; whatever the test does, the console stays silent."""
    one_window.fit(1400, 1000)
    fresh(one_window, page)
    yield one_window
    assert not [entry["message"] for entry in one_window.logs() if entry["level"] in {"SEVERE", "WARNING"}]


def fresh(window: Browser, page: Path, address: str = "") -> None:
    """Open the page anew, with this after the `#`."""
    window.address("about:blank")
    window.address(page.as_uri() + (f"#{address}" if address else ""))


def names(window: Browser) -> list[str]:
    found: list[str] = window.run(
        "return [...document.querySelectorAll('#grid .short, #table .short')].map((e) => e.title)"
    )
    return found


def box_of(window: Browser, selector: str) -> dict[str, float]:
    box: dict[str, float] = window.run(
        "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector
    )
    return box


def card(path: str) -> str:
    return f'#grid li:has([title="{path}"])'


def address_of(window: Browser) -> dict[str, str]:
    return {key: held[0] for key, held in parse_qs(window.run("return location.hash.slice(1)")).items()}


# --- what is right and wrong


def test_the_headline_counts_with_an_interval(window: Browser) -> None:
    right = sum(bool(case.correct) for case in JUDGED)
    interval = binomtest(right, len(JUDGED)).proportion_ci(method="wilson")
    confident = sum(case.probabilities[0] > 0.9 for case in WRONG)
    low, high, share = (round(100 * part) for part in (interval.low, interval.high, right / len(JUDGED)))
    assert window.text("#title") == (
        f"{right} of {len(JUDGED)} right ({share}%, {low} to {high}), {len(WRONG)} wrong, {confident} of them with over 90% "
        "confidence, 1 failed, 1 without a known class"
    )
    assert window.text("#lead") == "Maps: 2 blank, 1 suspicious."


def test_wrong_images_come_first_by_confidence(window: Browser) -> None:
    found = names(window)
    assert found[: len(WRONG)] == [case.path for case in WRONG]
    assert found[len(WRONG) : len(WRONG) + 3] == ["b/failed.png", "b/blank.png", "b/noisy.png"]
    assert sorted(found) == sorted(OF)


def test_a_card_says_what_is_predicted_and_what_it_should_be(window: Browser) -> None:
    says = {path: window.text(f"{card(path)} .says").replace("\xa0", " ") for path in OF}
    assert says["a/wrong.png"] == "b 57% – should be a 1%"
    assert says["a/unlisted.png"] == "c 30% – should be a"
    assert says["a/sure.png"] == "a 97%"
    assert says["b/failed.png"] == "should be b"
    assert "unknown label zebra" in window.text(card("=zebra/unknown.png"))
    edges = {
        path: window.run("return getComputedStyle(document.querySelector(arguments[0])).borderTopColor", card(path))
        for path in OF
    }
    assert len({edges[case.path] for case in WRONG}) == 1
    assert edges["a/sure.png"] != edges["a/wrong.png"] != edges["=zebra/unknown.png"] != edges["a/sure.png"]


def test_maps_of_the_predicted_and_the_true_class_stand_side_by_side(window: Browser) -> None:
    for case in CASES:
        captions = window.texts(f"{card(case.path)} .caption")
        assert captions == (["predicted class", "true class"] if case.correct is False else []), case.path
        if case.correct is False:
            boxes = window.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect().toJSON())",
                f"{card(case.path)} .frame",
            )
            assert boxes[0]["top"] == boxes[1]["top"]
            assert boxes[0]["right"] <= boxes[1]["left"]
    assert window.texts(f"{card('c/wrong.png')} .empty") == ["blank map"]
    window.click("#more")
    options = window.texts("#kind option")
    assert options == ["the most doubtful of each image", "gradcam · predicted class", "gradcam · true class"]
    value = window.run("return document.querySelectorAll('#kind option')[2].value")
    window.choose("#kind", value)
    expected = [case.path for case in CASES if not case.ranked or set(case.true) & set(case.targets)]
    assert sorted(names(window)) == sorted(expected)
    assert window.texts("#grid .caption") == []


EXPECTED_CHIPS = {
    "wrong": [case.path for case in WRONG],
    "confident": ["a/surely_wrong.png"],
    "unsure": ["a/unsure.png"],
    "doubtful": ["a/surely_wrong.png"],
    "odd": ["c/wrong.png"],
    "failed": ["b/failed.png"],
    "blank": ["b/blank.png", "c/wrong.png"],
    "suspicious": ["b/noisy.png"],
    "unknown": ["=zebra/unknown.png"],
    "right": [case.path for case in CASES if case.correct],
    "ok": [
        "a/sure.png",
        "b/a rather long name, which has to be shortened in the middle.png",
        "c/right.png",
        "=zebra/unknown.png",
    ],
}


def test_each_chip_shows_its_images_and_their_number(window: Browser) -> None:
    chips = window.run(
        "return [...document.querySelectorAll('#chips button')].map((e) => [e.dataset.chip, e.lastChild.textContent])"
    )
    assert dict(chips) == {"all": str(len(CASES))} | {name: str(len(paths)) for name, paths in EXPECTED_CHIPS.items()}
    for name, paths in EXPECTED_CHIPS.items():
        window.click(f'[data-chip="{name}"]')
        assert sorted(names(window)) == sorted(paths), name
        assert window.text("#count") == f"{len(paths)} of {len(CASES)} images"
        assert address_of(window) == {"show": name}
    window.click('[data-chip="ok"]')
    assert len(names(window)) == len(CASES), "a second click takes the filter away"


# --- confusion, classes, ways of looking


def test_the_pairs_that_are_confused_are_counted_and_filter(window: Browser) -> None:
    window.click('[data-view="confusion"]')
    truths, predictions = [case.true[0] for case in JUDGED], [case.ranked[0] for case in JUDGED]
    matrix = confusion_matrix(truths, predictions, labels=range(5))
    off = {(t, p): int(matrix[t, p]) for t in range(5) for p in range(5) if t != p and matrix[t, p]}
    lines = [
        re.fullmatch(r"(.) taken for (.) (\d) of (\d) images?, mean.*", " ".join(text.split()))
        for text in window.texts("#pairs li")
    ]
    found = {(NAMES.index(m[1]), NAMES.index(m[2])): int(m[3]) for m in lines if m}
    assert found == off
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(m and int(m[4]) == matrix[NAMES.index(m[1])].sum() for m in lines)
    cells = window.run("return [...document.querySelectorAll('#matrix button')].map((e) => [e.title, e.textContent])")
    for title, count in cells:
        says = re.fullmatch(r"\d+ images? of (.) predicted as (.)", title)
        assert says
        assert int(count) == matrix[NAMES.index(says[1]), NAMES.index(says[2])]
    window.click("#pairs li:first-child button")
    assert sorted(names(window)) == ["a/surely_wrong.png", "a/wrong.png"]
    assert address_of(window) == {"predicted": "1", "truth": "0"}
    assert window.texts(".token") == ["true class: a✕", "predicted: b✕"]
    window.run("history.back()")
    window.wait("!document.getElementById('confusion').hidden")
    window.click('#matrix button[title="1 image of c predicted as a"]')
    assert names(window) == ["c/wrong.png"]
    window.click(".token")
    assert sorted(names(window)) == sorted(case.path for case in CASES if case.ranked[:1] == (A,))
    window.click("#reset")
    assert len(names(window)) == len(CASES)


def test_the_table_of_classes_has_intervals_sorts_and_filters(window: Browser) -> None:
    window.click('[data-view="classes"]')
    counts = Counter(case.true[0] for case in JUDGED)
    hits = Counter(case.true[0] for case in JUDGED if case.correct)
    rows = [row.split("\t") for row in window.texts("#per-class tbody tr")]
    assert [row[0] for row in rows[:3]] == ["a", "c", "b"], "the lowest accuracy first"
    for name, images, accuracy, interval, *_ in rows[:3]:
        of = NAMES.index(name)
        expected = binomtest(hits[of], counts[of]).proportion_ci(method="wilson")
        assert int(images) == counts[of]
        assert accuracy.startswith(f"{hits[of]} of {counts[of]}, ")
        low, high = (int(part) / 100 for part in re.findall(r"(\d+)%", interval))
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.0051)
    window.click('#per-class [data-sort="images"]')
    assert [row.split("\t")[0] for row in window.texts("#per-class tbody tr")][:1] == ["a"]
    window.click('#per-class [data-sort="class"]')
    assert [row.split("\t")[0] for row in window.texts("#per-class tbody tr")] == sorted("abcd")
    window.type("#find-class", "c")
    assert len(window.texts("#per-class tbody tr")) == 1
    window.click('[aria-label="Images of c taken for a"]')
    assert names(window) == ["c/wrong.png"]
    fresh(window, Path(window.run("return decodeURIComponent(location.pathname)")), "view=classes")
    window.click('[aria-label="Images of b"]')
    assert sorted(names(window)) == sorted(case.path for case in CASES if B in case.true)


def test_ways_of_looking_are_shown_and_filter(window: Browser) -> None:
    window.click('[data-view="ways"]')
    assert "1 class of at least 1 image, 2 with fewer left out; 1 with a way that stands apart" in window.text(
        "#ways .part"
    )
    ways = [" ".join(text.split()) for text in window.texts("#ways .way-list > li")]
    assert ways == ["Way 1 2 images, 100% right likeness 90%", "Way 2 1 image, 0% right likeness 90%, stands apart"]
    size = "return [...document.querySelectorAll('canvas.mean')].map((e) => [e.width, e.height])"
    assert window.run(size) == [[2, 2], [2, 2]]
    window.click('#ways [aria-label="Details of c/wrong.png"]')
    assert window.text("#detail-title") == "c/wrong.png"
    window.press("Escape")
    window.click('[aria-label="Images of way 1 of looking at a"]')
    assert sorted(names(window)) == ["a/sure.png", "a/unsure.png"]
    assert window.texts(".token") == ["way 1 of looking at a✕"]
    address = window.run("return location.hash.slice(1)")
    fresh(window, Path(window.run("return decodeURIComponent(location.pathname)")), address)
    assert sorted(names(window)) == ["a/sure.png", "a/unsure.png"]


# --- table, address, export


def option_of(window: Browser, choice: str, name: str) -> str:
    """Return the value of the option of a class in a choice among classes."""
    options = window.run(
        f"return [...document.querySelectorAll('#{choice} option')].map((one) => [one.value, one.textContent])"
    )
    (value,) = (value for value, text in options if text.startswith(f"{name} ("))
    return str(value)


def test_the_table_sorts_and_opens(window: Browser) -> None:
    window.click('[data-view="table"]')
    assert names(window)[: len(WRONG)] == [case.path for case in WRONG]
    window.click('#table [data-sort="confidence"]')
    by_confidence = sorted((case for case in CASES if case.ranked), key=lambda case: -case.probabilities[0])
    assert names(window) == [*(case.path for case in by_confidence), "b/failed.png"]
    assert window.run("return document.activeElement.dataset.sort") == "confidence"
    window.click('#table [data-sort="confidence"]')
    assert names(window) == [*(case.path for case in by_confidence[::-1]), "b/failed.png"]
    assert window.run("return document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    window.click('#table [data-sort="path"]')
    assert names(window) == sorted(OF)
    (row,) = [text.split("\t") for text in window.texts("#table tbody tr") if "a/wrong" in text.replace("\n", "")]
    assert [cell.strip() for cell in row[1:7]] == ["b", "57%", "a", "1%", "3", "wrong"]
    window.click('#table [aria-label="Details of a/wrong.png"]')
    assert window.text("#detail-title") == "a/wrong.png"
    assert "rank 3, 1%" in window.text("#facts")
    window.press("Escape")
    window.wait("document.activeElement.getAttribute('aria-label') === 'Details of a/wrong.png'")
    window.press("Down")
    assert (
        window.run("return document.activeElement.getAttribute('aria-label')")
        == f"Details of {sorted(OF)[sorted(OF).index('a/wrong.png') + 1]}"
    )


def test_the_address_has_the_filters_and_opens_them_again(window: Browser, page: Path) -> None:
    window.type("#search", "png")
    window.choose("#sort", "confidence")
    window.click("#direction")
    window.click("#more")
    window.choose("#truth", option_of(window, "truth", "a"))
    window.click('[data-view="figures"]')
    window.type('[aria-label="probability of the predicted class at least"]', "0.35")
    window.click('[data-view="table"]')
    expected = ["a/sure.png", "a/surely_wrong.png", "a/wrong.png", "a/unsure.png"]
    assert names(window) == expected
    address = window.run("return location.hash.slice(1)")
    fresh(window, page, address)
    assert names(window) == expected
    assert window.run("return location.hash.slice(1)") == address
    assert window.run("return document.getElementById('truth').value") == option_of(window, "truth", "a")
    fresh(window, page, "show=wrong&image=a%2Fwrong.png")
    assert window.text("#detail-title") == "a/wrong.png"
    assert window.text("#position") == "3 of 4"
    window.click("#next")
    assert address_of(window)["image"] == "a/unlisted.png"
    window.click("#close")
    assert address_of(window) == {"show": "wrong"}


@pytest.mark.parametrize(
    "nonsense",
    [
        "show=constructor",
        "predicted=99&page=-3",
        "sort=__proto__&kind=7",
        ".confidence=x..y",
        "%",
        "way=no",
        "view=ways&image=no",
    ],
)
def test_an_address_that_means_nothing_does_no_harm(window: Browser, page: Path, nonsense: str) -> None:
    fresh(window, page, nonsense)
    assert window.run("return document.documentElement.dataset.ready") == "yes"


def test_what_passes_the_filters_is_saved(window: Browser, tmp_path: Path) -> None:
    window.downloads(tmp_path)
    window.click('[data-chip="wrong"]')
    window.click("#export summary")
    window.click("#save-paths")
    assert _downloaded(window, tmp_path, "run-4.txt").splitlines() == [case.path for case in WRONG]
    assert window.text("#exported") == "Saved run-4.txt."
    window.click('[data-chip="all"]')
    window.click("#export summary")
    window.click("#save-csv")
    rows = {row["path"]: row for row in csv.DictReader(_downloaded(window, tmp_path, "run-12.csv").splitlines())}
    assert rows.keys() == {path.replace("=", "'=") for path in OF}, "no path is a formula to a spreadsheet"
    for path, case in OF.items():
        row = rows[path.replace("=", "'=")]
        assert row["status"] == ("ok" if case.ranked else "failed")
        assert row["predicted"] == (NAMES[case.ranked[0]] if case.ranked else "")
        assert row["truth"] == ("" if case.truth is None else NAMES[case.truth])
        assert row["correct"] == {True: "true", False: "false", None: ""}[case.correct]
        assert not case.ranked or float(row["probability"]) == case.probabilities[0]


def _downloaded(window: Browser, folder: Path, name: str) -> str:
    for _ in range(200):
        if (folder / name).is_file() and not list(folder.glob("*.crdownload")):
            return (folder / name).read_text()
        window.run("return new Promise((go) => setTimeout(go, 20))")
    raise AssertionError(f"{name} was not saved; there are {list(folder.iterdir())}")


# --- by keyboard, by thumb, in the dark


def test_everything_is_reached_by_keyboard(window: Browser) -> None:
    focus = "return document.activeElement.id || document.activeElement.getAttribute('aria-label')"
    window.press("/")
    assert window.run(focus) == "search"
    window.press("2")
    assert window.run("return document.getElementById('search').value") == "2", "keys go to the field"
    window.type("#search", "\ue003")
    window.run("document.activeElement.blur()")
    for number, view in enumerate(["images", "table", "confusion", "classes", "ways", "figures"], 1):
        window.press(str(number))
        assert window.run("return document.querySelector('#views [aria-pressed=true]').dataset.view") == view
    window.press("1")
    window.press("f")
    assert window.run("return document.getElementById('panel').hidden") is False
    assert window.run(focus) == "predicted"
    window.press("Escape")
    assert window.run("return document.getElementById('panel').hidden") is True
    assert window.run(focus) == "more"
    window.press("?")
    assert "from image to image" in window.text("#keys")
    window.press("Escape")
    window.run("document.querySelector('#grid .open').focus()")
    window.press("Right")
    assert window.run(focus) == f"Details of {names(window)[1]}"
    window.press("Down")
    below = names(window).index(window.run(focus).removeprefix("Details of "))
    assert below > 3
    window.press("Up")
    assert names(window).index(window.run(focus).removeprefix("Details of ")) < below
    window.press("Home")
    window.press("\ue007")
    assert window.text("#detail-title") == names(window)[0]
    window.press("Escape")
    window.run("document.querySelector('#chips button').focus()")
    window.press("Right")
    window.press("\ue007")
    assert address_of(window) == {"show": "wrong"}


def test_sliders_appear_when_they_are_pointed_at_or_have_the_focus(window: Browser) -> None:
    opacity = (
        "return [...document.querySelectorAll('.pictures > input')].map((e) => Number(getComputedStyle(e).opacity))"
    )
    window.point("#title", 0.5, 0.5)
    assert set(window.run(opacity)) == {0}
    window.point(".pictures", 0.5, 0.3)
    assert window.run(opacity)[0] == 1
    assert sum(window.run(opacity)) == 1
    window.point("#title", 0.5, 0.5)
    window.run("document.querySelectorAll('.pictures > input')[2].focus()")
    assert window.run(opacity)[2] == 1
    window.press("Home")
    shown = "return [...document.querySelectorAll(arguments[0])].map((e) => e.style.opacity)"
    assert window.run(shown, "#grid li:nth-child(2) .over") == ["1"]
    assert window.run(shown, "#grid li:nth-child(3) .over") == ["0", "0"], "both maps of a card fade together"


def test_the_first_image_is_in_the_upper_third_and_the_bar_stays(window: Browser) -> None:
    assert window.run("return document.querySelector('#grid .open').getBoundingClientRect().top") < 333
    window.run("document.body.style.minHeight = '4000px'; window.scrollTo(0, 1500)")
    assert window.run("return document.getElementById('bar').getBoundingClientRect().top") == 0


def test_names_are_shortened_in_the_middle(window: Browser) -> None:
    selector = f'#grid .short[title="{LONG_NAME}"]'
    cut = "[e.textContent, e.scrollWidth > e.clientWidth]"
    head, tail = window.run(f"return [...document.querySelector(arguments[0]).children].map((e) => {cut})", selector)
    assert head[0] + tail[0] == LONG_NAME
    assert (head[1], tail[1]) == (True, False)
    assert box_of(window, selector)["height"] < 25, "it has one line"


def test_a_phone_is_used_with_a_thumb(window: Browser) -> None:
    window.fit(390, 844, touch=True)
    fresh(window, Path(window.run("return decodeURIComponent(location.pathname)")))
    bar = box_of(window, "#bar")
    assert bar["bottom"] == pytest.approx(844, abs=1), "the filters are at the bottom, where the thumb is"
    assert bar["height"] < 844 / 4
    for selector in ("#chips button", "#views button", "#more"):
        heights = window.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect().height)", selector
        )
        assert min(heights) >= 38, selector
    window.click("#more")
    for selector in ("#search", "#sort", "#predicted", "#truth", "#export summary"):
        box = box_of(window, selector)
        assert box["height"] >= 43, selector
        assert box["left"] >= 0, selector
        assert box["right"] <= 390, selector
        assert box["top"] >= 0, selector
    window.choose("#truth", option_of(window, "truth", "a"))
    window.click("#more")
    assert len(names(window)) == sum(A in case.true for case in CASES)
    for view in ("images", "table", "confusion", "classes", "ways", "figures"):
        window.run("document.querySelector(`[data-view=${arguments[0]}]`).click()", view)
        assert window.run("return document.documentElement.scrollWidth") <= 390, view
    window.run("document.querySelector('[data-view=images]').click(); document.querySelector('.open').click()")
    assert box_of(window, ".detail .dialog-buttons")["bottom"] == pytest.approx(844, abs=1)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_light_and_dark(window: Browser, dark: bool) -> None:
    window.fit(1400, 1000, dark=dark)
    views = {
        "images": [".says .bad", ".badge.failed", ".badge.doubtful", ".badge.odd", ".caption", "#chips button",
                   "#chips button[aria-pressed=true]", "#chips span", ".name", "#origin", "#lead", "#views button", ".empty"],
        "table": ["#table td", "#table th", ".badge.right", ".badge.wrong"],
        "confusion": [".pair .bad", ".cell-count.bad", ".cell-count.good", "#matrix th"],
        "classes": ["#per-class th button", "#per-class td"],
        "ways": [".way-list .odd b", ".way-list .soft", ".badge.odd"],
        "figures": ["#plots figcaption", "#plots figcaption span"],
    }  # fmt: skip
    for view, selectors in views.items():
        window.click(f'[data-view="{view}"]')
        for selector in selectors:
            assert _lowest_contrast(window, selector) >= 4.5, (view, selector)


def _lowest_contrast(window: Browser, selector: str) -> float:
    """Return the lowest contrast (WCAG 2) of any visible element that matches with what it is written on, drawn on a canvas."""
    pairs = window.run(
        """const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        const rgb = (colours) => {
          context.clearRect(0, 0, 1, 1);
          for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
          return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).map((element) => {
          const layers = [];
          for (let e = element; e; e = e.parentElement) layers.unshift(getComputedStyle(e).backgroundColor);
          const back = ['#fff', ...layers];
          return [rgb([...back, getComputedStyle(element).color]), rgb(back)];
        });""",
        selector,
    )
    assert pairs, selector

    def luminance(colour: list[int]) -> float:
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    shades = [sorted(map(luminance, pair)) for pair in pairs]
    return min((high + 0.05) / (low + 0.05) for low, high in shades)


def test_constants_and_settings_that_are_not_set_are_not_shown(window: Browser) -> None:
    window.click('[data-view="figures"]')
    figures = window.text("#figures")
    assert "standard error" in figures
    assert "correlation without noise" not in figures, "it is 1 for every map"
    assert "annotations" not in figures
    assert not [text for text in window.texts("#sort option") if "without noise" in text]
    window.click('[data-view="images"]')
    window.click(f"{card('b/noisy.png')} .open")
    facts = window.text("#facts")
    assert "standard error" in facts
    assert "without noise" not in facts


def test_nothing_is_called_right_or_wrong_without_a_truth(one_window: Browser, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.ranked]
    page = write_report(write_shown(tmp_path / "run", cases, told=False)).path
    one_window.fit(1400, 1000)
    fresh(one_window, page)
    assert one_window.text("#title") == "11 images, 0 failed"
    assert "The true classes are not known" in one_window.text("#lead")
    chips = one_window.run("return [...document.querySelectorAll('#chips button')].map((e) => e.dataset.chip)")
    assert set(chips) == {"all", "blank", "suspicious", "ok"}
    views = one_window.run("return [...document.querySelectorAll('#views button')].map((e) => e.dataset.view)")
    assert views == ["images", "table", "classes", "figures"]
    assert "should be" not in one_window.text("#grid")


def test_a_map_says_which_classes_it_is_explained_against(one_window: Browser, tmp_path: Path) -> None:
    run = write_shown(
        tmp_path / "run", [Case("a/one.png", (A, B), (0.9, 0.05), A, states=("ok", "ok"), also_true=(C,))]
    )
    manifest = run / "a/one.png" / "manifest.json"
    record = json.loads(manifest.read_text())
    record["maps"][0]["against"] = [{"index": B, "label": NAMES[B], "wnid": None}]
    manifest.write_text(json.dumps(record))
    index = run / "index.jsonl"
    row = json.loads(index.read_text())
    index.write_text(json.dumps(row | {"maps": record["maps"]}) + "\n")
    fresh(one_window, write_report(run).path)
    one_window.click("#grid .open")
    first, second = one_window.texts("#maps button")
    assert f"{NAMES[A]}, rather than {NAMES[B]}" in first
    assert "rather than" not in second
    assert "rather than" in one_window.text("#facts")
    one_window.click("#maps button:nth-child(2)")
    assert "rather than" not in one_window.text("#facts")


def test_a_truth_is_laid_over_a_run_that_knew_none(one_window: Browser, tmp_path: Path) -> None:
    page = write_report(write_shown(tmp_path / "run", CASES, told=False), truth="folder").path
    fresh(one_window, page)
    assert one_window.text("#title").startswith("6 of 10 right")
    assert names(one_window)[: len(WRONG)] == [case.path for case in WRONG]
