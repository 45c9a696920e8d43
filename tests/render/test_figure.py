"""Figures for papers: what they say, that they need no display, and that the same picture gives the same bytes."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cam_cli.errors import UsageError
from cam_cli.render import figure as module
from cam_cli.render.figure import DPI, Caption, Scale, check_installed, figure

pytestmark = pytest.mark.pure

PIXELS = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
OVER = Image.new("RGB", (40, 30), (200, 40, 0))
CAPTION = Caption("ox", 0.6539, "cow", ("gradcam", "block5_conv3"))
SCALE = Scale("inferno", 0.0, 16.5, 1.0, True)
MADE_ALONE = """
import sys
import numpy as np
from PIL import Image
from cam_cli.render.figure import Caption, Scale, figure
pixels = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
caption = Caption("ox", 0.6539, "cow", ("gradcam", "block5_conv3"))
over = Image.new("RGB", (40, 30), (200, 40, 0))
sys.stdout.buffer.write(figure(pixels, over, caption, Scale("inferno", 0.0, 16.5, 1.0, True), sys.argv[1]))
"""


def words(svg: bytes) -> str:
    """The text of an SVG: matplotlib writes each as a comment before the glyphs it is drawn with."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.decode()))


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF-")])
def test_another_process_without_a_display_writes_the_same_bytes(ending: str, begins: bytes) -> None:
    made = figure(PIXELS, OVER, CAPTION, SCALE, ending)
    assert made.startswith(begins)
    folder = Path(__file__).parent.parent.parent
    environ = {
        "PYTHONPATH": str(folder),
        "PATH": "",
        "HOME": "/nonexistent",
        "PYTHONHASHSEED": "3",
        "MPLBACKEND": "Agg",
    }
    command = [sys.executable, "-W", "ignore", "-c", MADE_ALONE, ending]
    assert subprocess.run(command, env=environ, capture_output=True, check=True).stdout == made


def test_it_says_class_probability_truth_method_layer_and_what_the_colours_stand_for() -> None:
    text = words(figure(PIXELS, OVER, CAPTION, SCALE, "svg"))
    for said in ("ox 0.65, truth: cow", "gradcam, block5_conv3", "1.0 is 16.5 in the raw map"):
        assert said in text
    unknown = words(figure(PIXELS, OVER, Caption("ox", None, None, ("rise",)), Scale("jet", 0.25, 1, 1, False), "svg"))
    assert "truth" not in unknown
    assert "0.0 is 0.25, 1.0 is 1 in the raw map" in unknown


@pytest.mark.parametrize("label", ["$x^2$ \\frac", "日本語", "a\nb\0\udcff", "x" * 900, ""])
def test_any_class_name_is_written_as_it_is_and_fits(label: str) -> None:
    made = Image.open(
        io.BytesIO(figure(PIXELS, OVER, Caption(label, 1.0, label, ("gradcam", "y" * 900)), SCALE, "png"))
    )
    ink = np.argwhere(np.asarray(made.convert("L")) < 128)
    assert ink[:, 1].max() < made.width - 5


def test_a_png_has_the_dots_of_print_and_both_pictures() -> None:
    made = Image.open(io.BytesIO(figure(PIXELS, OVER, CAPTION, SCALE, "png")))
    assert made.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert made.width == round(6.8 * DPI)
    pixels = np.asarray(made.convert("RGB")).astype(int)
    of_overlay = (np.abs(pixels - (200, 40, 0)).max(axis=-1) <= 2)[:, made.width // 4 :]
    assert of_overlay.any(axis=1).sum() / of_overlay.any(axis=0).sum() == pytest.approx(30 / 40, abs=0.02)


def test_a_map_that_cannot_be_drawn_has_no_colour_bar() -> None:
    assert "raw map" not in words(figure(PIXELS, OVER, CAPTION, None, "svg"))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'smoothcam\[figures\]'"):
        check_installed()


def test_nothing_imports_matplotlib_before_a_figure_is_asked_for() -> None:
    code = "import sys, cam_cli.cli, cam_cli.render.figure, cam_cli.pipeline.run; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
