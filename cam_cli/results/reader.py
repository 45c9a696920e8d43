"""A finished run, read back: its images, their maps, and where each map is on its image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from cam_cli.errors import UsageError
from cam_cli.images.fit import Preprocessing, input_box
from cam_cli.render.upsample import upsample
from cam_cli.results.files import whole
from cam_cli.results.index import Index
from cam_cli.results.layout import run_file
from cam_cli.results.manifest import Manifest, MapRecord
from cam_cli.results.run_truth import truth_of_run
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.results.stores import result_store_at
from cam_cli.results.truth import TruthSource
from cam_cli.storage.location import Location, Url, location
from cam_cli.storage.store import Store
from cam_cli.text import from_printable, printable, shown
from cam_cli.window import WHOLE

Array = NDArray[np.float32]

_PREPROCESSING: TypeAdapter[Preprocessing] = TypeAdapter(Preprocessing)


@dataclass(frozen=True)
class ImageResult:
    """An image of a run, with the folder of its results, its file, and the root that its path is relative to."""

    manifest: Manifest
    folder: Location
    image_file: Location
    store: ResultStore
    root: Location

    @property
    def path(self) -> str:
        """POSIX, relative to the root, as manifests have it."""
        return self.manifest.image.path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image; (0, 0) if they are not known, as of one that failed."""
        return self.manifest.image.width or 0, self.manifest.image.height or 0

    @property
    def decode_job(self) -> tuple[ImageResult, Location, str | None]:
        """What `DecoderPool.decode` takes to decode the image again; one that failed is not decoded, as it might hang again."""
        return self, self.image_file, self.manifest.image.sha256 if self.manifest.status == "failed" else None

    @property
    def preprocessing(self) -> Preprocessing:
        """How the image was fitted to the network's input."""
        settings = {key: value for key, value in self.manifest.settings["input"].items() if key != "size"}
        return _PREPROCESSING.validate_python(settings)

    def read(self, name: str) -> bytes:
        """Return a file beside the manifest; raises OSError if it cannot be read."""
        return self.store.read(self.store.key(from_printable(self.path)), name)

    def values(self, record: MapRecord) -> Array | None:
        """Return a map as it was saved, (h, w) float32; None if there is no raw file or it cannot be read."""
        if record.files.raw is None:
            return None
        try:
            values = np.load(io.BytesIO(self.read(record.files.raw)), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return np.asarray(values, np.float32) if values.shape == record.grid else None

    def upsampled(self, values: Array, record: MapRecord, size: tuple[int, int] | None = None) -> Array:
        """Return the values (h, w) of a map at the width and height of `size`, by default the image's own.

        The result is (height, width) float32. It is NaN where the network did not look.
        """
        (width, height), rows_columns = self.size, self.manifest.model.input_size
        box = input_box(width, height, rows_columns, self.preprocessing)
        columns, rows = size or self.size
        return upsample(values, box.scaled(columns / width, rows / height), (columns, rows), record.window or WHOLE)


class RunReader:
    """A run, whole or in shards, in a folder or an object store, for reading; raises UsageError if there is no run.

    record: the run record of its first shard. root: the folder that paths of images are relative to, unless an
    earlier run had another one.

    Args:
        folder: of the run.
        truth: where the true classes are, instead of what the run knew of them.
    """

    def __init__(self, folder: Location, truth: TruthSource | None = None) -> None:
        self.folder = folder
        self._store = result_store_at(folder, Shard())
        try:
            records = list(self._store.run_records())
        except OSError:
            records = []
        if not records:
            raise UsageError(
                f"'{printable(folder)}' holds no run: it has no run.json; name a folder that `smoothcam explain` wrote"
            )
        shard, record = records[0]
        if not record.root:
            raise UsageError(f"{self.shown(run_file(shard))} cannot be read; run `smoothcam explain` again")
        self.record = record
        try:
            self.root = location(record.root)
            self._mixed = bool(record.earlier_roots) or any(other.root != record.root for _, other in records)
        except ValueError as error:
            raise UsageError(f"{self.shown(run_file(shard))} names a root that {error}") from None
        self._truth = None if truth is None else truth_of_run(truth, record, folder)

    @property
    def multi_label(self) -> bool:
        """Whether every class has a probability of its own, so that several may be true."""
        return bool(self.record.model and self.record.model.multi_label)

    def images(self) -> Iterator[ImageResult]:
        """Yield all images in the order of their paths, but none whose manifest is unreadable or outside the run."""
        with self._store.index_files() as files, Index(files) as index:
            paths = sorted(row["path"] for row in index.rows())
        for path in (path for path in paths if ".." not in path.split("/")):
            manifest = self._store.manifest(self._store.key(from_printable(path)))
            if manifest is not None:
                manifest = self._truth.over_manifest(manifest) if self._truth else manifest
                root = self._root_of(manifest)
                yield ImageResult(manifest, self.folder_of(path), root / from_printable(path), self._store, root)

    def _root_of(self, manifest: Manifest) -> Location:
        """Return what the path of an image is relative to; its own root counts if the run's images are of several."""
        if self._mixed and manifest.image.root is not None:
            with suppress(ValueError):
                return location(manifest.image.root)
        return self.root

    def folder_of(self, path: str) -> Location:
        """Return where the manifest and the maps of an image are, by its path as manifests have it."""
        return self._store.folder_of(from_printable(path))

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name if isinstance(self.folder, Url) else self.folder.resolve().name

    def shown(self, name: str) -> str:
        """Return in quotes, for a message, where a file of the run's own is."""
        return shown(self.folder.child(name) if isinstance(self.folder, Url) else self.folder / name)

    def read_of(self, path: str, name: str) -> bytes:
        """Return a file of an image, by its path as manifests have it; raises OSError if it cannot be read."""
        return self._store.read(self._store.key(from_printable(path)), name)

    def count(self) -> int:
        """Return how many images are in the index."""
        with self._store.index_files() as files, Index(files) as index:
            return len(index)

    def read(self, name: str) -> bytes:
        """Return a file of the run's own, such as evaluation.json; raises OSError if it cannot be read."""
        return self._store.read_own(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Have a new file of the run's own, which is there whole if all goes well; raises OSError if it cannot be written."""
        if isinstance(self.folder, Url):
            with TemporaryDirectory(prefix="smoothcam-") as folder:
                path = Path(folder, name)
                with path.open("wb") as stream:
                    yield stream
                Store(self.folder.protocol).upload(path, self.folder.child(name))
        else:
            with whole(self.folder / name) as stream:
                yield stream
