"""The image formats that are read, the packages that some of them need, and the endings of images that are not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Final

FORMATS: Final[dict[str, tuple[str, ...]]] = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "PNG": ("png", "apng"),
    "WebP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp",),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif", "avifs"),
    "JPEG 2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
}
"""File endings, in lower case, of the formats that Pillow reads."""

EXTRAS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "images": {"HEIC": ("heic", "heif", "hif", "heics", "heifs"), "JPEG XL": ("jxl",)},
    "medical": {"DICOM": ("dcm", "dicom")},
}
"""The same of the formats that an extra of smoothcam reads."""

ARRAYS: Final[dict[str, tuple[str, ...]]] = {"NumPy": ("npy", "npz")}
"""Arrays: taken from a folder only if `--ext` says so, as they lie beside images for many other purposes."""

PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "HEIC": ("pi_heif", "pillow_heif"), "JPEG XL": ("imagecodecs",), "DICOM": ("pydicom",), "TIFF": ("tifffile",),
}  # fmt: skip
"""The packages that read a format, any one of which will do; that of TIFF reads the files that Pillow does not."""

NOT_READ: Final = frozenset((
    "svg", "svgz", "pdf", "eps", "ps", "ai", "psd", "psb", "xcf", "kra", "ico", "icns", "cur", "tga", "pcx", "sgi", "dds",
    "exr", "hdr", "qoi", "jxr", "wdp", "hdp", "jls", "jbig2", "bpg", "flif", "djvu", "wmf", "emf",
    "cr2", "cr3", "crw", "nef", "nrw", "arw", "sr2", "srf", "dng", "raf", "orf", "rw2", "pef", "x3f", "3fr", "iiq", "rwl",
    "raw",
    "fits", "fit", "fts", "nii", "nrrd", "mha", "mhd", "svs", "ndpi", "czi", "lif", "nd2", "vsi", "mrxs",
    "mp4", "mov", "m4v", "avi", "mkv", "webm", "mpg", "mpeg", "wmv",
))  # fmt: skip
"""Endings of images, and of videos, that no extra reads."""

IMAGE_EXTENSIONS: Final = frozenset(ending for endings in FORMATS.values() for ending in endings)


def installed(name: str) -> str | None:
    """Return the package that reads a format of `PACKAGES`, without importing it; None if it is not installed."""
    return next((package for package in PACKAGES[name] if find_spec(package)), None)


@cache
def endings_read() -> frozenset[str]:
    """Return the endings that are taken from folders: those that Pillow, or an extra that is installed, can read."""
    extra = (endings for formats in EXTRAS.values() for name, endings in formats.items() if installed(name))
    return IMAGE_EXTENSIONS | {ending for endings in extra for ending in endings}


@cache
def endings_left_out() -> Mapping[str, str]:
    """Return the endings of images that are not taken from folders, each with what to do about it, or an empty text."""
    advice = dict.fromkeys(NOT_READ, "") | dict.fromkeys(ARRAYS["NumPy"], "--ext npy,npz")
    for extra, formats in EXTRAS.items():
        advice |= {ending: install(extra) for endings in formats.values() for ending in endings}
    return {ending: text for ending, text in advice.items() if ending not in endings_read()}


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'smoothcam[{extra}]'"


def left_out_text(counts: Mapping[str, int]) -> str:
    """Return what a user is told of the files that were left out, by ending: `3 files look like images and ...`."""
    several = sum(counts.values()) != 1
    listed = ", ".join(f"{n:,} .{ending}" for ending, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    known = endings_left_out()
    texts = dict.fromkeys(text for ending in sorted(counts) if (text := known.get(ending, "")))
    hints = [f"for {_dotted(e for e in sorted(counts) if known.get(e) == text)}: {text}" for text in texts]
    advice = f" ({'; '.join(hints)})" if hints else ""
    words = "files look like images and were" if several else "file looks like an image and was"
    return f"{sum(counts.values()):,} {words} left out: {listed}{advice}"


def _dotted(endings: Iterable[str]) -> str:
    return ", ".join(f".{ending}" for ending in endings)
