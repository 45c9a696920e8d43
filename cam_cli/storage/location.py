"""What a person can name as input or output: paths on this machine, and URLs of objects in a store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote_from_bytes, unquote_to_bytes

PROTOCOLS = ("s3", "gs")
_URL = re.compile(rf"({'|'.join(PROTOCOLS)})://([^/]*)(?:/(.*))?", re.DOTALL)
_OTHER_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ODD = re.compile("\\A~|\\A\\.{0,2}\\Z|[\0-\x1f\x7f\udc80-\udcff]|\\?versionId=")
"""Parts of a key that are no file name, and parts of a path that no key should have."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says of an object without sending it; tag: the ETag or its like, which other bytes do not have."""

    size: int
    tag: str
    modified: datetime | None = None

    def record(self) -> dict[str, int | str]:
        """Return this as it stands in a row of the index."""
        return {"size": self.size, "etag": self.tag}


@dataclass(frozen=True, slots=True)
class Url:
    """An object of a store or, like a folder, all objects whose keys begin with `key/`; used like a `Path`.

    `..` and empty parts of a key are names like any other, which `quoted` turns into parts of a path. key: None is the bucket
    itself. stat: what a listing told.
    """

    protocol: str
    bucket: str
    key: str | None = None
    stat: Stat | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, relative: PurePosixPath | str) -> Url:
        """Return the object at a path of quoted parts."""
        parts = PurePosixPath(relative).parts
        return self.child("/".join(map(unquoted, parts))) if parts else self

    def child(self, name: str, stat: Stat | None = None) -> Url:
        """Return the object of a name, as it stands in the key, below this one."""
        return Url(self.protocol, self.bucket, f"{self.prefix}{name}", stat)

    @property
    def prefix(self) -> str:
        """What the keys of all objects below this one begin with."""
        return "" if self.key is None else f"{self.key}/"

    @property
    def path(self) -> str:
        """Bucket and key, as fsspec takes them."""
        return self.bucket if self.key is None else f"{self.bucket}/{self.key}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket, with the protocol, and the parts of the key."""
        names = () if self.key is None else self.key.split("/")
        return f"{self.protocol}://{self.bucket}", *names

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1]

    @property
    def parents(self) -> tuple[Url, ...]:
        """The folders it lies in, the nearest first, the bucket last."""
        names = self.parts[1:]
        keys = ["/".join(names[:end]) if end else None for end in reversed(range(len(names)))]
        return tuple(Url(self.protocol, self.bucket, key) for key in keys)

    @property
    def parent(self) -> Url:
        """The folder it lies in; of a bucket, itself."""
        return next(iter(self.parents), self)


Location = Path | Url


def location(text: str | os.PathLike[str]) -> Location:
    """Return the URL that a text such as `s3://bucket/key` or `gs://bucket/key` names; any other text is a path.

    One slash at the end of a URL is no part of its name. Raises ValueError for one without a bucket, or of an unknown scheme.
    """
    if isinstance(text, Url):
        return text
    match = _URL.fullmatch(os.fspath(text))
    if match is None:
        if scheme := _OTHER_SCHEME.match(os.fspath(text)):
            raise ValueError(_not_read(scheme[1].lower()))
        return Path(text)
    protocol, bucket, key = match.groups()
    if not bucket:
        raise ValueError(f"names no bucket: '{protocol}://BUCKET/KEY' is expected")
    return Url(protocol, bucket, key.removesuffix("/") if key else None)


def _not_read(scheme: str) -> str:
    known = " and ".join(f"{protocol}://" for protocol in PROTOCOLS)
    if scheme in PROTOCOLS:
        return f"is no URL that is read: write {scheme}:// in lower case"
    advice = {"http": "fetch it first, as with curl -O URL", "https": "fetch it first, as with curl -O URL"}
    advice["file"] = "give the path alone"
    return f"is a URL of the scheme {scheme}, which is not read: {advice.get(scheme, 'copy it here first')}; {known} are read"


def quoted(part: str) -> str:
    """Return a part of a key as a file name, or a file name as a part of a key: the same, but for odd ones.

    Empty ones, `.` and `..`, ones with control characters, bytes that are no UTF-8 or `?versionId=`, which clients of stores
    take for themselves, and ones that begin with `~` are percent-encoded behind a `~`; no two become the same.
    """
    return f"~{quote_from_bytes(os.fsencode(part), safe='')}" if _ODD.search(part) else part


def unquoted(part: str) -> str:
    """Return what `quoted` made a part of."""
    return os.fsdecode(unquote_to_bytes(part[1:])) if part.startswith("~") else part
