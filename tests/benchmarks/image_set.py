"""Several dozen photos, and objects cut out of photos, out of two packages of Debian's; nothing of them is kept here.

python tests/benchmarks/image_set.py FOLDER [--root DIR | --fetch]

FOLDER/photos gets the photos of GCompris (`gcompris-qt-data`: animals, tools, monuments), FOLDER/stamps the photographed stamps
of Tux Paint (`tuxpaint-stamps-default`), whose transparency is an exact mask. The packages are installed, or unpacked
(`dpkg -x PACKAGE.deb DIR`) under --root, or fetched by --fetch with apt-get and unpacked for the while: 205 MB. Photos of other
origin do as well: `paper_claim.py` takes any folder laid out like this one.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {"gcompris-qt-data": "usr/share/gcompris-qt/rcc", "tuxpaint-stamps-default": "usr/share/tuxpaint/stamps"}
ACTIVITIES = ("categorization", "erase", "explore_farm_animals", "explore_monuments", "explore_world_animals")
STAMPS = ("animals", "food", "hobbies", "household", "medical", "plants", "sports", "vehicles")
SMALLEST_PHOTO = 200
SMALLEST_STAMP = 100
COVERED = (0.1, 0.9)
"""The share of a stamp that is opaque; with more it is a picture with a background, with less hardly an object."""


class MissingError(Exception):
    """Packages that are not here; the message says which, and how to come by them."""


def assemble(folder: Path, root: Path) -> dict[str, int]:
    """Write photos and stamps, and return how many of each there are.

    Args:
        folder: made if missing. root: where the packages' files lie below, `/` where they are installed.

    Raises:
        MissingError: a package is not there.
    """
    missing = [name for name, place in PACKAGES.items() if not (root / place).is_dir()]
    if missing:
        raise MissingError(
            f"{' and '.join(missing)} not found below {root}: `apt-get install {' '.join(missing)}`, or unpack with "
            "`dpkg -x` and name the folder with --root, or let --fetch do it"
        )
    rcc, stamps = (root / place for place in PACKAGES.values())
    pictures = {"photos": photos(rcc), "stamps": cut_outs(stamps)}
    counts = dict.fromkeys(pictures, 0)
    for kind, found in pictures.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in found:
            (folder / kind / name).write_bytes(data)
            counts[kind] += 1
    return counts


def photos(rcc: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the photos in GCompris's Qt resource files."""
    for activity in ACTIVITIES:
        file = rcc / f"{activity}.rcc"
        for number, data in enumerate(webp_files(file.read_bytes()) if file.is_file() else ()):
            with Image.open(io.BytesIO(data)) as image:
                if image.mode == "RGB" and min(image.size) >= SMALLEST_PHOTO:
                    yield f"{activity}-{number:03}.webp", data


def webp_files(resource: bytes) -> Iterator[bytes]:
    """Yield the WebP files in a Qt resource file, which holds whole what compression would not make smaller."""
    for head in re.finditer(rb"RIFF(.{4})WEBPVP8", resource, re.DOTALL):
        yield resource[head.start() : head.start() + 8 + int.from_bytes(head[1], "little")]


def cut_outs(stamps: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of Tux Paint's stamps that are photos, not drawings, of single things."""
    for group in STAMPS:
        for path in sorted((stamps / group).rglob("*.png")):
            place = path.relative_to(stamps)
            if "cartoon" in place.parts:
                continue
            with Image.open(path) as image:
                opaque = np.asarray(image.convert("RGBA"))[..., 3] >= 128
            if min(opaque.shape) >= SMALLEST_STAMP and COVERED[0] <= opaque.mean() <= COVERED[1]:
                yield "-".join(place.parts), path.read_bytes()


def fetch(folder: Path) -> None:
    """Download both packages and unpack them below a folder.

    Raises:
        MissingError: they cannot be had here.
    """
    try:
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=folder, check=True)
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingError(f"{' and '.join(PACKAGES)} cannot be fetched: {error}; `apt-get update` may help") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--root", type=Path, default=Path("/"), help="where the packages are unpacked")
    place.add_argument("--fetch", action="store_true", help="download them with apt-get for the while")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as unpacked:
            if options.fetch:
                fetch(Path(unpacked))
            counts = assemble(options.folder, Path(unpacked) if options.fetch else options.root)
    except MissingError as error:
        sys.stderr.write(f"image_set: {error}\n")
        return 1
    sys.stdout.write("".join(f"{options.folder / kind}: {count}\n" for kind, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
