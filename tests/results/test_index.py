"""The index of a run folder: what is found again in whatever a crash, a neighbour or bad luck left of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cam_cli.errors import SmoothcamError
from cam_cli.results import index
from cam_cli.results.index import Index, IndexWriter, hash64

pytestmark = pytest.mark.pure

Row = dict[str, Any]
MAP = {
    "layer": "block5_conv3",
    "method": "smoothgradcam++",
    "target": {"index": 235, "label": "German shepherd", "wnid": "n02106662"},
    "selection": {"filters": None, "region": False, "subset": None, "top": None},
    "state": "ok",
    "grid": [14, 14],
    "min": 0.0,
    "max": 1.25,
    "files": {"raw": "block5_conv3.235.npy", "heatmap": "block5_conv3.235.heatmap.png", "overlay": None},
}
START = datetime(2025, 3, 1, tzinfo=UTC)


def a_row(path: str, second: float = 0, serial: int = 0) -> Row:
    return {
        "path": path,
        "status": "ok",
        "error": None,
        "fingerprint": f"{serial:064x}",
        "sha256": "0" * 64,
        "predictions": [{"index": 235, "label": "German shepherd", "probability": 0.9, "logit": 12.5}],
        "maps": [MAP, MAP],
        "joint": [],
        "source": {"size": 1, "mtime_ns": 2, "ctime_ns": 3},
        "manifest_mtime_ns": 1_700_000_000_000_000_000,
        "finished": (START + timedelta(seconds=second)).isoformat(timespec="microseconds"),
    }


def line(row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


def found(folder: Path | Sequence[Path]) -> dict[str, Row]:
    with Index(folder) as index:
        rows = {row["path"]: row for row in index.rows()}
        assert len(index) == len(rows)
        assert all(index.row(path) == row for path, row in rows.items())
    return rows


paths = st.sampled_from(["a.jpg", "b/a.jpg", "Größe.png", "line\nbreak.png", "back\\\\slash.gif", ""])
rows = st.builds(a_row, paths, st.sampled_from([-1e6, 0, 1e-6, 1, 86400]), st.integers(0, 2**40))
damaged = st.one_of(
    st.builds(lambda row, key: {k: v for k, v in row.items() if k != key}, rows, st.sampled_from([*a_row("")][:8])),
    st.builds(
        lambda row, key, value: row | {key: value},
        rows,
        st.sampled_from(["path", "status", "fingerprint", "maps", "joint", "predictions", "finished"]),
        st.sampled_from([1, [1], [{}], {"a": 1}, True, None, [None]]),
    ),
    st.builds(lambda row: row | {"finished": row["finished"].removesuffix("+00:00")}, rows),
    st.builds(
        lambda row, odd: row | odd,
        rows,
        st.sampled_from(
            [
                {"status": "done"},
                {"error": "no"},
                {"maps": [MAP | {"files": {"raw": 7}}]},
                {"maps": [MAP | {"state": "odd"}]},
                {"predictions": [{"index": "235", "label": "German shepherd"}]},
            ]
        ),
    ),
)
other_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
junk = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda data: data + b"\n"),
    st.sampled_from([b"\n", b"\0" * 5000 + b"\n", b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n", b'"\\ud800"\n']),
    other_json.map(line),
    damaged.map(line),
    st.builds(lambda row, end: line(row)[:end], rows, st.integers(0, 600)),
)
contents = st.lists(rows.map(line) | junk, max_size=8).map(b"".join)


def understood(data: bytes) -> tuple[list[Row], int]:
    """Return the rows among the complete lines, and how many lines are none, by another parser than the index's."""
    good = []
    lines = data.split(b"\n")[:-1]
    for text in lines:
        try:
            row = json.loads(text.decode())
            complete = (
                isinstance(row, dict)
                and row.keys() == a_row("").keys()
                and row
                == a_row(
                    row["path"],
                    (datetime.fromisoformat(row["finished"]) - START) / timedelta(seconds=1),
                    int(row["fingerprint"], 16),
                )
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
        if complete and isinstance(row["path"], str):
            good.append(row)
    return good, len(lines) - len(good)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_every_complete_row_is_found_and_nothing_else(files: list[bytes], data: st.DataObject) -> None:
    expected: dict[str, Row] = {}
    bad = 0
    with TemporaryDirectory() as folder:
        for number, content in enumerate(files):
            cut = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
            name = "index.jsonl" if number == 0 else f"index.{number}-of-2.jsonl"
            (Path(folder) / name).write_bytes(cut)
            files[number] = cut
        for content in (*files[1:], files[0]):
            good, bad_lines = understood(content)
            bad += bad_lines
            for row in good:
                if row["path"] not in expected or row["finished"] >= expected[row["path"]]["finished"]:
                    expected[row["path"]] = row
        assert found(Path(folder)) == expected
        with Index(Path(folder)) as index:
            assert index.skipped_lines == bad
            assert index.row("never seen.jpg") is None


def test_the_hash_of_a_path_is_blake2b_as_other_tools_compute_it() -> None:
    assert hash64("a.jpg") == 0xFE47F0026E12A789  # printf a.jpg | b2sum -l 64
    assert hash64("ordner/Größe #1.png") == 0x7644A3FCDC32D3E5


def test_what_was_finished_last_counts_whichever_file_it_is_in(tmp_path: Path) -> None:
    """Not the last line of a file, nor the last file; and microseconds count."""
    late, early = a_row("a", 5.000_002, 1), a_row("a", 5.000_001, 2)
    for number, files in enumerate([[[late], [early]], [[early], [late]], [[late, early], []]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in zip(("index.jsonl", "index.1-of-2.jsonl"), files, strict=True):
            (folder / name).write_bytes(b"".join(line(row) for row in content))
        assert found(folder) == {"a": late}


def test_several_folders_are_read_as_one(tmp_path: Path) -> None:
    for name, content in (("one", [a_row("a", 9, 1), a_row("b")]), ("two", [a_row("a", 1, 2), a_row("c")])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.jsonl").write_bytes(b"".join(map(line, content)))
    assert found([tmp_path / "one", tmp_path / "two"]) == {"a": a_row("a", 9, 1), "b": a_row("b"), "c": a_row("c")}


def test_files_of_other_names_and_kinds_are_no_index(tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    for name in ("index.jsonl.bak", "index.1-of-2.json", "index-2.jsonl", "xindex.jsonl", "index.of-2.jsonl"):
        (tmp_path / name).write_bytes(line(a_row("wrong")))
    (tmp_path / "index.1-of-3.jsonl").mkdir()
    os.mkfifo(tmp_path / "index.2-of-3.jsonl")
    assert found(tmp_path) == {}
    assert found(tmp_path / "not there") == {}


def test_only_what_is_kept_can_be_found(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(200)]
    (tmp_path / "index.jsonl").write_bytes(b"".join(line(a_row(name)) for name in names))
    half = 2**63
    with Index(tmp_path, keep=lambda value: value >= half) as index:
        kept = {name for name in names if hash64(name) >= half}
        assert 0 < len(kept) < 200
        assert {row["path"] for row in index.rows()} == kept
        assert {name for name in names if index.row(name)} == kept
        assert index.skipped_lines == 0


def test_a_row_of_another_path_is_not_taken_for_the_one_asked_for(tmp_path: Path) -> None:
    """As it would be if two paths had the same hash; here the line is replaced under the open index."""
    file = tmp_path / "index.jsonl"
    file.write_bytes(line(a_row("one")))
    with Index(tmp_path) as index:
        assert index.row("one") is not None
        file.write_bytes(line(a_row("two")))
        assert index.row("one") is None
        file.write_bytes(b"")
        assert index.row("one") is None
        with pytest.raises(SmoothcamError, match="changed"):
            list(index.rows())


@pytest.mark.parametrize("tail", [b"\n", line(a_row("tail"))], ids=["hole", "row behind a hole"])
def test_an_endless_line_is_passed_over_and_not_held(
    tmp_path: Path, tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole of zeros, as some file systems leave after a power cut; a row glued to its end is none."""
    file = tmp_path / "index.jsonl"
    file.write_bytes(line(a_row("before")))
    piece = 2**22
    assert index._LONGEST <= 2**26, "what one line may take of the memory"
    monkeypatch.setattr(index, "_LONGEST", piece)
    os.truncate(file, file.stat().st_size + 4 * piece)
    with file.open("ab") as stream:
        stream.write(tail + line(a_row("after")))
    tracemalloc.start()
    try:
        assert found(tmp_path).keys() == {"before", "after"}
        assert tracemalloc.get_traced_memory()[1] < 4 * piece
    finally:
        tracemalloc.stop()
    with Index(tmp_path) as rows:
        assert rows.skipped_lines == 1


def test_memory_is_a_few_bytes_an_image(tmp_path: Path) -> None:
    count = 4_000
    with (tmp_path / "index.jsonl").open("wb") as stream:
        for i in range(count):
            stream.write(line(a_row(f"some/folder/{i}.jpg", i)))
    assert (tmp_path / "index.jsonl").stat().st_size > 1000 * count
    tracemalloc.start()
    try:
        with Index(tmp_path):
            pass  # the JSON parser keeps a fixed number of strings for itself
        others = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        with Index(tmp_path) as index:
            held, most = (value - others for value in tracemalloc.get_traced_memory())
            assert held < 30 * count, "24 bytes, and what else Python allocates meanwhile"
            assert most < 120 * count
            tracemalloc.reset_peak()
            assert sum(1 for _ in index.rows()) == count
            assert tracemalloc.get_traced_memory()[1] - others < 60 * count
    finally:
        tracemalloc.stop()


def test_more_shards_than_a_process_may_open_files(tmp_path: Path) -> None:
    count = 300
    for i in range(count):
        (tmp_path / f"index.{i + 1}-of-{count}.jsonl").write_bytes(line(a_row(str(i))))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_before = len([*Path("/dev/fd").iterdir()])
    resource.setrlimit(resource.RLIMIT_NOFILE, (250, before[1]))
    try:
        assert found(tmp_path).keys() == {str(i) for i in range(count)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len([*Path("/dev/fd").iterdir()]) == open_before


def test_an_index_is_read_while_another_process_appends(tmp_path: Path) -> None:
    code = """if True:
        import json, sys
        from pathlib import Path
        from cam_cli.results.index import IndexWriter
        row = json.loads(sys.argv[2])
        with IndexWriter(Path(sys.argv[1])) as rows:
            for i in range(120):
                rows.append(row | {"path": str(i)})
    """
    file = tmp_path / "index.1-of-2.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", code, file, json.dumps(a_row("") | {"maps": [MAP] * 100})])
    seen = 0
    while writer.poll() is None:
        with Index(tmp_path) as index:
            assert index.skipped_lines == 0
            assert len(index) >= seen
            seen = len(index)
            assert {row["path"] for row in index.rows()} == {str(i) for i in range(seen)}
    assert writer.returncode == 0
    assert len(found(tmp_path)) == 120


@settings(max_examples=examples(40), deadline=None)
@given(contents, st.sampled_from([0, 1, 70_000, 200_000]), st.lists(rows, min_size=1, max_size=3))
def test_after_a_torn_end_new_rows_stand_on_lines_of_their_own(content: bytes, extra: int, new: list[Row]) -> None:
    content += b"x" * extra
    whole = content[: content.rfind(b"\n") + 1]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "index.jsonl"
        file.write_bytes(content)
        with IndexWriter(file) as index:
            assert file.read_bytes() == whole
            for row in new:
                index.append(row)
            index.sync()
        *lines, end = file.read_bytes().removeprefix(whole).split(b"\n")
        assert [json.loads(text) for text in lines] == new
        assert end == b""
        assert found(Path(folder)).keys() >= {row["path"] for row in new}


def test_a_row_that_does_not_fit_leaves_no_trace(tmp_path: Path) -> None:
    """The kernel writes what fits and refuses the rest; with room again, the same index goes on."""
    code = """if True:
        import json, resource, sys
        from pathlib import Path
        from cam_cli.results.index import IndexWriter
        file, row = Path(sys.argv[1]), json.loads(sys.argv[2])
        with IndexWriter(file) as rows:
            rows.append(row | {"path": "first"})
            resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, resource.RLIM_INFINITY))
            for _ in range(2):
                try:
                    rows.append(row | {"path": "refused"})
                except OSError as error:
                    print(error.errno, file.read_bytes().count(b"refused"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            rows.append(row | {"path": "last"})
    """
    command = [sys.executable, "-c", code, os.fspath(tmp_path / "index.jsonl"), json.dumps(a_row(""))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{27} 0\n" * 2  # EFBIG
    assert found(tmp_path).keys() == {"first", "last"}
    with Index(tmp_path) as index:
        assert index.skipped_lines == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_told_as_such() -> None:
    with IndexWriter(Path("/dev/full")) as index, pytest.raises(OSError, match="No space"):
        index.append(a_row("a"))


def test_a_row_with_a_nan_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    file = tmp_path / "index.jsonl"
    with IndexWriter(file) as index:
        with pytest.raises(ValueError, match="JSON"):
            index.append(a_row("a") | {"source": float("nan")})
        assert file.read_bytes() == b""


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "somebody's file"
    target.write_bytes(b"no newline")
    (tmp_path / "index.jsonl").symlink_to(target)
    with pytest.raises(SmoothcamError, match=r"index\.jsonl"):
        IndexWriter(tmp_path / "index.jsonl")
    assert target.read_bytes() == b"no newline"


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="a file whose first byte cannot be read, not even by root"
)
def test_an_index_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(SmoothcamError, match="cannot be read"):
        Index(tmp_path)
