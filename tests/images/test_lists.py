"""Lists of paths: every name as it stands, as soon as it is there, and never the whole list."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cam_cli.errors import UsageError
from cam_cli.images.lists import listed

pytestmark = pytest.mark.pure


def read(file: Path, data: bytes, *, nul: bool = False) -> list[bytes]:
    file.write_bytes(data)
    return [os.fsencode(path) for path in listed(file, nul=nul)]


class Pipe(io.RawIOBase):
    """A pipe whose writer writes the parts one at a time; `asked` counts them."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = list(parts)
        self.asked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.asked += 1
        part = self.parts.pop(0) if self.parts else b""
        buffer[: len(part)] = part
        return len(part)


def as_stdin(monkeypatch: pytest.MonkeyPatch, raw: io.RawIOBase) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(raw)))


# A path is normalised by pathlib (`a//b`, `./a`), which names the same file; names alone come back as they are.
NAMES = st.lists(st.binary(min_size=1, max_size=8).filter(lambda b: not {0, 47} & set(b) and b != b"."), max_size=8)


@settings(max_examples=examples(50), deadline=None)
@given(NAMES, st.booleans(), st.integers(1, 9))
@example([b" a ", b"'b\"", b"c\nd", b"e\r", b"#f", b"-g", b"\xff\xfe", b"\xef\xbb\xbf"], True, 1)
def test_a_nul_list_gives_back_every_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], ended: bool, block: int
) -> None:
    data = b"\0".join(names) + (b"\0" if ended else b"")
    assert read(tmp_path_factory.mktemp("nul") / "list", data, nul=True) == names
    with pytest.MonkeyPatch.context() as patch:
        as_stdin(patch, Pipe([data[i : i + block] for i in range(0, len(data), block)]))
        assert [os.fsencode(path) for path in listed("-", nul=True)] == names


@settings(max_examples=examples(50), deadline=None)
@given(NAMES, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([b" a ", b"'b\"", b"#f", b"-g", b"\xff\xfe", b"c d", b"\t"], b"\n", True)
def test_a_list_of_lines_gives_back_every_name_without_line_ends(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], end: bytes, ended: bool
) -> None:
    names = [name for name in names if b"\n" not in name and not name.endswith(b"\r")]
    data = end.join(names) + (end if ended else b"")
    assert read(tmp_path_factory.mktemp("lines") / "list", data) == names


def test_empty_entries_are_skipped_and_one_return_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read(tmp_path / "list", b"\n\na\n\r\n\nb\r\r\n") == [b"a", b"b\r"]
    assert read(tmp_path / "list", b"\0\0a\0\0b\r\0\n", nul=True) == [b"a", b"b\r", b"\n"]
    assert read(tmp_path / "list", b"") == []


def test_paths_are_given_as_soon_as_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for nul, end in ((False, b"\n"), (True, b"\0")):
        pipe = Pipe([b"a" + end, b"b", b"c" + end, b"d"])
        as_stdin(monkeypatch, pipe)
        paths = listed("-", nul=nul)
        assert pipe.asked == 0
        assert [(str(next(paths)), pipe.asked) for _ in range(2)] == [("a", 1), ("bc", 3)]
        assert [str(path) for path in paths] == ["d"]


def test_the_path_of_stdin_is_a_dash_and_stdin_stays_open() -> None:
    script = (
        "import sys; from pathlib import Path; from cam_cli.images.lists import listed\n"
        "print([p.name for p in listed(Path('-'), nul=False)], sys.stdin.buffer.closed)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=b"a b\n#c", capture_output=True, check=True)
    assert done.stdout == b"['a b', '#c'] False\n"


def test_a_closed_stdin_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="stdin"):
        next(listed("-", nul=False))


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    # Held, so that the table of the names pathlib interns keeps its size.
    parts = [sys.intern(f"{i:03}") for i in range(250)]

    def peak(count: int) -> int:
        pairs = itertools.islice(itertools.product(parts, parts), count)
        (tmp_path / "list").write_text("".join(f"{folder}/{file}\n" for folder, file in pairs))
        tracemalloc.start()
        try:
            assert sum(1 for _ in listed(tmp_path / "list", nul=False)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(60_000) < peak(30_000) + 50_000


def test_the_longest_path_is_read_and_one_longer_is_no_path(tmp_path: Path) -> None:
    for nul, end in ((False, b"\n"), (True, b"\0")):
        longest = b"x" * 65_536
        assert read(tmp_path / "list", b"a" + end + longest + end + b"b", nul=nul) == [b"a", longest, b"b"]
        for data in (b"a" + end + longest + b"x" + end, b"a" + end + longest + b"x", b"a" + end + longest * 5):
            with pytest.raises(UsageError, match=r"list:2: ") as caught:
                read(tmp_path / "list", data, nul=nul)
            assert "\n" not in str(caught.value)
    assert read(tmp_path / "list", longest + b"\r\n") == [longest]


def test_an_endless_entry_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe([b"x" * 8192] * 1000)
    as_stdin(monkeypatch, pipe)
    with pytest.raises(UsageError, match="stdin:1: "):
        next(listed("-", nul=False))
    assert pipe.asked < 20


def test_a_nul_in_a_line_points_to_the_other_option(tmp_path: Path) -> None:
    (tmp_path / "a list").write_bytes(b"a\n\nb\0c\0")
    paths = listed(tmp_path / "a list", nul=False)
    assert next(paths) == Path("a")
    with pytest.raises(UsageError, match=r"a list:3: .*--files-from0"):
        next(paths)


def test_a_list_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for source in (tmp_path / "new\nline", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="cannot be read") as caught:
            next(listed(source, nul=False))
        assert "\n" not in str(caught.value)


def test_a_list_is_opened_when_it_is_its_turn(tmp_path: Path) -> None:
    paths = listed(tmp_path / "later", nul=False)
    (tmp_path / "later").write_bytes(b"a\n")
    assert list(paths) == [Path("a")]
