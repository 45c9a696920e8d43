"""What makes the next start quicker: plans, traced graphs and trials, kept in files of which none is ever needed."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 4 * 1024**3
"""When the cache grows past this, what was used longest ago goes."""

_DIGEST = hashlib.sha256().digest_size


def cache_folder(environ: Mapping[str, str]) -> Path | None:
    """Return where the cache of this user is: `$XDG_CACHE_HOME/smoothcam` or `~/.cache/smoothcam`; None without a home."""
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "smoothcam"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "smoothcam"
    return None


@dataclass(frozen=True)
class Cache:
    """Files of one folder whose names begin with `key`; without a folder, nothing is kept.

    Whatever is wrong with a file or the folder, it is as if nothing were there. A folder that others may write to is not
    used: what is in it decides what is computed.
    """

    folder: Path | None
    key: str

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name; None where there is nothing, or not all of it."""
        path = self._path(name)
        if path is None:
            return None
        with suppress(OSError):
            contents = path.read_bytes()
            digest, body = contents[:_DIGEST], contents[_DIGEST:]
            if hashlib.sha256(body).digest() == digest:
                os.utime(path)
                return body
        return None

    def save(self, name: str, contents: bytes) -> None:
        """Keep something for next time, if that can be done."""
        path = self._path(name)
        if path is None or len(contents) > MOST_BYTES // 2:
            return
        with suppress(OSError):
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(hashlib.sha256(contents).digest() + contents)
                    file.close()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            _evict(path.parent)

    def _path(self, name: str) -> Path | None:
        if self.folder is None:
            return None
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
            if status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return self.folder / hashlib.sha256(f"{self.key}\n{name}".encode()).hexdigest()
        return None


NO_CACHE = Cache(None, "")


def _evict(folder: Path) -> None:
    files = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda file: file[0].st_mtime_ns)
    total = sum(status.st_size for status, _ in files)
    for status, path in files:
        if total <= MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= status.st_size
