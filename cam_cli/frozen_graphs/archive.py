"""A SavedModel in a `.zip` or `.tar.gz` file, as TF-Hub and Teachable Machine give them: only its own files are unpacked."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from cam_cli.frozen_graphs.description import Kind, UnreadableError

MOST_BYTES = 4 * 2**30
"""What is unpacked of one archive."""

_MOST_MEMBERS = 10_000
_PARTS = re.compile(r"(?:.*/)?(saved_model\.pb|variables/variables\.(?:index|data-\d{5}-of-\d{5}))")
_CHUNK = 2**20


@contextmanager
def unpacked(path: Path, kind: Kind) -> Iterator[Path]:
    """Yield the folder of a SavedModel, unpacked if it is an archive; other files as they are.

    Raises:
        UnreadableError: the archive is damaged or too large, or has no or several SavedModels.
    """
    if kind != "saved_model" or path.is_dir():
        yield path
        return
    if path.name == "saved_model.pb":
        yield path.resolve().parent
        return
    with TemporaryDirectory(prefix="smoothcam-") as folder:
        try:
            if zipfile.is_zipfile(path):
                _unpack_zip(path, Path(folder))
            else:
                _unpack_tar(path, Path(folder))
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError) as error:
            raise UnreadableError("is an archive that is cut short or damaged; copy it again") from error
        yield Path(folder)


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, info) for info in archive.infolist()[:_MOST_MEMBERS] if not info.is_dir()]
        wanted = _wanted([name for name, _ in members])
        left = MOST_BYTES
        for name, info in members:
            if name in wanted:
                with archive.open(info) as source:
                    left = _copy(source, folder / wanted[name], left)


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        members = []
        for member in archive:
            members += [member] if member.isreg() else []
            if len(members) > _MOST_MEMBERS or archive.offset > MOST_BYTES:
                raise UnreadableError(f"is an archive of more than {_MOST_MEMBERS:,} files or {MOST_BYTES:,} bytes")
        wanted = _wanted([member.name for member in members])
        left = MOST_BYTES
        for member in members:
            source = archive.extractfile(member) if member.name in wanted else None
            if source is not None:
                left = _copy(source, folder / wanted[member.name], left)


def _wanted(names: list[str]) -> dict[str, str]:
    """Return the members that make a SavedModel, and the name that each has in its folder."""
    found = {name: match[1] for name in names if (match := _PARTS.fullmatch(name))}
    roots = [name.removesuffix("saved_model.pb") for name, part in found.items() if part == "saved_model.pb"]
    if len(roots) != 1:
        raise UnreadableError(f"is an archive of {len(roots)} SavedModels; unpack it and name the folder of one")
    return {name: part for name, part in found.items() if name == f"{roots[0]}{part}"}


def _copy(source: IO[bytes], target: Path, left: int) -> int:
    """Copy a member to a file; return how many bytes may follow."""
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise UnreadableError(f"is an archive of more than {MOST_BYTES:,} bytes")
            file.write(chunk)
    return left
