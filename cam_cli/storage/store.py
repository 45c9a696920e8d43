"""A store of objects, such as S3 or Google's, through fsspec: read, put, list and delete, and nothing else is asked of it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cam_cli.errors import UsageError
from cam_cli.storage.location import Stat, Url

LONGEST_KEY = 1024
"""Bytes that a key may have, at S3 and at Google's alike."""

_LONGEST_REASON = 300

_PACKAGES = {"s3": ("s3fs", "smoothcam[remote]"), "gs": ("gcsfs", "gcsfs")}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}}  # to read a photo is one request then, not two


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in a folder of a store: an object or, without a stat, a folder; name: as it stands in the key."""

    name: str
    stat: Stat | None


class Store:
    """The stores of one protocol; for any thread.

    Credentials, endpoint and region are those that the store's own tools would take: from the environment, `~/.aws`,
    fsspec's own configuration. Every failure is an `OSError` with its reason in a few words: `FileNotFoundError`,
    `PermissionError`, `FileExistsError` where `put` was to replace nothing.

    Raises:
        UsageError: what talks to such a store is not installed.
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
        """Return what the store says of an object; None where there is none, but objects below it.

        Raises:
            FileNotFoundError: there is neither.
        """
        with _plain_words():
            info = self._fs.info(url.path)
        return None if info["type"] == "directory" else _stat(info)

    def peek(self, url: Url) -> list[Entry]:
        """Return what lies in a folder, up to a thousand entries; the `children` that are asked for next begin with them."""
        pages = self._pages(url.bucket, url.prefix, "/")
        entries = next(pages, [])
        self._peeked.last = url, entries, pages
        return entries

    def children(self, url: Url, beginning: str = "") -> Iterator[Entry]:
        """Yield what lies in a folder, or of that what begins so, in the order of the keys; asked for page by page."""
        last, entries, pages = getattr(self._peeked, "last", (None, [], iter(())))
        self._peeked.last = (None, [], iter(()))
        if last == url and not beginning:
            yield from entries
        else:
            pages = self._pages(url.bucket, url.prefix + beginning, "/")
        for page in pages:
            for entry in page:
                yield Entry(beginning + entry.name, entry.stat) if beginning else entry

    def below(self, url: Url) -> Iterator[tuple[str, Stat]]:
        """Yield all objects below a place, at any depth: the rest of their keys, and what the store says of each."""
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
        """Put an object in its place, whole, and return its tag; new: there must be none yet."""
        with _plain_words():
            told = self._fs.pipe_file(url.path, data, mode="create" if new else "overwrite")
            known = isinstance(told, Mapping) and "ETag" in told
            return (_stat(told) if known else _stat(self._fs.info(url.path))).tag

    def put_new(self, objects: Mapping[Url, bytes]) -> None:
        """Put objects in places where there is none yet, several at a time."""
        with _plain_words():
            self._fs.pipe({url.path: data for url, data in objects.items()}, mode="create")

    def delete(self, url: Url) -> None:
        """Delete an object, if it is there."""
        with suppress(FileNotFoundError), _plain_words():
            self._fs.rm_file(url.path)

    def _pages(self, bucket: str, prefix: str, delimiter: str) -> Iterator[list[Entry]]:
        """Yield, page by page, what begins with a prefix, up to the delimiter if there is one, in the order of the keys."""
        pages = _pages_of_s3 if self._protocol == "s3" else pages_of_any
        listing = pages(self._fs, bucket, prefix, delimiter)
        while True:
            with _plain_words():
                page = next(listing, None)
            if page is None:
                return
            yield sorted(page, key=lambda entry: entry.name.encode())


def _pages_of_s3(fs: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[list[Entry]]:
    """Ask S3 itself, as fsspec lists a folder as a whole only, and none whose name is empty."""
    more: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, **fs.req_kw, **more)
        folders = [Entry(entry["Prefix"][len(prefix) : -1], None) for entry in page.get("CommonPrefixes") or ()]
        yield folders + [Entry(entry["Key"][len(prefix) :], _stat(entry)) for entry in page.get("Contents") or ()]
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def pages_of_any(fs: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[list[Entry]]:
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
        Entry(info["name"].rstrip("/")[len(start) :], None if info["type"] == "directory" else _stat(info))
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
    except FileNotFoundError as error:
        words = "no such bucket" if "bucket does not exist" in str(error) else "no such object"
        raise FileNotFoundError(errno.ENOENT, words) from error
    except FileExistsError as error:
        raise FileExistsError(errno.EEXIST, "somebody else has put an object there") from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"the store refuses: {_gist(error)}") from error
    except OSError as error:
        raise OSError(error.errno or errno.EIO, _gist(error)) from error
    except Exception as error:
        raise OSError(errno.EIO, _gist(error)) from error


def _gist(error: Exception) -> str:
    words = " ".join(str(error.args[-1] if error.args else error).split())
    return words[:_LONGEST_REASON] or type(error).__name__
