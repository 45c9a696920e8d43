"""Scenes in which it is known where a class is: mosaics of photos, and cut-out objects laid over photos.

Every scene stands at PHOTOS/<WordNet id>/NNN.png, as `smoothcam explain --target folder` wants it, and what is annotated at
MASKS/<WordNet id>/NNN.png: 0 is background, 1, 2, ... are the instances of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

TILE = 224
COLUMNS, ROWS = 3, 2
SIDE = 190
"""The longer side of a cut-out in its cell of `TILE` pixels."""
STRANGERS = 2


@dataclass(frozen=True)
class Known:
    """A photo, or a cut-out, and the class that the network names for it."""

    path: Path
    wnid: str
    probability: float


def mosaics(known: Sequence[Known], count: int, photos: Path, masks: Path) -> None:
    """Write grids of two by two photos of four classes, one of which is asked for.

    The grid pointing game (Böhle et al. 2021, Convolutional Dynamic Alignment Networks, section 4.3): the share of a map's
    energy in the cell of its class, where 0.25 is chance. Each photo is asked for in its turn.
    """
    draw = np.random.default_rng(0)
    for number in range(count):
        own = known[number % len(known)]
        tiles = [own, *_others(known, {own.wnid}, 3, draw)]
        scene = Image.new("RGB", (2 * TILE, 2 * TILE))
        mask = Image.new("L", scene.size)
        for place, tile in zip(draw.permutation(4), tiles, strict=True):
            corner = int(place % 2) * TILE, int(place // 2) * TILE
            scene.paste(_square(tile.path), corner)
            if tile is own:
                mask.paste(1, (*corner, corner[0] + TILE, corner[1] + TILE))
        _save(scene, mask, photos, masks, own.wnid, number)


def composites(stamps: Sequence[Known], grounds: Sequence[Known], count: int, photos: Path, masks: Path) -> None:
    """Write photos on which a cut-out of the class asked for lies one, two or three times, and two of other classes once.

    The second instance is mirrored, the third is half as large; each lies in a cell of its own, so that none hides another.
    """
    draw = np.random.default_rng(1)
    for number in range(count):
        own = stamps[number % len(stamps)]
        ground = _others(grounds, {own.wnid}, 1, draw)[0]
        strangers = _others(stamps, {own.wnid, ground.wnid}, STRANGERS, draw)
        with Image.open(ground.path) as opened:
            scene = ImageOps.fit(opened.convert("RGB"), (COLUMNS * TILE, ROWS * TILE), Image.Resampling.LANCZOS)
        mask = Image.new("L", scene.size)
        cells = iter(draw.permutation(COLUMNS * ROWS))
        for instance in range(1 + number % 3):
            picture = _cut_out(own.path, 0.5 if instance == 2 else 1.0)
            corner, shape = _lay(scene, ImageOps.mirror(picture) if instance == 1 else picture, int(next(cells)), draw)
            mask.paste(instance + 1, corner, shape)
        for stranger in strangers:
            _lay(scene, _cut_out(stranger.path, 1.0), int(next(cells)), draw)
        _save(scene, mask, photos, masks, own.wnid, number)


def _others(known: Sequence[Known], besides: set[str], count: int, draw: np.random.Generator) -> list[Known]:
    """Draw photos of so many further classes."""
    left = [one for one in known if one.wnid not in besides]
    found: list[Known] = []
    for i in draw.permutation(len(left)):
        if len(found) < count and left[i].wnid not in {one.wnid for one in found}:
            found.append(left[i])
    if len(found) < count:
        raise ValueError(f"there are photos of {len(found)} other classes, and {count} are needed")
    return found


def _square(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return ImageOps.fit(opened.convert("RGB"), (TILE, TILE), Image.Resampling.LANCZOS)


def _cut_out(path: Path, scale: float) -> Image.Image:
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    cut = picture.crop(picture.getchannel("A").getbbox())
    factor = scale * SIDE / max(cut.size)
    return cut.resize((max(1, round(cut.width * factor)), max(1, round(cut.height * factor))), Image.Resampling.LANCZOS)


def _lay(
    scene: Image.Image, picture: Image.Image, cell: int, draw: np.random.Generator
) -> tuple[tuple[int, int], Image.Image]:
    """Lay a cut-out somewhere into a cell; return its corner and its shape, opaque where it hides the scene by half or more."""
    left = cell % COLUMNS * TILE + int(draw.integers(TILE - picture.width + 1))
    top = cell // COLUMNS * TILE + int(draw.integers(TILE - picture.height + 1))
    scene.paste(picture, (left, top), picture)
    return (left, top), picture.getchannel("A").point(lambda opacity: 255 * (opacity >= 128))


def _save(scene: Image.Image, mask: Image.Image, photos: Path, masks: Path, wnid: str, number: int) -> None:
    for picture, folder in ((scene, photos), (mask, masks)):
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        picture.save(folder / wnid / f"{number:03}.png")
