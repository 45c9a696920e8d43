"""An image file, read and decoded into what the engine and the pictures need, or the reason why it cannot be."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import ImageError
from cam_cli.images.decode import decode
from cam_cli.images.fit import InputBox, Preprocessing, fit, unlike_images
from cam_cli.images.image import RgbImage
from cam_cli.render.size import picture_size
from cam_cli.storage.location import Location, Stat, Url
from cam_cli.storage.store import Store
from cam_cli.text import one_line
from cam_cli.window import Window, part_of

if TYPE_CHECKING:
    from cam_cli.results.manifest import Failure  # pydantic, which would double a decoder's time to start

_OVERSAMPLING = 2
"""An image is decoded with at least so many pixels a side for each pixel of the network's input."""

_NO_MEMORY = "it needs more memory than a decoder may use; shrink the image, or raise max_pixels, which sets that bound"


@dataclass(frozen=True)
class DecodeSettings:
    """How files become inputs.

    Args:
        size: rows and columns of the network's input.
        preprocessing: how an image becomes the input; None: the picture alone is wanted, and the input stays empty.
        picture_size: the most pixels a side of the pictures may have; None: the picture is the image as it was decoded.
        max_pixels: the most pixels an image may have.
        bands: how many channels the network takes, where those of `preprocessing` are `bands`.
        further: rows and columns of the inputs that are made beside the first one.
    """

    size: tuple[int, int]
    preprocessing: Preprocessing | None
    picture_size: int | None
    max_pixels: int
    bands: int = 3
    further: tuple[tuple[int, int], ...] = ()

    @property
    def largest_side(self) -> int:
        """The most pixels that a side of an input has."""
        return max(*self.size, *(side for size in self.further for side in size))

    def decode(self, data: bytes, enough: int, ending: str = "") -> RgbImage:
        """Decode the bytes of a file; see `images.decode.decode`."""
        takes_values = self.preprocessing is not None and self.preprocessing.channels == "bands"
        bands = self.bands if takes_values else None
        return decode(data, max_pixels=self.max_pixels, enough=enough, bands=bands, ending=ending)


@dataclass(frozen=True)
class FileStat:
    """What the file system said of an image file before its bytes were read; for an object in a store, see `Stat`."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStat:
        """Return what a file's status says."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def record(self) -> dict[str, int]:
        """Return this as it stands in a row of the index."""
        return {"size": self.size, "mtime_ns": self.mtime_ns, "ctime_ns": self.ctime_ns}


