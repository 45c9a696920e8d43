"""The script of the page is what its modules make, and one way of drawing stands behind every small picture."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shown_runs import Case, write_shown

from cam_cli.render.picture import overlay
from cam_cli.report.write import write_report
from cam_cli.results.reader import RunReader

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent.parent
ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
SCRIPT = ROOT / "cam_cli" / "report" / "page.js"


@pytest.mark.skipif(not (ESBUILD.exists() and shutil.which("node")), reason="esbuild is not installed: npm ci")
def test_the_script_is_what_its_modules_make(tmp_path: Path) -> None:
    command = json.loads((ROOT / "package.json").read_text())["scripts"]["page"].split()
    built = tmp_path / "page.js"
    words = [str(ESBUILD), *(f"--outfile={built}" if word.startswith("--outfile=") else word for word in command[1:])]
    subprocess.run(words, cwd=ROOT, check=True)
    assert SCRIPT.read_bytes() == built.read_bytes(), "make page"


def test_every_module_is_in_the_script() -> None:
    script = SCRIPT.read_text()
    for module in sorted((ROOT / "cam_cli" / "report" / "script").rglob("*.js")):
        assert f"// {module.relative_to(ROOT).as_posix()}\n" in script
        assert len(module.read_text().splitlines()) <= 400


DRAWN_AS = {
    "gradcam": lambda v: v / v.max(),
    "gradient": lambda v: np.clip(v / np.percentile(v, 99), 0, 1),
    "rise": lambda v: (v - v.min()) / (v.max() - v.min()),
    "twoscale": lambda v: (v / v.max()) ** (2 / 3),
}


@pytest.mark.parametrize("method", DRAWN_AS)
def test_the_small_picture_of_a_raw_map_is_its_overlay(tmp_path: Path, method: str) -> None:
    """A run without overlays shows what a run with overlays shows, by the rules of the methods, written out here."""
    run = write_shown(tmp_path / "run", [Case("a.png", (0, 1), (0.9, 0.1), method=method)])
    values = (np.random.default_rng(0).random((20, 20)) ** 4 + (15 if method == "rise" else 0)).astype(np.float32)
    values[3, 3] = 30
    np.save(run / "a.png" / "conv.0.npy", values)
    _edit(run, {"grid": [20, 20]})
    (small,) = _small(write_report(run).path)
    (image,) = RunReader(run).images()
    with Image.open(image.image_file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    shares = DRAWN_AS[method](values).astype(np.float32)
    wide = image.upsampled(shares, image.manifest.maps[0], (pixels.shape[1], pixels.shape[0]))
    overlay(pixels, wide, "inferno", 0.6).save(run / "a.png" / "conv.0.overlay.png")
    _edit(run, {"files": {"raw": "conv.0.npy", "overlay": "conv.0.overlay.png"}})
    (of_overlay,) = _small(write_report(run).path)
    assert small.shape == of_overlay.shape == pixels.shape
    assert np.abs(small - of_overlay).mean() < 1


def _edit(run: Path, changes: dict[str, object]) -> None:
    manifest = json.loads((run / "a.png" / "manifest.json").read_text())
    manifest["maps"][0] |= changes
    (run / "a.png" / "manifest.json").write_text(json.dumps(manifest))


def _small(page: Path) -> list[np.ndarray]:
    """The small pictures of the maps of the first image."""
    found = re.search(r'id="image-0">(.*?)</script>', page.read_text())
    assert found
    pictures = [base64.b64decode(one["small"]) for one in json.loads(found[1])["maps"]]
    return [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float) for picture in pictures]
