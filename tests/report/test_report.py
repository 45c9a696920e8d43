"""`smoothcam report`: one file with all that a run has, harmless whatever it shows, in a real browser where there is one."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st
from launcher import Launcher
from PIL import Image
from run_trees import read_manifest
from webdriver import MISSING, Browser, browser

from cam_cli.metrics.table import SUSPICIOUS
from cam_cli.report.details import WORRIES
from cam_cli.report.gather import Entry
from cam_cli.report.page import write_page
from cam_cli.report.truth import THRESHOLDS
from cam_cli.results.index import Index
from cam_cli.results.manifest import Manifest

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
MOSTLY_HARMLESS = 'a/b & c\'s "image" %41#1?.png'
in_a_browser = pytest.mark.skipif(bool(MISSING), reason=MISSING)


class Page(HTMLParser):
    """What a browser's parser finds in the file, by the parser of someone else."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._within: dict[str, str | None] | None = None
        self.raw = path.read_bytes()
        self.feed(self.raw.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._within = dict(attrs)
            self.scripts.append((self._within, ""))

    def handle_data(self, data: str) -> None:
        if self._within is not None:
            self.scripts[-1] = (self._within, self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._within = None

    def blocks(self) -> list[tuple[dict[str, str | None], Any]]:
        return [(of, json.loads(text)) for of, text in self.scripts if of.get("type") == "application/json"]

    def block(self, name: str) -> Any:
        (found,) = [value for of, value in self.blocks() if of.get("id") == name]
        return found

    @property
    def rows(self) -> list[Any]:
        return [row for of, value in self.blocks() if of.get("class") == "rows" for row in value]

    @property
    def details(self) -> dict[str, Any]:
        return {row[0]: self.block(f"image-{number}") for number, row in enumerate(self.rows)}


def image(path: Path, size: tuple[int, int] = (48, 36), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


FLAGS = [
    "--layer=conv1", "--method=smoothgradcam++", "--method=gradcam", "--target=cross", "--target=circle", "--filters=0"
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(model_file: Path, tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Path:
    """A folder with images in `in` and a run of them in `out`: two methods; an image that failed; maps that are blank."""
    top = tmp_path_factory.mktemp("run")
    for seed in range(4):
        image(top / "in" / f"{seed}.png", (48 + 8 * seed, 36), seed)
    image(top / "in" / HOSTILE, seed=5)
    image(top / "in" / MOSTLY_HARMLESS, seed=6)
    Image.new("RGB", (30, 30)).save(top / "in" / "black.png")
    (top / "in" / "broken.jpg").write_bytes(b"</script><script>alert(2)</script>")
    command = launcher.run("explain", *FLAGS, "--model", model_file, "-o", top / "out", top / "in", "-q")
    assert command.ended() == 3
    return top


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed at will; its images are where they were."""
    return Path(shutil.copytree(finished / "out", tmp_path / "out"))


def manifests(run: Path) -> dict[str, Manifest]:
    with Index(run) as index:
        paths = [row["path"] for row in index.rows()]
    found = {path: read_manifest(run / path) for path in paths}
    return {path: manifest for path, manifest in found.items() if manifest is not None}


def evaluate(run: Path, metrics: Callable[[str, int], dict[str, Any]]) -> None:
    """Write an evaluation.json: `metrics` of a path and a map's number."""
    images = {
        path: [
            {
                "map": {
                    "target": m.target.index,
                    **m.model_dump(mode="json", include={"layer", "method", "selection"}),
                },
                "metrics": metrics(path, number),
            }
            for number, m in enumerate(manifest.maps)
        ]
        for path, manifest in manifests(run).items()
    }
    total = {"layer": "conv1", "method": "gradcam", "metric": "pointing_game", "mean": 0.5, "low": 0.25, "high": 0.75}
    kept = {"smoothgradcam++": [0.4, None], "gradcam": [0.9, 0.7]}
    survivals = [
        {"layer": "conv1", "method": method, "stages": stages, "survives": method == "gradcam", "photos": []}
        for method, stages in kept.items()
    ]
    told = {"schema_version": 1, "what": {"seed": 3}, "images": images, "totals": [total | {"images": 4}]}
    told["sanity"] = {"stages": ["head", "<b>conv1"], "survivals": survivals}
    (run / "evaluation.json").write_text(json.dumps(told))


# --- the file


def test_every_image_and_map_is_in_the_file_as_its_manifest_has_it(smoothcam: Command, run: Path) -> None:
    ended = smoothcam("report", run)
    assert (ended.code, ended.out) == (0, "")
    assert "report.html" in ended.err
    page, expected = Page(run / "report.html"), manifests(run)
    classes = [label for _, label, _ in page.block("closing")["classes"]]
    assert [row[0] for row in page.rows] == sorted(expected)
    assert {HOSTILE, MOSTLY_HARMLESS, "broken.jpg"} <= expected.keys()
    closing = page.block("closing")
    for row in page.rows:
        path, worst, best, maps = row
        manifest, detail = expected[path], page.details[path]
        assert len(maps) == len(manifest.maps) == len(detail["maps"])
        for (kind, worry, target, _), drawn, record in zip(maps, detail["maps"], manifest.maps, strict=True):
            assert (drawn["layer"], drawn["method"], drawn["state"]) == (record.layer, record.method, record.state)
            assert closing["kinds"][kind]["method"] == record.method
            assert closing["kinds"][kind]["selection"]["filters"] == [0]
            assert classes[target] == record.target.label
            assert (WORRIES[worry] == record.state) or record.state == "ok"
        assert WORRIES[worst] == "failed" if manifest.status == "failed" else worst == min(m[1] for m in maps)
        known = best and [classes[best[0]], best[1]]
        assert known == ([manifest.predictions[0].label, manifest.predictions[0].probability] if best else None)
        assert [p["label"] for p in detail["predictions"]] == [p.label for p in manifest.predictions]
        assert closing["settings"][detail["settings"]] == manifest.settings
        assert (detail["error"] or {}).get("message") == (manifest.error and manifest.error.message)
    states = {record.state for manifest in expected.values() for record in manifest.maps}
    assert states == {"ok", "blank"}, "the run should have both"


def test_thumbnails_are_the_image_and_the_map(smoothcam: Command, run: Path, finished: Path) -> None:
    assert smoothcam("report", run).code == 0
    detail = Page(run / "report.html").details["3.png"]
    with (
        Image.open(finished / "in" / "3.png") as original,
        Image.open(run / "3.png" / _overlay(run, "3.png")) as overlay,
    ):
        for small, large in ((detail["image"]["small"], original), (detail["maps"][0]["small"], overlay)):
            with Image.open(io.BytesIO(base64.b64decode(small))) as thumbnail:
                assert thumbnail.size == large.size, "images smaller than a thumbnail are not enlarged"
                difference = np.asarray(thumbnail.convert("RGB"), float) - np.asarray(large.convert("RGB"), float)
                assert np.abs(difference).mean() < 12


def _overlay(run: Path, path: str) -> str:
    name = manifests(run)[path].maps[0].files.overlay
    assert name
    return name


def test_a_run_of_raw_maps_alone_is_drawn(smoothcam: Command, run: Path) -> None:
    with_files, without = _small_overlay(smoothcam, run), None
    for manifest in run.rglob("manifest.json"):
        told = json.loads(manifest.read_bytes())
        for entry in told["maps"]:
            entry["files"] |= {"overlay": None, "heatmap": None}
        manifest.write_text(json.dumps(told))
    without = _small_overlay(smoothcam, run)
    assert np.abs(with_files - without).mean() < 9, "one was compressed twice, and is noise"


def _small_overlay(smoothcam: Command, run: Path) -> np.ndarray:
    assert smoothcam("report", run).code == 0
    small = Page(run / "report.html").details["3.png"]["maps"][0]["small"]
    with Image.open(io.BytesIO(base64.b64decode(small))) as picture:
        return np.asarray(picture.convert("RGB"), float)


def test_the_cells_are_the_raw_map(smoothcam: Command, run: Path) -> None:
    file = next((run / "2.png").glob("*.npy"))
    values = np.load(file)
    values[3, 4] = np.nan
    np.save(file, values)
    assert smoothcam("report", run).code == 0
    maps = Page(run / "report.html").details["2.png"]["maps"]
    cells = next(m["cells"] for m in maps if m["files"]["raw"].endswith(_quoted(file.name)))
    levels = np.frombuffer(base64.b64decode(cells["data"]), "<u2").reshape(values.shape)
    assert (levels == 65535).tolist() == np.isnan(values).tolist()
    shown = cells["low"] + (cells["high"] - cells["low"]) * levels / 65534
    np.testing.assert_allclose(shown[levels < 65535], values[levels < 65535], atol=np.nanmax(values) * 2e-5)


def _quoted(name: str) -> str:
    return quote(name)


def test_links_lead_to_the_images_and_maps_also_from_elsewhere(smoothcam: Command, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a b" / "page.html"
    elsewhere.parent.mkdir()
    assert smoothcam("report", run, "-o", elsewhere).code == 0
    assert not (run / "report.html").exists()
    met = 0
    for detail in Page(elsewhere).details.values():
        links = [detail["image"]["href"], detail["manifest"], *(f for m in detail["maps"] for f in m["files"].values())]
        for href in links:
            assert href.startswith("./")
            assert not set("<>\"'&?# ") & set(href)
            met += Path(elsewhere.parent, unquote_to_bytes(href).decode()).is_file()
            assert Path(elsewhere.parent, unquote_to_bytes(href).decode()).is_file(), href
    assert met > 20


def test_metrics_come_from_the_evaluation_and_make_maps_suspicious(smoothcam: Command, run: Path) -> None:
    def metrics(path: str, number: int) -> dict[str, Any]:
        border = 0.9 if (path, number) == ("1.png", 2) else 0.1
        return {"border_energy": border, "odd": float("nan"), "iou_best": None, "pointing_game": True}

    evaluate(run, metrics)
    assert smoothcam("report", run).code == 0
    page = Page(run / "report.html")
    closing = page.block("closing")
    assert closing["columns"] == ["noise_effect", "standard_error", "border_energy", "odd", "iou_best", "pointing_game"]
    assert closing["totals"][0]["mean"] == 0.5
    for path, worst, _, maps in page.rows:
        for number, (_, worry, _, values) in enumerate(maps):
            told = dict(zip(closing["columns"], values, strict=False))
            assert (told["border_energy"], told["odd"], told["iou_best"], told["pointing_game"]) == (
                0.9 if (path, number) == ("1.png", 2) else 0.1, None, None, 1
            )  # fmt: skip
            over = any((told.get(name) or 0) > most for name, most in SUSPICIOUS.items())
            assert (WORRIES[worry] == "suspicious") == (over and maps[number][1] >= WORRIES.index("suspicious"))
        if path == "1.png":
            assert WORRIES[maps[2][1]] == "suspicious"
            assert worst <= WORRIES.index("suspicious")


def test_an_image_that_is_gone_or_another_one_by_now_is_not_shown_as_the_one_explained(
    smoothcam: Command, run: Path, tmp_path: Path
) -> None:
    record = json.loads((run / "run.json").read_bytes())
    copied = shutil.copytree(record["root"], tmp_path / "images")
    (run / "run.json").write_text(json.dumps(record | {"root": str(copied)}))
    (copied / "0.png").unlink()
    image(copied / "1.png", seed=99)
    assert smoothcam("report", run).code == 0
    details = Page(run / "report.html").details
    told = {
        path: (details[path]["image"]["state"], details[path]["image"]["small"] is None)
        for path in ("0.png", "1.png", "2.png")
    }
    assert told == {"0.png": ("gone", True), "1.png": ("changed", True), "2.png": ("same", False)}
    assert details["1.png"]["maps"][0]["small"]


def test_damaged_results_cost_their_pictures_and_nothing_else(smoothcam: Command, run: Path) -> None:
    for number, file in enumerate(sorted((run / "2.png").glob("*.*"))):
        if file.name != "manifest.json":
            file.write_bytes(file.read_bytes()[: 40 * (number % 3)])
    (run / "3.png" / "manifest.json").write_text("{")
    ended = smoothcam("report", run)
    assert ended.code == 0
    assert "1 more are in the index" in ended.err
    page = Page(run / "report.html")
    assert "3.png" not in page.details
    assert all(m["small"] is None and m["cells"] is None for m in page.details["2.png"]["maps"])


# --- nothing from outside has any power


def test_the_file_asks_for_nothing_from_anywhere_and_allows_nothing_but_its_own_script(
    smoothcam: Command, run: Path
) -> None:
    assert smoothcam("report", run).code == 0
    page = Page(run / "report.html")
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form", "img"}
        assert not {"src", "srcset", "style", "background", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    code = [text for of, text in page.scripts if "type" not in of]
    assert len(code) == 1
    of_others = page.raw.decode().replace("http://www.w3.org/2000/svg", "")
    without_data = re.sub(r'<script type="application/json".*?</script>', "", of_others, flags=re.DOTALL)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_data.replace("// ----", ""))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|XMLHttp", code[0]
    )
    policy = next(attributes["content"] for _, attributes in page.tags if attributes.get("http-equiv")) or ""
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    style = re.search(r"<style>(.*?)</style>", page.raw.decode(), re.DOTALL)
    assert style
    for directive, text in (("script-src", code[0]), ("style-src", style[1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"
    assert directives["img-src"] == "data: file: 'self'"


ALL_OF_IT = {"filters": None, "region": False, "subset": None, "top": None}


def _entries(count: int, text: str = "image", small: str = "") -> Iterator[Entry]:
    """Images as a run of one method may have them; every tenth failed."""
    states = ["ok", "ok", "ok", "blank", "suspicious", "ok", "failed", "ok", "nonfinite", "ok"]
    map_record = {
        "layer": "conv1", "method": "gradcam", "target": {"index": 1, "label": text}, "selection": ALL_OF_IT, "state": "ok",
        "grid": [2, 2], "min": 0, "max": 1, "noise": "", "head": "affine", "derivatives": "exact", "guarded_cells": 0,
        "files": {}, "cells": None, "kind": 0, "small": small or None,
    }  # fmt: skip
    detail = {
        "image": {"href": "./x.jpg", "state": "same", "small": small or None}, "size": [4, 3], "notes": [text], "error": None,
        "predictions": [], "settings": 0, "model": text, "manifest": "./m", "box": [0, 0, 1, 1], "joint": [],
    }  # fmt: skip
    for i in range(count):
        worry = WORRIES.index(states[i % 10])
        maps = [] if worry == 0 else [[0, worry, 13, [i % 7 / 7, i / count]]]
        row = [f"{text}/{i:05}.jpg", worry, [i % 13, i / count], maps]
        yield Entry(row, detail | {"maps": [map_record] if maps else []})


def _write(path: Path, entries: Iterable[Entry], text: str = "run") -> Path:
    closing = {
        "columns": ["noise_effect", "standard_error"], "settings": [{text: text}], "totals": [], "evaluation": {}, "images": 0,
        "kinds": [{"method": "gradcam", "layer": "conv1", "target": 1, "selection": ALL_OF_IT}],
        "worries": WORRIES, "suspicious": SUSPICIOUS, "titles": {}, "strategies": [], "sanity": None, "thresholds": THRESHOLDS,
        "classes": [*([f"c{i}", f"class {i}", i] for i in range(13)), ["text", text, 13]], "accuracy": None, "by_class": [],
        "doubtful": [], "measured": {},
    }  # fmt: skip
    with path.open("wb") as stream:
        write_page(
            stream,
            {"kind": "run", "root": text, "folder": text, "model": {"name": text}, "expected": 0},
            entries,
            lambda: closing,
        )
    return path


@given(
    text=st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            [
                "</script><script>alert(1)</script>",
                "<!--<script>",
                "]]>",
                "\u2028\u2029",
                "&lt;",
                "\ud800",
                "%DATA%",
                "%SCRIPT%",
            ]
        ),
    )
)
def test_no_text_ends_its_block_of_data_and_all_of_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    page = Page(_write(tmp_path_factory.getbasetemp() / "any.html", _entries(3, text), text))
    assert len(page.scripts) == 7
    data = re.findall(rb'<script type="application/json" [^>]*>(.*?)</script>', page.raw)
    assert len(data) == 6
    assert not any(set(b"<>&") & set(block) or max(block) > 126 for block in data)
    assert [row[0] for row in page.rows] == [f"{text}/{i:05}.jpg" for i in range(3)]
    assert page.block("about")["root"] == text


def test_two_thousand_images_are_written_in_little_memory(tmp_path: Path) -> None:
    small = "A" * 6_000
    list(_entries(1))
    tracemalloc.start()
    path = _write(tmp_path / "large.html", _entries(2_000, small=small))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = path.stat().st_size
    assert 2 * 2_000 * len(small) < size < 1.15 * 2 * 2_000 * len(small) + 500_000
    assert peak < 3_000_000


# --- the path


@pytest.mark.parametrize("there", ["nothing", "empty", "file"])
def test_what_is_no_run_is_exit_2_and_one_line(smoothcam: Command, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "out"
    if there == "empty":
        folder.mkdir()
    elif there == "file":
        folder.write_text("a file")
    ended = smoothcam("report", folder)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "holds no run" in ended.err
    assert not list(tmp_path.rglob("*.html"))


def test_only_a_report_is_ever_replaced(smoothcam: Command, run: Path, tmp_path: Path) -> None:
    assert smoothcam("report", run).code == smoothcam("report", run).code == 0
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<!doctype html>\nten years")
    for path in (thesis, tmp_path / "not there" / "x.html", tmp_path):
        ended = smoothcam("report", run, "-o", path)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
    assert thesis.read_text().endswith("ten years")


def test_a_report_that_cannot_be_finished_leaves_the_last_one(smoothcam: Command, run: Path) -> None:
    assert smoothcam("report", run).code == 0
    before, names = (run / "report.html").read_bytes(), sorted(run.iterdir())
    (run / "evaluation.json").write_text('{"images": []}')
    ended = smoothcam("report", run)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "evaluation.json" in ended.err
    (run / "evaluation.json").unlink()
    command: list[str | Path] = [
        "bash",
        "-c",
        'ulimit -f 8; exec "$@"',
        "-",
        sys.executable,
        "-m",
        "cam_cli",
        "report",
        run,
    ]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr.count("\n")) == (1, 1)
    assert (run / "report.html").read_bytes() == before
    assert sorted(run.iterdir()) == names


def test_a_run_goes_on_after_it_was_shown(smoothcam: Command, run: Path, finished: Path, model_file: Path) -> None:
    assert smoothcam("report", run).code == 0
    ended = smoothcam("explain", *FLAGS, "--model", model_file, "-o", run, finished / "in", "--json")
    assert [row["skipped"] for row in ended.rows] == [True] * len(ended.rows)
    assert (run / "report.html").is_file()


def test_the_report_needs_no_tensorflow(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cam_cli.report.write import write_report; "
        f"write_report(Path({str(run)!r})); print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- in a browser


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def shown(window: Browser, smoothcam: Command, run: Path) -> Iterator[SimpleNamespace]:
    """The report of the run, evaluated, in a window; whatever the page does, the console stays silent."""
    order = ["black.png", HOSTILE, *sorted(manifests(run))]
    metrics = {path: (1 + order.index(path)) / 100 for path in manifests(run)}
    evaluate(run, lambda path, _: {"energy_inside": metrics[path], "border_energy": 0.9 if path == "2.png" else 0.1})
    assert smoothcam("report", run).code == 0
    window.fit(1280, 900)
    window.open(run / "report.html")
    yield SimpleNamespace(window=window, run=run, metrics=metrics)
    complaints = [entry["message"] for entry in window.logs() if entry["level"] in {"SEVERE", "WARNING"}]
    assert not complaints


def names(window: Browser) -> list[str]:
    found: list[str] = window.run("return [...document.querySelectorAll('#grid .short')].map((e) => e.title)")
    return found


@in_a_browser
def test_what_needs_a_look_comes_first(shown: SimpleNamespace) -> None:
    maps = manifests(shown.run)
    worries = []
    for name in names(shown.window):
        manifest = maps[name]
        blank = any(m.state == "blank" for m in manifest.maps)
        unsure = name == "2.png" or any((m.standard_error or 0) > 0.1 for m in manifest.maps)
        worries.append(0 if manifest.status == "failed" else 2 if blank else 3 if unsure else 4)
    assert worries == sorted(worries)
    assert {0, 2, 3} <= set(worries)
    assert len(worries) == len(maps)


@in_a_browser
def test_sorting_and_filtering(shown: SimpleNamespace) -> None:
    window, expected = shown.window, manifests(shown.run)
    evaluated = [path for path in expected if expected[path].maps]
    window.choose("#sort", "energy_inside")
    by_metric = sorted(evaluated, key=lambda path: shown.metrics[path])
    assert names(window)[: len(evaluated)] == by_metric
    window.click("#direction")
    assert names(window)[: len(evaluated)] == by_metric[::-1], "those without a value stay last"
    assert names(window)[-1] == "broken.jpg"
    window.choose("#sort", "confidence")
    by_confidence = sorted(evaluated, key=lambda path: -expected[path].predictions[0].probability)
    assert names(window)[: len(evaluated)] == by_confidence
    window.click('[data-chip="failed"]')
    assert names(window) == ["broken.jpg"]
    window.click('[data-chip="all"]')
    window.click('[data-view="figures"]')
    middle = sorted(shown.metrics[path] for path in evaluated)[2]
    window.type('[aria-label="energy inside the object at least"]', str(middle))
    window.click('[data-view="images"]')
    assert set(names(window)) == {path for path in evaluated if shown.metrics[path] >= middle}
    window.type("#search", "B & C")
    assert names(window) == [MOSTLY_HARMLESS]
    window.click("#reset")
    assert len(names(window)) == len(expected)
    window.click("#more")
    number, label = window.run(
        "const o = document.querySelectorAll('#predicted option')[1]; return [o.value, o.textContent.split(' (')[0]]"
    )
    window.choose("#predicted", number)
    assert set(names(window)) == {path for path in evaluated if expected[path].predictions[0].label == label}


@in_a_browser
def test_the_plots_count_what_is_left(shown: SimpleNamespace) -> None:
    shown.window.click('[data-view="figures"]')
    shown.window.wait("document.querySelectorAll('#plots rect').length > 0")
    plots = shown.window.run(
        "return [...document.querySelectorAll('#plots svg')].map((e) => e.getAttribute('aria-label'))"
    )
    assert any(text.startswith("Distribution of energy inside the object: 7 images") for text in plots)
    shown.window.type("#search", "black")
    plots = shown.window.run(
        "return [...document.querySelectorAll('#plots svg')].map((e) => e.getAttribute('aria-label'))"
    )
    assert any(text.startswith("Distribution of energy inside the object: 1 image,") for text in plots)


@in_a_browser
def test_a_method_that_survives_a_randomised_network_is_flagged(shown: SimpleNamespace) -> None:
    shown.window.click('[data-view="figures"]')
    (head, *rows) = [text.split("\t") for text in shown.window.texts("#survivals tr")]
    assert head[:4] == ["method", "layer", "down to head", "down to <b>conv1"]
    assert rows[0][:4] == ["smoothgradcam++", "conv1", "0.4", "–"]
    assert rows[1][:4] == ["gradcam", "conv1", "0.9", "0.7"]
    assert [("survives" in row[4]) for row in rows] == [False, True]


@in_a_browser
def test_the_sliders_fade_from_image_to_overlay(shown: SimpleNamespace) -> None:
    window = shown.window
    opacity = "return [...document.querySelectorAll('#grid img + img')].map((e) => e.style.opacity)"
    assert set(window.run(opacity)) == {"1"}
    window.type("#grid li:has(img + img) input", "Home")
    assert sorted(set(window.run(opacity))) == ["0", "1"]
    window.type("#grid li:has(img + img) input", "Right", "Right")
    assert "0.02" in window.run(opacity)
    window.click("#more")
    window.type("#all", "Home")
    assert set(window.run(opacity)) == {"0"}


@in_a_browser
def test_an_image_in_detail_by_mouse_and_by_keyboard(shown: SimpleNamespace) -> None:
    window, run = shown.window, shown.run
    window.choose("#sort", "path")
    window.click('.open[aria-label="Details of 1.png"]')
    assert window.text("#detail-title") == "1.png"
    manifest = manifests(run)["1.png"]
    facts = window.text("#facts")
    assert all(p.label in facts for p in manifest.predictions)
    assert len(window.texts("#maps button")) == len(manifest.maps) == 4
    window.wait("[...document.querySelectorAll('#stage img')].every((e) => e.complete && e.naturalWidth)")
    assert window.run("return document.querySelectorAll('#stage img')[1].src").startswith("file:")
    for number, entry in enumerate(manifest.maps):
        window.click(f"#maps button:nth-child({number + 1})")
        assert f"{entry.target.label} ({entry.target.index})" in window.text("#facts")
        values = np.load(run / "1.png" / str(entry.files.raw))
        rows, columns = values.shape
        for row, column in ((0, 0), (rows // 2, columns - 1)):
            window.point("#stage", (column + 0.5) / columns, (row + 0.5) / rows)
            said = re.fullmatch(r"neuron \((\d+), (\d+)\): ([-\d.e+]+)(, .*)?", window.text("#neuron"))
            assert said
            assert (int(said[1]), int(said[2])) == (row, column)
            assert float(said[3]) == pytest.approx(values[row, column], rel=6e-3, abs=2e-5 * float(values.max()))
    window.run("document.getElementById('stage').focus()")
    window.press("Left")
    assert window.text("#neuron").startswith(f"neuron ({rows // 2}, {columns - 2})")
    window.type("#fade", "Home")
    assert window.run("return document.querySelectorAll('#stage img')[1].style.opacity") == "0"
    window.click("#neurons")
    assert window.run("return document.querySelector('#stage canvas').hidden") is False
    window.run("document.getElementById('next').focus()")
    window.press("Right")
    assert window.text("#detail-title") == "2.png"
    window.press("Left")
    window.press("Left")
    assert window.text("#detail-title") == "0.png"
    window.press("Escape")
    assert window.run("return document.getElementById('detail').open") is False
    window.wait("document.activeElement.getAttribute('aria-label') === 'Details of 0.png'")
    window.press("Right")
    assert window.run("return document.activeElement.getAttribute('aria-label')") == "Details of 1.png"


@in_a_browser
def test_hostile_names_do_nothing_and_are_read_as_they_are(shown: SimpleNamespace) -> None:
    window = shown.window
    window.run("window.alert = () => { document.title = 'hacked'; }")
    window.click(f'.open[aria-label="Details of {HOSTILE}"]')
    assert window.text("#detail-title") == HOSTILE
    window.wait("[...document.querySelectorAll('#stage img')].every((e) => e.complete && e.naturalWidth)")
    window.press("Escape")
    window.click('.open[aria-label="Details of broken.jpg"]')
    assert "not a JPEG" in window.text("#facts")
    assert window.run("return document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert "hacked" not in window.run("return document.title")
    refused = (
        "const s = document.createElement('script'); s.text = 'document.title = \"hacked\"'; document.body.append(s)"
    )
    with pytest.raises(AssertionError):
        window.run(refused)  # trusted types: not even a script of the page's own could make text into code
    assert "hacked" not in window.run("return document.title")
    window.logs()


@in_a_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_narrow_and_in_the_dark(shown: SimpleNamespace, dark: bool) -> None:
    window = shown.window
    for opened in (False, True):
        if opened:
            window.click(".open")
        for width in (400, 1280):
            window.fit(width, 800, dark=dark)
            sizes = window.run(
                "return ['html', '#detail'].map((s) => document.querySelector(s)).map((e) => [e.scrollWidth, e.clientWidth])"
            )
            assert all(scroll <= client for scroll, client in sizes), f"{width}: {sizes}"
            for selector in (
                "#count",
                "#grid .name",
                "#grid .says",
                ".badge.failed",
                ".badge.suspicious",
                "#export summary",
                "#lead",
            ):
                assert _contrast(window, selector) >= 4.5, selector
    assert window.run("return getComputedStyle(document.querySelector('dialog')).animationName") == "none"


def _contrast(window: Browser, selector: str) -> float:
    """Return the contrast (WCAG 2) of an element's text with what it is written on."""
    front, back = window.run(
        """let element = document.querySelector(arguments[0]);
        const front = getComputedStyle(element).color;
        const empty = 'rgba(0, 0, 0, 0)';
        while (getComputedStyle(element).backgroundColor === empty) element = element.parentElement;
        return [front, getComputedStyle(element).backgroundColor];""",
        selector,
    )
    shades = []
    for colour in (front, back):
        channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        shades.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(shades) + 0.05) / (min(shades) + 0.05)


@in_a_browser
def test_everything_that_can_be_used_has_a_name(shown: SimpleNamespace) -> None:
    shown.window.click(".open")
    nameless = shown.window.run(
        """return [...document.querySelectorAll('button, input, select, img, svg, a')].filter((e) => !(
            e.getAttribute('aria-label') || e.getAttribute('alt') || (e.labels && e.labels[0] && e.labels[0].textContent.trim())
            || (e.matches('button, a') && (e.textContent.trim() || e.querySelector('[alt]')))
        )).map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert [e for e in nameless if "hidden" not in e] == []


@in_a_browser
def test_ten_thousand_images_open_a_page_at_a_time(window: Browser, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=60)
    small = base64.b64encode(buffer.getvalue()).decode()
    path = _write(tmp_path / "10000.html", _entries(10_000, small=small))
    window.fit(1280, 900)
    window.open(path)
    assert window.text("#count") == "10,000 images"
    assert len(names(window)) == 60
    assert window.run("return document.querySelectorAll('*').length") < 12_000, "only the page in sight is built"
    assert window.text("#of") == "of 167"
    window.click("#after")
    assert window.run("return document.getElementById('page').value") == "2"
    window.choose("#sort", "standard_error")
    window.click("#direction")
    assert names(window)[0] == "image/09999.jpg"
    window.type("#search", "0777")
    assert len(names(window)) == 11
    assert not [entry for entry in window.logs() if entry["level"] == "SEVERE"]
