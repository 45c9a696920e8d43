"""A store of objects for the tests: moto's server, a process of its own that speaks S3 over HTTP and logs every request."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BUCKET = "bucket"
_REQUEST = re.compile(r'"(?:\x1b\[[0-9;]*m)?([A-Z]+) (\S+) HTTP/[^"]*" ([0-9]+)')
_RUNNING = re.compile(r"Running on http://[^:]+:([0-9]+)")


class ObjectStore:
    """A server with one bucket."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start the server, with nothing in it, at the port it had before."""
        with self._log.open("wb") as stream:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while not (found := _RUNNING.search(self._log.read_text("utf-8"))):
            assert self.process.poll() is None, self._log.read_text("utf-8")
            assert time.monotonic() < end
            time.sleep(0.02)
        self.port = int(found[1])
        self.client.call_s3("create_bucket", Bucket=BUCKET)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def variables(self) -> dict[str, str]:
        """What a command has to find in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def client(self) -> Any:
        """Someone else's way into the store."""
        import s3fs

        return s3fs.S3FileSystem(
            endpoint_url=self.variables["AWS_ENDPOINT_URL"], key="tests", secret="tests", use_listings_cache=False
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.call_s3("put_object", Bucket=BUCKET, Key=key, Body=data)

    def upload(self, folder: Path, prefix: str) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def download(self, prefix: str, folder: Path) -> Path:
        """Copy what lies below a prefix, as the store's own tools do."""
        for key in self.keys(prefix):
            path = folder / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.client.cat_file(f"{BUCKET}/{key}"))
        return folder

    def keys(self, prefix: str) -> list[str]:
        return [path.removeprefix(f"{BUCKET}/") for path in self.client.find(f"{BUCKET}/{prefix}")]

    def requests(self) -> list[tuple[str, str]]:
        """Return every request since the start or `forget`, as its method and its path below the bucket."""
        found = _REQUEST.findall(self._log.read_text("utf-8"))
        return [(method, path.removeprefix(f"/{BUCKET}").removeprefix("/")) for method, path, _ in found]

    def counted(self) -> Counter[str]:
        """Return how many requests of each kind there were; a listing is a GET of the bucket itself."""
        return Counter("LIST" if path.startswith("?") else method for method, path in self.requests())

    def forget(self) -> None:
        with self._log.open("r+b") as stream:
            stream.truncate()

    def deny(self, *, all_requests: bool) -> None:
        """Have every request refused that is not signed by somebody the store knows, which nobody is; or none any more."""
        free = b"0" if all_requests else b"1000000000"
        url = f"{self.variables['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(url, free, {"Content-Type": "text/plain"}, method="POST")).close()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Have the server answer nothing, though it takes connections."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def in_environment(variables: Mapping[str, str]) -> pytest.MonkeyPatch:
    """Set variables of this process, until `undo`."""
    patch = pytest.MonkeyPatch()
    for name, value in variables.items():
        patch.setenv(name, value)
    return patch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    found = ObjectStore(tmp_path_factory.mktemp("store") / "log")
    patch = in_environment(found.variables)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # it keeps one for each set of arguments, and the port is none of these
    yield found
    patch.undo()
    found.kill()
