"""A finished run, read back: its images, their maps, and where each map lies on its photo."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.errors import UsageError
from cam_cli.images.fit import Preprocessing, input_box
from cam_cli.render.upsample import upsample
from cam_cli.results.disk_store import DiskResultStore
from cam_cli.results.files import read_regular
from cam_cli.results.index import Index
from cam_cli.results.manifest import Manifest, MapRecord, read_manifest
from cam_cli.results.run_record import RunRecord
from cam_cli.results.shard import Shard
from cam_cli.storage.location import Location, location
from cam_cli.text import from_printable

Array = NDArray[np.float32]

_AHEAD = 8
_PREPROCESSING: TypeAdapter[Preprocessing] = TypeAdapter(Preprocessing)


@dataclass(frozen=True)
class ImageResult:
    """An image of a run.

    path: relative to the run's root, as manifests have it. folder: where its manifest and maps are. photo: where the photo was
    when the run read it.
    """

    manifest: Manifest
    folder: Path
    photo: Location

    @property
    def path(self) -> str:
        """POSIX, relative to the root."""
        return self.manifest.image.path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright photo; of an image that failed, (0, 0) where they are not known."""
        return self.manifest.image.width or 0, self.manifest.image.height or 0

    @property
    def preprocessing(self) -> Preprocessing:
        """How the photo was fitted to the network's input."""
        settings = {key: value for key, value in self.manifest.settings["input"].items() if key != "size"}
        return _PREPROCESSING.validate_python(settings)

    def values(self, record: MapRecord) -> Array | None:
        """Return a map as it was saved, (h, w) float32; None where no raw file was asked for or it cannot be read."""
        if record.files.raw is None:
            return None
        try:
            found = np.load(io.BytesIO(read_regular(self.folder / record.files.raw)), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return np.asarray(found, np.float32) if found.shape == record.grid else None

    def placed(self, values: Array, size: tuple[int, int] | None = None) -> Array:
        """Lay a map over the photo.

        Args:
            size: width and height to lay it at; the photo's own when left out.

        Returns:
            (height, width) float32; NaN where the network did not look.
        """
        (width, height), rows_columns = self.size, self.manifest.model.input_size
        box = input_box(width, height, rows_columns, self.preprocessing)
        columns, rows = size or self.size
        return upsample(values, box.scaled(columns / width, rows / height), (columns, rows))


class RunReader:
    """A run folder, whole or in shards, for reading only.

    Raises:
        UsageError: the folder holds no run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places = DiskResultStore(folder, Shard.parse(None))
        records = sorted([*folder.glob("run.json"), *folder.glob("run.*-of-*.json")]) if folder.is_dir() else []
        if not records:
            raise UsageError(
                f"'{folder}' holds no run: it has no run.json; name a folder that `smoothcam explain` wrote"
            )
        try:
            self.record = RunRecord.from_json(read_regular(records[0]))
            if not self.record.root:
                raise ValueError("it does not name its root")
            self.root = location(self.record.root)
        except (OSError, ValueError) as error:
            raise UsageError(f"'{records[0]}' cannot be read ({error}); run `smoothcam explain` again") from error

    def images(self) -> Iterator[ImageResult]:
        """Yield the images in the order of their paths, also those that failed.

        Unreadable manifests are left out, and paths that lead out of the run.
        """
        with Index(self.folder) as index:
            paths = sorted(row["path"] for row in index.rows())
        for path in (path for path in paths if ".." not in path.split("/")):
            folder = self.folder_of(path)
            manifest = read_manifest(folder)
            if manifest is not None:
                yield ImageResult(manifest, folder, self.root / from_printable(path))

    def folder_of(self, path: str) -> Path:
        """Return where the manifest and the maps of an image are, by its path as manifests have it."""
        return self._places.of(from_printable(path))


def photos_of(
    images: Iterable[ImageResult], decoders: DecoderPool, how: DecodeSettings
) -> Iterator[tuple[ImageResult, Decoded]]:
    """Yield each image with what its photo's file holds now, decoded ahead, in processes which that file may hang or crash.

    Photos that could not be explained are not decoded, as they would fail, or hang, once more.
    """
    known = (
        (image, image.photo, image.manifest.image.sha256 if image.manifest.status == "failed" else None)
        for image in images
    )
    yield from decoders.decode(known, how, _AHEAD)