def stat_of(path: Location) -> FileStat | Stat | None:
    """Return what is said of an image file before its bytes are read; None if there is no file."""
    try:
        if isinstance(path, Url):
            return path.stat or Store(path.protocol).stat(path)
        return FileStat.of(os.stat(path))  # noqa: PTH116 - one an image, also of a million that are finished
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class DecodedImage:
    """One image, ready to be explained.

    x: (H, W, C) float32, the network's input. picture: (h, w, 3) uint8, the image at the size of the pictures. box: where
    the input lies in the picture (left, top, right, bottom, in picture pixels). is_picture: the input was made of the
    picture; the values in a file of many bands, and arrays, are only shown by it. further: the inputs of further sizes, each
    with the part of the first input that it shows.
    """

    sha256: str
    width: int
    height: int
    notes: tuple[str, ...]
    x: NDArray[np.float32]
    picture: NDArray[np.uint8]
    box: InputBox
    is_picture: bool = True
    further: tuple[tuple[NDArray[np.float32], Window], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its arrays take."""
        return self.x.nbytes + self.picture.nbytes + sum(x.nbytes for x, _ in self.further)


@dataclass(frozen=True)
class Decoded:
    """What became of opening one file.

    source: None where there is no file, or it was not looked at. sha256: of its bytes; None where they could not be read. image
    and error: one of them, or neither where the bytes are those already known. seconds: what it took.
    """

    source: FileStat | Stat | None
    sha256: str | None
    image: DecodedImage | None = None
    error: Failure | None = None
    seconds: float = 0.0


def decode_image(path: Location, known: str | None, settings: DecodeSettings) -> Decoded:
    """Read a file once, and make an image ready of it; whatever is wrong with it is in the result.

    Args:
        known: sha256 of bytes that need not be decoded again.
    """
    started = time.perf_counter()
    source: FileStat | Stat | None = None
    digest: str | None = None
    image: DecodedImage | None = None
    error: Failure | None = None
    stage = "read"
    try:
        source = stat_of(path)
        data, source = _read(path, source)
        digest = hashlib.sha256(data).hexdigest()
        if digest != known:
            stage = "decode"
            decoded = settings.decode(
                data, _OVERSAMPLING * settings.largest_side, PurePath(path.name).suffix.lower()[1:]
            )
            stage = "fit"
            image = prepare(digest, decoded, settings, data)
    except Exception as problem:  # noqa: BLE001 - decoders fail in every way there is, and each is this image's failure
        error = _failure(problem, stage)
    return Decoded(source, digest, image, error, time.perf_counter() - started)


def _read(path: Location, source: FileStat | Stat | None) -> tuple[bytes, FileStat | Stat | None]:
    """Return a file's bytes, and what was said of it before they were read; wait for no writer at a pipe's other end."""
    try:
        if isinstance(path, Url):
            return Store(path.protocol).read(path), source
        _check_regular(path.stat())  # to open a device may do something
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(file, "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, which Path cannot open
            status = os.fstat(file)
            _check_regular(status)
            os.set_blocking(file, True)
            return stream.read(), FileStat.of(status)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", stage="read") from error
    except ValueError as error:
        raise ImageError(f"cannot be read: {error}", stage="read") from error


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file", stage="read")


def prepare(sha256: str, decoded: RgbImage, settings: DecodeSettings, data: bytes = b"") -> DecodedImage:
    """Fit an image to the network and shrink it to the size of the pictures, so that the large original is not kept.

    Args:
        data: of the file, for an image that may have been decoded at a reduced size. The size of the pictures does not change
            the input: if they need more pixels, the image is decoded again.

    Raises:
        ImageError: stage `fit`; the image does not suit the network.
    """
    x, box = np.zeros((0, 0, 0), np.float32), InputBox(0.0, 0.0, float(decoded.width), float(decoded.height))
    notes, is_picture, further = decoded.notes, decoded.values is None, []
    if settings.preprocessing is not None:
        x, box = fit(decoded, settings.size, settings.preprocessing, settings.bands)
        if not np.isfinite(x).all():
            raise ImageError("the network's input is not finite with these values of mean and std", stage="fit")
        if decoded.prepared and (note := unlike_images(x, settings.preprocessing)):
            notes = (*notes, note)
        if decoded.prepared and settings.further:
            raise ImageError(
                "an array is fed as it is, so there is none of further sizes; leave --sizes out, or give images",
                stage="fit",
            )
        for size in settings.further:
            scaled, covers = fit(decoded, size, settings.preprocessing, settings.bands)
            further.append((scaled, part_of(covers, box)))
    height, width = decoded.pixels.shape[:2]
    if settings.picture_size is not None:
        width, height = picture_size(decoded.width, decoded.height, settings.picture_size)
    if width > decoded.pixels.shape[1]:
        decoded = settings.decode(data, min(width, height))
    picture = decoded.pixels
    if picture.shape[:2] != (height, width):
        shrunk = Image.fromarray(picture).resize((width, height), Image.Resampling.HAMMING, reducing_gap=2.0)
        picture = np.asarray(shrunk)
    in_picture = box.scaled(width / decoded.width, height / decoded.height)
    inputs = tuple(further)
    return DecodedImage(sha256, decoded.width, decoded.height, notes, x, picture, in_picture, is_picture, inputs)


def _failure(error: Exception, stage: str) -> Failure:
    from cam_cli.results.manifest import Failure

    if isinstance(error, MemoryError):
        return Failure(stage=stage, type="MemoryError", message=_NO_MEMORY)
    stage = error.stage if isinstance(error, ImageError) else stage
    return Failure(stage=stage, type=type(error).__name__, message=one_line(error))
