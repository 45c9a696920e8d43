"""What a contact sheet shows, and in which order; `render.sheet` draws it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_written import NAMES, row_of
from PIL import Image

from cam_cli.config import RunConfig
from cam_cli.decoding.image import Decoded
from cam_cli.pipeline import contact_sheet as module
from cam_cli.pipeline.contact_sheet import write_sheet
from cam_cli.pipeline.stats import MOST_ROWS, Stats
from cam_cli.render.sheet import Cell, Sheet, contact_sheet

pytestmark = pytest.mark.pure


class Store:
    """A store in which every map has the same picture."""

    def __init__(self) -> None:
        self.sheet = b""

    def key(self, relative: object) -> str:
        return str(relative)

    def read(self, _: str, name: str) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (40, 30), (90, 20, 0)).save(stream, name.rpartition(".")[2].replace("jpg", "jpeg"))
        return stream.getvalue()

    def write_sheet(self, data: bytes) -> str:
        self.sheet = data
        return "out/sheet.jpg"


class Decoders:
    """Decoders that find no image."""

    def decode(self, jobs: Any, *_: object, **__: object) -> Iterator[tuple[Any, Decoded]]:
        yield from ((row, Decoded(None, None)) for row, _, _ in jobs)


class Sheets:
    """Writes sheets of rows, and keeps what was drawn on the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cells: Sequence[Sequence[Cell]] = ()
        self.titles: Sequence[str] | None = ()
        self.store = Store()
        monkeypatch.setattr(module, "contact_sheet", self._draw)

    def _draw(self, cells: Sequence[Sequence[Cell]], titles: Sequence[str] | None, cell: int) -> Sheet:
        self.cells, self.titles = cells, titles
        return contact_sheet(cells, titles, cell)

    def __call__(self, rows: Sequence[Any], **config: Any) -> str:
        stats = Stats()
        for row in rows:
            stats.meet(row["path"])
            stats.count(row)
        store: Any = self.store
        decoders: Any = Decoders()
        return write_sheet(store, Path("images"), stats, RunConfig(**config), decoders)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> Sheets:
    return Sheets(monkeypatch)


def shown(path: str, ranked: list[int], true: int, overlay: str = "a.overlay.jpg") -> Any:
    """The row of an image with a map of the predicted class, and one of the true class if that is another one."""
    selection = {"filters": None, "region": False, "subset": None, "top": None}
    maps = [
        {
            "layer": "conv", "method": "gradcam", "state": "ok", "selection": selection,
            "target": {"index": index, "label": NAMES[index]}, "files": {"raw": None, "heatmap": None, "overlay": overlay},
        }
        for index in dict.fromkeys((ranked[0], true))
    ]  # fmt: skip
    truth = {"index": true, "label": NAMES[true], "wnid": None, "rank": None, "probability": None}
    judged = {"truth": truth, "also_true": [], "unknown_truth": None, "correct": ranked[0] == true}
    return row_of(path, ranked, maps=maps, **judged)


def test_wrong_images_come_first_and_are_marked(sheets: Sheets) -> None:
    rows = [shown("a.jpg", [1], 1), shown("b.jpg", [2], 3), shown("c.jpg", [4], 4), shown("d.jpg", [5], 1)]
    said = sheets(rows, targets=("predicted", "truth"), truth="folder")
    assert [row[0].caption for row in sheets.cells] == ["b.jpg", "d.jpg", "a.jpg", "c.jpg"]
    assert [row[0].mark for row in sheets.cells] == ["wrong: truth is d", "wrong: truth is b", "", ""]
    assert said == "contact sheet: out/sheet.jpg (4 of 4 images, 2 of them wrong, which come first)"
    with Image.open(io.BytesIO(sheets.store.sheet)) as drawn:
        assert drawn.format == "JPEG"
        assert np.asarray(drawn).std() > 5


def test_a_true_class_that_is_the_predicted_one_is_said_to_be(sheets: Sheets) -> None:
    sheets([shown("a.jpg", [1], 1), shown("b.jpg", [2], 3)], targets=("predicted", "truth"), truth="folder")
    assert sheets.titles == ["image", "gradcam predicted", "gradcam truth"]
    wrong, right = sheets.cells
    assert [cell.caption for cell in wrong[1:]] == ["c 0.50", "d"]
    assert all(cell.image for cell in wrong[1:])
    assert (right[2].image, right[2].instead) == (None, "= predicted")


def test_classes_from_a_file_that_an_image_lacks_are_not_said_to_be_the_predicted_one(
    sheets: Sheets, tmp_path: Path
) -> None:
    rows = [shown("a.jpg", [1], 1), shown("b.jpg", [2], 3)]
    sheets(rows, targets=("predicted", "truth"), truth="folder", targets_from=tmp_path / "classes.csv")
    assert sheets.cells[1][2].instead == ""


def test_wrong_images_are_shown_however_late_they_come(sheets: Sheets) -> None:
    rows = [shown(f"{number}.jpg", [1], 1) for number in range(MOST_ROWS + 20)]
    said = sheets([*rows, shown("late.jpg", [1], 2)], truth="folder")
    assert len(sheets.cells) == MOST_ROWS
    assert [row[0].caption for row in sheets.cells[:2]] == ["late.jpg", "0.jpg"]
    assert said.endswith(f"({MOST_ROWS} of {len(rows) + 1} images, 1 of them wrong, which come first)")


def test_pictures_of_older_runs_are_read(sheets: Sheets) -> None:
    sheets([shown("a.jpg", [1], 1, overlay="a.overlay.png"), shown("b.jpg", [1], 1)])
    assert all(row[1].image and row[1].image.size == (40, 30) for row in sheets.cells)


def test_failed_images_say_why(sheets: Sheets) -> None:
    sheets([row_of("bad.jpg", []), shown("a.jpg", [1], 1)])
    assert [cell.instead for cell in sheets.cells[0]] == ["not readable", "failed: cut off"]
