"""A store of objects, such as S3 or Google's, through fsspec: read, put, list and delete, and nothing else is asked of it."""

import errno
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from cam_cli.errors import UsageError
from cam_cli.storage.location import Stat, Url

LONGEST_KEY = 1024
"""Bytes that a key may have, at S3 and at Google's alike."""

_LONGEST_REASON = 300

_PACKAGES = {"s3": ("s3fs", "smoothcam[remote]"), "gs": ("gcsfs", "gcsfs")}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}}  # reading an image is one request then, not two


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What lies in a folder of a store: an object or, without a stat, a folder; name: as it stands in the key."""

    name: str
    stat: Stat | None


class Store:
    """The stores of one protocol; for any thread. Raises UsageError if what talks to such a store is not installed.

    Credentials, endpoint and region are those that the store's own tools would take: from the environment, `~/.aws`,
    fsspec's own configuration. Every failure is an `OSError` with its reason in a few words.
    """

    def __init__(self, protocol: str) -> None:
        package, extra = _PACKAGES[protocol]
        try:
            import fsspec

            self._fs = fsspec.filesystem(protocol, use_listings_cache=False, **_OPTIONS.get(protocol, {}))
        except ImportError:
            raise UsageError(f"{protocol}:// needs the package {package}: pip install '{extra}'") from None
        self._protocol = protocol
        self._peeked = threading.local()

    def stat(self, url: Url) -> Stat | None:
        """Return what the store says of an object, None for a folder; raises FileNotFoundError if there is neither."""
        with _plain_words():
            info = self._fs.info(url.path)
        return None if info["type"] == "directory" else _stat(info)

    def peek(self, url: Url) -> list[StoreEntry]:
        """Return up to a thousand of what lies in a folder; listing its `children` next does not ask for these again."""
        pages = self._pages(url.bucket, url.prefix, "/")
        first = next(pages, [])
        self._peeked.last = url, chain([first], pages)
        return first

    def children(self, url: Url, beginning: str = "") -> Iterator[StoreEntry]:
        """Yield what lies in a folder and has a name that begins so, in the order of the keys, asked for page by page."""
        peeked, pages = getattr(self._peeked, "last", (None, iter(())))
        self._peeked.last = None, iter(())
        if beginning or peeked != url:
            pages = self._pages(url.bucket, url.prefix + beginning, "/")
        for page in pages:
            for entry in page:
                yield StoreEntry(beginning + entry.name, entry.stat)

    def below(self, url: Url) -> Iterator[tuple[str, Stat]]:
        """Yield the rest of the key and the stat of each object below a folder, at any depth."""
        for page in self._pages(url.bucket, url.prefix, ""):
            for entry in page:
                if entry.stat is not None:
                    yield entry.name, entry.stat

    def read(self, url: Url) -> bytes:
        """Return an object's bytes."""
        with _plain_words():
            return bytes(self._fs.cat_file(url.path))

    def fetch(self, files: Mapping[Url, Path]) -> None:
        """Write objects' bytes into files, several at a time."""
        with _plain_words():
            self._fs.get([url.path for url in files], [str(file) for file in files.values()])

    def put(self, url: Url, data: bytes, *, new: bool = False) -> str:
        """Put an object, whole, and return its tag; new: there must be none yet."""
        with _plain_words():
            info = self._fs.pipe_file(url.path, data, mode="create" if new else "overwrite")
            known = isinstance(info, Mapping) and "ETag" in info
            return _stat(info if known else self._fs.info(url.path)).tag

    def upload(self, file: Path, url: Url) -> None:
        """Put the bytes of a file as an object, in parts if there are many."""
        with _plain_words():
            self._fs.put_file(str(file), url.path)

    def put_new(self, objects: Mapping[Url, bytes]) -> None:
        """Put objects where there are none yet, several at a time."""
        with _plain_words():
            self._fs.pipe({url.path: data for url, data in objects.items()}, mode="create")

    def delete(self, url: Url) -> None:
        """Delete an object, if it is there."""
        with suppress(FileNotFoundError), _plain_words():
            self._fs.rm_file(url.path)

    def _pages(self, bucket: str, prefix: str, delimiter: str) -> Iterator[list[StoreEntry]]:
        """Yield, page by page, what begins with a prefix, up to the delimiter if there is one, in the order of the keys."""
        pages = (_pages_of_s3 if self._protocol == "s3" else pages_of_any)(self._fs, bucket, prefix, delimiter)
        while True:
            with _plain_words():
                page = next(pages, None)
            if page is None:
                return
            yield sorted(page, key=lambda entry: entry.name.encode())


def _pages_of_s3(fs: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[list[StoreEntry]]:
    """Ask S3 itself, as fsspec lists a folder as a whole only, and none whose name is empty."""
    more: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, **fs.req_kw, **more)
        folders = [StoreEntry(entry["Prefix"][len(prefix) : -1], None) for entry in page.get("CommonPrefixes") or ()]
        yield folders + [StoreEntry(entry["Key"][len(prefix) :], _stat(entry)) for entry in page.get("Contents") or ()]
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def pages_of_any(fs: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[list[StoreEntry]]:
    """Yield what `Store` lists of any store that fsspec knows, all in one page."""
    folder, _, beginning = prefix.rpartition("/")
    path = f"{bucket}/{folder}" if folder else bucket
    start = f"{bucket}/{prefix}"
    try:
        infos = fs.ls(path, detail=True) if delimiter else fs.find(path, prefix=beginning, detail=True).values()
    except FileNotFoundError:
        fs.ls(bucket)
        return
    yield [
        StoreEntry(info["name"].rstrip("/")[len(start) :], None if info["type"] == "directory" else _stat(info))
        for info in infos
        if info["name"].startswith(start)
    ]


def _stat(info: Mapping[str, Any]) -> Stat:
    size = info.get("size", info.get("Size"))
    tag = next((info[name] for name in ("ETag", "etag", "md5Hash") if info.get(name)), "")
    modified = next((info[name] for name in ("LastModified", "mtime", "updated") if info.get(name)), None)
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    return Stat(int(size or 0), str(tag).strip('"'), modified)


@contextmanager
def _plain_words() -> Iterator[None]:
    """Turn whatever the clients of stores raise into an `OSError` that says why in a few words."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        words = " ".join(str(error.args[-1] if error.args else error).split())
        reason, number = words[:_LONGEST_REASON] or type(error).__name__, getattr(error, "errno", None) or errno.EIO
        if isinstance(error, FileNotFoundError):
            number, reason = errno.ENOENT, f"no such {'bucket' if 'bucket does not exist' in str(error) else 'object'}"
        elif isinstance(error, FileExistsError):
            number, reason = errno.EEXIST, "somebody else has put an object there"
        elif isinstance(error, PermissionError):
            number, reason = errno.EACCES, f"the store refuses: {reason}"
        raise OSError(number, reason) from error
