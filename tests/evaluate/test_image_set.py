"""The photos that the paper's claims are asked on: found in packages whatever surrounds them, and annotated to the pixel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.image_set import ACTIVITIES, PACKAGES, MissingError, assemble, webp_files
from benchmarks.scenes import STRANGERS, Known, composites, mosaics
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250), (250, 20, 250)]


def encoded(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **how)
    return buffer.getvalue()


@settings(deadline=None, max_examples=examples(30))
@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.sampled_from(["RGB", "RGBA"])), max_size=4),
    st.lists(st.binary(max_size=60), min_size=5, max_size=5),
)
def test_every_webp_in_a_resource_file_is_found_whole(files: list[tuple[int, bool, str]], junk: list[bytes]) -> None:
    packed = [encoded(Image.new(mode, (side, 9), "red"), lossless=exact) for side, exact, mode in files]
    resource = b"".join(part for pair in zip(junk, [*packed, b""], strict=False) for part in pair)
    assert [data for data in webp_files(resource) if data in packed] == packed


def package(root: Path) -> None:
    """What the packages look like, in small."""
    rcc, stamps = (root / place for place in PACKAGES.values())
    rcc.mkdir(parents=True)
    photos = [Image.new("RGB", size, "green") for size in ((320, 240), (199, 300))] + [Image.new("RGBA", (300, 300))]
    (rcc / f"{ACTIVITIES[0]}.rcc").write_bytes(b"qres" + b"\0\3".join(map(encoded, photos)))
    for place, size, opaque in (
        ("animals/birds/hen.png", 120, 60),
        ("animals/cartoon/hen.png", 120, 60),
        ("symbols/one.png", 120, 60),
        ("food/tiny.png", 60, 30),
        ("food/framed.png", 120, 120),
    ):
        picture = Image.new("RGBA", (size, size))
        picture.paste("red", (0, 0, size, opaque))
        (stamps / place).parent.mkdir(parents=True, exist_ok=True)
        picture.save(stamps / place)


def test_photos_and_cut_outs_are_taken_and_drawings_left(tmp_path: Path) -> None:
    package(tmp_path / "root")
    assert assemble(tmp_path / "set", tmp_path / "root") == {"photos": 1, "stamps": 1}
    found = {str(path.relative_to(tmp_path / "set")) for path in (tmp_path / "set").rglob("*.*")}
    assert found == {f"photos/{ACTIVITIES[0]}-000.webp", "stamps/animals-birds-hen.png"}


def test_what_is_missing_is_said_with_how_to_come_by_it(tmp_path: Path) -> None:
    (tmp_path / next(iter(PACKAGES.values()))).mkdir(parents=True)
    with pytest.raises(MissingError, match=r"^tuxpaint-stamps-default not found below .*apt-get install"):
        assemble(tmp_path / "set", tmp_path)
    assert not (tmp_path / "set").exists()


@pytest.fixture
def plain(tmp_path: Path) -> list[Known]:
    """A photo of one colour for each class."""
    found = []
    for number, colour in enumerate(COLOURS):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (90 + 10 * number, 80), colour).save(path)
        found.append(Known(path, f"n{number:08}", 1.0))
    return found


def scenes(folder: Path, kind: str) -> Sequence[tuple[str, np.ndarray, np.ndarray]]:
    """Class of every scene, and every second pixel of it and of its mask."""
    photos = sorted((folder / kind).rglob("*.png"), key=lambda path: path.name)
    masks = [folder / f"{kind}-masks" / path.parent.name / path.name for path in photos]
    pictures = ([np.asarray(Image.open(path))[::2, ::2] for path in paths] for paths in (photos, masks))
    return [*zip((path.parent.name for path in photos), *pictures, strict=True)]


def colours_of(scene: np.ndarray) -> np.ndarray:
    """The number of the colour that each pixel is nearest to; one more for grey."""
    distance = [np.abs(scene.astype(np.int16) - other).sum(axis=-1) for other in [*COLOURS, (128, 128, 128)]]
    return np.argmin(distance, axis=0)


def test_a_mosaic_has_its_class_where_the_mask_says_and_nowhere_else(tmp_path: Path, plain: list[Known]) -> None:
    mosaics(plain, 9, tmp_path / "m", tmp_path / "m-masks")
    made = scenes(tmp_path, "m")
    assert [wnid for wnid, *_ in made] == [plain[number % 6].wnid for number in range(9)]
    for wnid, scene, mask in made:
        np.testing.assert_array_equal(mask > 0, colours_of(scene) == int(wnid[1:]))
        assert (mask > 0).mean() == 0.25
        assert len(np.unique(scene.reshape(-1, 3), axis=0)) == 4, "four classes"
    assert len({tuple(np.argwhere(mask)[0]) for *_, mask in made}) > 1, "not always the same cell"


def test_masks_of_composites_are_the_objects_to_the_pixel(tmp_path: Path, plain: list[Known]) -> None:
    stamps = []
    for number, colour in enumerate(COLOURS):
        picture = Image.new("RGBA", (150, 100 + 20 * number))
        ImageDraw.Draw(picture).ellipse((20, 10, 129, 89), fill=(*colour, 255))
        path = tmp_path / f"stamp-{number}.png"
        picture.save(path)
        stamps.append(Known(path, plain[number].wnid, 1.0))
    grey = tmp_path / "grey.png"
    Image.new("RGB", (100, 100), (128, 128, 128)).save(grey)
    composites(stamps, [Known(grey, "n99999999", 1.0)], 6, tmp_path / "c", tmp_path / "c-masks")
    for number, (wnid, scene, mask) in enumerate(scenes(tmp_path, "c")):
        assert {*np.unique(mask)} == set(range(2 + number % 3)), "one to three instances"
        colours = colours_of(scene)
        own = colours == int(wnid[1:])
        assert (own != (mask > 0)).sum() < 0.01 * own.sum(), "but for pixels that the edge halves"
        shown = [number for number in range(len(COLOURS)) if (colours == number).sum() > 200]
        assert len(shown) == 1 + STRANGERS
        if number % 3 == 2:
            assert 0.2 < (mask == 3).sum() / (mask == 1).sum() < 0.3, "the third is half as large"


def test_too_few_classes_are_said(tmp_path: Path, plain: list[Known]) -> None:
    with pytest.raises(ValueError, match="of 2 other classes, and 3 are needed"):
        mosaics(plain[:3], 1, tmp_path / "m", tmp_path / "n")
