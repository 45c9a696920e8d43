"""The table "where to change what" of docs/architecture.md, done: a method, a picture format, a field of the manifest.

A method is a row of `cam_cli.methods` and a formula of the engine; a format and a field are three edits each.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launcher import ALONE
from PIL import Image

from cam_cli.engine import baselines, methods
from cam_cli.methods import METHODS, drawing_of, families
from cam_cli.render.colour import table
from cam_cli.render.picture import drawn

PACKAGE = Path(__file__).parent.parent.parent / "cam_cli"
EDITS = [
    # a picture format
    ("config.py", 'picture_format: Literal["jpeg", "png"]', 'picture_format: Literal["jpeg", "png", "tiff"]'),
    ("results/layout.py", 'PICTURE_FORMATS = {"jpeg": "jpg"', 'PICTURE_FORMATS = {"tiff": "tif", "jpeg": "jpg"'),
    (
        "render/encode.py",
        "ENCODERS: Final[dict[str, Callable[[Image.Image], bytes]]] = {",
        """def tiff(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "TIFF", compression="tiff_lzw")
    return stream.getvalue()


ENCODERS: Final[dict[str, Callable[[Image.Image], bytes]]] = {"tiff": tiff, """,
    ),
    # a field of the manifest
    (
        "results/manifest.py",
        "    files: MapFiles\n",
        '    lit: float | None = Field(None, description="share of the cells above 0")\n    files: MapFiles\n',
    ),
    (
        "engine/maps.py",
        "    @property\n    def state(",
        """    @property
    def lit(self) -> float:
        return float((self.values > 0).mean())

    @property
    def state(""",
    ),
    ("report/page.js", '["state", {', '["lit", number(map.lit)], ["state", {'),
]

WITH_ONE_MORE = f"""
{ALONE}
from cam_cli.methods import METHODS, Drawing, Method

METHODS["peak"] = Method("peak", "layer", "", "The largest feature map, cell by cell.", Drawing(from_minimum=True, power=0.5))

from cam_cli.engine.methods import LAYER_FORMULAS

LAYER_FORMULAS["peak"] = lambda found, selection: found.A.max(axis=-1) + 1

if __name__ == "__main__":
    from cam_cli.cli import main

    main()
"""


def test_every_method_has_a_formula_and_every_formula_a_method() -> None:
    formulas = {
        "layer": methods.LAYER_FORMULAS,
        "two layers": methods.TWO_LAYER_FORMULAS,
        "input": methods.INPUT_FORMULAS,
    }
    for family, known in formulas.items():
        assert {name for name, method in METHODS.items() if method.family == family} == known.keys()
    assert {name for name, method in METHODS.items() if method.family == "layer++"} == {"smoothgradcam++", "gradcam++"}
    assert {name for name, method in METHODS.items() if method.family == "peer"} == set(baselines.BASELINES)
    assert families(["rise", "gradcam", "cam"]) == {"peer", "layer"}
    assert all(name == method.name and re.fullmatch(r"[A-Z].*\.", method.help) for name, method in METHODS.items())
    assert [name for name, method in METHODS.items() if not method.in_file_names] == ["smoothgradcam++"]


@pytest.fixture(scope="module")
def run(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `out` of the package with all three, its evaluation and its report."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "with_one_more.py").write_text(WITH_ONE_MORE)
    shutil.copytree(PACKAGE, folder / "cam_cli", ignore=shutil.ignore_patterns("__pycache__"))
    for path, before, after in EDITS:
        source = folder / "cam_cli" / path
        assert source.read_text().count(before) == 1, f"{path} has {before!r} no more, or more than once"
        source.write_text(source.read_text().replace(before, after))
    (folder / "in").mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 48)).save(folder / "in" / f"{seed}.png")

    def smoothcam(*arguments: object) -> str:
        command = [sys.executable, str(folder / "with_one_more.py"), *map(str, arguments)]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "smoothgrad, peak; with the extra" in " ".join(smoothcam("explain", "--help").split())
    both = ("--method", "peak", "--method", "smoothgradcam++", "--layer", "conv1", "--colormap", "viridis",
        "--picture-format", "tiff")  # fmt: skip
    smoothcam("explain", "in", "-o", "out", "--model", model_file, *both, "--write", "raw,heatmap,overlay", "-q")
    smoothcam("evaluate", "out", "--stability", "--sanity", "--images", "1", "-q")
    smoothcam("report", "out", "-q")
    return folder


def test_it_has_maps_and_file_names_of_its_own(run: Path) -> None:
    manifest = json.loads((run / "out" / "0.png" / "manifest.json").read_text())
    record = {entry["method"]: entry for entry in manifest["maps"]}["peak"]
    target = record["target"]["index"]
    assert record["files"]["raw"] == f"conv1.{target}.peak.npy"
    assert record["min"] >= 1, "as its formula says"
    assert record["noise"] == "0 samples"


def test_it_is_drawn_by_its_rule_in_pictures_and_on_the_page(run: Path) -> None:
    folder = run / "out" / "0.png"
    values = np.load(next(folder.glob("*.peak.npy")))
    shares = ((values - values.min()) / (values.max() - values.min())) ** 0.5
    with Image.open(next(folder.glob("*.peak.heatmap.png"))) as picture:
        corner = np.asarray(picture.convert("RGB"))[0, 0].astype(int)
    assert np.abs(corner - table("viridis")[round(255 * shares[0, 0])]).max() <= 2
    page = (run / "out" / "report.html").read_text()
    details = [json.loads(text) for text in re.findall(r'id="image-\d+">(.*?)</script>', page)]
    detail = next(detail for detail in details if "/0.png/" in detail["manifest"])
    cells = next(m["cells"] for m in detail["maps"] if m["method"] == "peak")
    levels = np.frombuffer(base64.b64decode(cells["data"]), "<u2")
    held = cells["low"] + (cells["high"] - cells["low"]) * levels / 65534
    on_the_page = np.clip((held - cells["floor"]) / (cells["ceiling"] - cells["floor"]), 0, 1) ** cells["power"]
    np.testing.assert_allclose(on_the_page, shares.ravel(), atol=0.01)


def test_pictures_have_the_new_format_and_are_read_back(run: Path) -> None:
    manifest = json.loads((run / "out" / "0.png" / "manifest.json").read_text())
    for record in manifest["maps"]:
        with Image.open(run / "out" / "0.png" / record["files"]["overlay"]) as picture:
            assert (picture.format, picture.size) == ("TIFF", (48, 48))
    assert not [path for path in (run / "out").rglob("*.overlay.*") if path.suffix != ".tif"]
    page = (run / "out" / "report.html").read_text()
    details = [json.loads(text) for text in re.findall(r'id="image-\d+">(.*?)</script>', page)]
    assert all(
        m["small"] and m["files"]["overlay"].endswith(".overlay.tif") for detail in details for m in detail["maps"]
    )


def test_the_new_field_is_in_the_manifest_the_index_and_the_page_as_it_was_computed(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "out" / "index.jsonl").read_text().splitlines()]
    for row in rows:
        folder = run / "out" / row["path"]
        for record in (*json.loads((folder / "manifest.json").read_text())["maps"], *row["maps"]):
            assert record["lit"] == pytest.approx((np.load(folder / record["files"]["raw"]) > 0).mean())
    page = (run / "out" / "report.html").read_text()
    assert '["lit", number(map.lit)]' in page
    assert page.count('"lit":') == sum(len(row["maps"]) for row in rows)


def test_its_stability_and_sanity_are_measured(run: Path) -> None:
    evaluation = json.loads((run / "out" / "evaluation.json").read_text())
    measured = {total["method"] for total in evaluation["totals"] if total["metric"].startswith("stability_")}
    assert measured == {"peak", "smoothgradcam++"}
    assert {survival["method"] for survival in evaluation["sanity"]["survivals"]} == {"peak", "smoothgradcam++"}


@pytest.mark.parametrize("name", [*METHODS, "from-a-later-version"])
def test_a_map_is_drawn_from_0_to_1_whatever_its_values(name: str) -> None:
    draw = np.random.default_rng(3)
    sparse = draw.exponential(size=(40, 40)).astype(np.float32) ** 4 - np.float32(0.5)
    for values in (sparse, sparse + 100, sparse * 0 + 2):
        shares = drawn(values, drawing_of(name))
        assert shares.dtype == np.float32
        assert (shares.min() >= 0, shares.max()) == (True, 1)


def test_methods_are_drawn_as_they_were() -> None:
    """Against the rules written out by themselves."""
    draw = np.random.default_rng(5)
    values = draw.normal(size=(30, 30)).astype(np.float32)
    plain = (np.maximum(values, 0) / np.float64(values.max())).astype(np.float32)
    np.testing.assert_array_equal(drawn(values, drawing_of("gradcam")), plain)
    np.testing.assert_array_equal(drawn(values, drawing_of("twoscale")), plain ** np.float32(2 / 3))
    sparse = np.clip(np.maximum(values, 0) / np.float32(np.percentile(values, 99)), 0, 1)
    for name in ("gradient", "smoothgrad", "guided-backprop", "deconvnet", "integrated-gradients"):
        np.testing.assert_array_equal(drawn(values, drawing_of(name)), sparse)
    above = values - values.min()
    np.testing.assert_array_equal(
        drawn(values, drawing_of("rise")), (above / np.float64(above.max())).astype(np.float32)
    )
