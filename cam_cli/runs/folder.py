"""The run folder: where an image's results lie, whether they are still good, and the records of the run itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cam_cli.errors import UsageError
from cam_cli.runs.files import to_json, write_whole
from cam_cli.runs.manifest import Manifest, read_manifest

RUN = "run.json"
INDEX = "index.jsonl"
SHEET = "sheet.jpg"
_OWN_FILES = (RUN, INDEX, SHEET)


def is_run_folder(path: Path) -> bool:
    """Say whether a folder was made by a run, so that its pictures are no photos to explain."""
    return (path / RUN).is_file() and (path / INDEX).is_file()


class RunFolder:
    """OUT: one folder for each image, `run.json` and `index.jsonl`.

    Raises:
        UsageError: the place cannot be made, or holds files that no run made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            entries = {entry.name for entry in os.scandir(path)}
        except OSError as error:
            raise UsageError(
                f"output folder '{path}' cannot be used: {error.strerror}; choose another with -o"
            ) from None
        if entries and RUN not in entries:
            raise UsageError(f"output folder '{path}' holds files that no run made; choose another with -o")

    def made_otherwise(self, run: Mapping[str, Any]) -> str | None:
        """Say in a few words how the last run into this folder differs from `run`, where it does."""
        try:
            last = json.loads((self.path / RUN).read_bytes())
            differing = [name for name in ("root", "model", "settings") if last[name] != json.loads(to_json(run))[name]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return f"another {' and '.join(differing)}" if differing else None

    def of(self, relative: PurePosixPath) -> Path:
        """Return the folder of one image; a photo that is called like one of the run's own files gets a `~`."""
        first, *rest = relative.parts
        return self.path.joinpath(f"{first}~" if first in _OWN_FILES else first, *rest)

    def finished(self, relative: PurePosixPath, fingerprint: str) -> Manifest | None:
        """Return an image's manifest if it is done: explained, with this fingerprint, and all its files there."""
        folder = self.of(relative)
        manifest = read_manifest(folder)
        if manifest is None or manifest.status != "ok" or manifest.fingerprint != fingerprint:
            return None
        return manifest if all((folder / name).is_file() for name in manifest.files()) else None

    def make(self, relative: PurePosixPath) -> Path:
        """Return the folder of one image, made where it is missing and cleared of an earlier result's files."""
        folder = self.of(relative)
        folder.mkdir(parents=True, exist_ok=True)
        earlier = read_manifest(folder)
        if earlier is not None:
            (folder / "manifest.json").unlink()
            for name in earlier.files():
                (folder / PurePosixPath(name).name).unlink(missing_ok=True)
        return folder

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one image's row to the index."""
        with (self.path / INDEX).open("a", encoding="ascii") as index:
            index.write(f"{to_json(row)}\n")

    def describe(self, run: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_whole(self.path / RUN, f"{to_json(run, indent=1)}\n".encode())
