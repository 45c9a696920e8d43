"""`smoothcam summarize`: what runs and shards add up to, and what is missing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import Command
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cam_cli.results.summary import summarize

DAY = "2025-03-01T{:02}:00:00+00:00"


def a_map(layer: str = "conv1", method: str = "gradcam", state: str = "ok") -> dict[str, Any]:
    return {"layer": layer, "method": method, "state": state, "files": {"raw": "a.npy"}}


def ok_row(path: str, *maps: dict[str, Any], best: tuple[int, str] = (1, "cat"), hour: int = 1) -> dict[str, Any]:
    classes = [{"index": best[0], "label": best[1]}, {"index": 999, "label": "never the first"}]
    row = {"status": "ok", "error": None, "predictions": classes, "maps": [*maps]}
    return row | {"path": path, "fingerprint": "f", "sha256": "s", "joint": [], "finished": DAY.format(hour)}


def failed_row(path: str, stage: str = "decode", kind: str = "ImageError", hour: int = 1) -> dict[str, Any]:
    error = {"stage": stage, "type": kind, "message": "no"}
    return ok_row(path, hour=hour) | {"status": "failed", "error": error, "predictions": [], "maps": []}


def write_run(
    folder: Path,
    shard: tuple[int, int] | None = None,
    *,
    rows: list[dict[str, Any]] | None = None,
    state: str = "finished",
    hour: int = 1,
    totals: dict[str, int] | None = None,
) -> Path:
    folder.mkdir(exist_ok=True)
    suffix = f".{shard[0]}-of-{shard[1]}" if shard else ""
    run: dict[str, Any] = {"schema_version": 1, "state": state, "started": DAY.format(hour)}
    run["shard"] = {"index": shard[0], "count": shard[1]} if shard else None
    if state != "running":
        run |= {"finished": DAY.format(hour + 2), "totals": totals or {}}
    (folder / f"run{suffix}.json").write_text(json.dumps(run))
    (folder / f"index{suffix}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows or []))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> list[Path]:
    """Shards 1, 2 and 4 of 5, gathered in two folders: finished, stopped, and one that runs or was killed."""
    first = [
        ok_row("a", a_map(method="layercam", state="blank"), a_map(), best=(3, "dog")),
        ok_row("b", a_map(), a_map(state="nonfinite"), best=(3, "dog")),
        failed_row("c\x1b[31m\n.jpg"),
        failed_row("d,1.jpg"),
    ]
    second = [
        failed_row('=1+"e".jpg'),
        failed_row("f"),
        failed_row("g", "read", "FileNotFoundError"),
        ok_row("h", a_map(layer="conv2")),
        failed_row("a", hour=0),  # of an earlier attempt
    ]
    write_run(tmp_path / "one", (1, 5), rows=first, totals={"images": 4})
    write_run(tmp_path / "two", (2, 5), rows=second, state="stopped", totals={"images": 4})
    write_run(tmp_path / "two", (4, 5), rows=[ok_row("i", a_map())], state="running")
    return [tmp_path / "one", tmp_path / "two"]


def test_the_numbers_are_those_counted_by_hand(dataset: list[Path], smoothcam: Command) -> None:
    ended = smoothcam("summarize", *dataset, "--format", "json")
    one, two = map(str, dataset)
    assert ended.code == 3
    assert json.loads(ended.out) == {
        "complete": False,
        "images": {"ok": 4, "failed": 5},
        "failures": [
            {
                "stage": "decode",
                "type": "ImageError",
                "images": 4,
                "examples": ["c\x1b[31m\n.jpg", "d,1.jpg", '=1+"e".jpg'],
            },
            {"stage": "read", "type": "FileNotFoundError", "images": 1, "examples": ["g"]},
        ],
        "maps": [
            {"layer": "conv1", "method": "gradcam", "ok": 3, "blank": 0, "nonfinite": 1},
            {"layer": "conv1", "method": "layercam", "ok": 0, "blank": 1, "nonfinite": 0},
            {"layer": "conv2", "method": "gradcam", "ok": 1, "blank": 0, "nonfinite": 0},
        ],
        "classes": [{"index": 1, "label": "cat", "images": 2}, {"index": 3, "label": "dog", "images": 2}],
        "divisions": [
            {
                "count": 5,
                "current": True,
                "finished": [1],
                "stopped": [2],
                "running": [4],
                "unknown": [],
                "missing": [3, 5],
                "runs": [
                    {"shard": 1, "folder": one, "state": "finished", "images": 4, "seconds": 7200.0},
                    {"shard": 2, "folder": two, "state": "stopped", "images": 4, "seconds": 7200.0},
                    {"shard": 4, "folder": two, "state": "running", "images": None, "seconds": None},
                ],
            }
        ],
        "truth": None,
        "unreadable_folders": 0,
        "unreadable_lines": 0,
        "rows_missing": 0,
        "left_out": {},
    }
    assert ended.out.count("\n") == 1
    assert ended.out == json.dumps(json.loads(ended.out), sort_keys=True) + "\n"


def test_csv_has_a_line_for_each_image(tmp_path: Path, smoothcam: Command) -> None:
    """Whatever is in a file name: commas, quotes; control characters are shown, so an image is a line.

    What a spreadsheet would take for a formula has an apostrophe in front of it.
    """
    likely = [{"index": 1, "label": "cat", "probability": 0.75}, {"index": 2, "label": "dog", "probability": 0.125}]
    dog = {"index": 2, "label": "dog", "rank": 2, "probability": 0.125}
    bird = {"index": 5, "label": "bird", "rank": None, "probability": None}
    rows = [
        ok_row('=1+"e",\n.jpg') | {"predictions": likely, "truth": dog, "correct": False},
        ok_row("b")
        | {"predictions": likely, "truth": dog | {"label": "cat", "index": 1}, "also_true": [bird], "correct": True},
        ok_row("c") | {"predictions": likely, "unknown_truth": "zebra", "correct": None},
        ok_row("d") | {"predictions": likely},
        failed_row("e") | {"truth": bird},
    ]
    ended = smoothcam("summarize", write_run(tmp_path / "out", rows=rows), "--format", "csv")
    assert ended.code == 3
    assert list(csv.reader(ended.out.splitlines())) == [
        ["path", "status", "predicted", "probability", "truth", "truth_probability", "correct"],
        ['\'=1+"e",\\n.jpg', "ok", "cat", "0.75", "dog", "0.125", "false"],
        ["b", "ok", "cat", "0.75", "cat; bird", "0.125", "true"],
        ["c", "ok", "cat", "0.75", "zebra", "", ""],
        ["d", "ok", "cat", "0.75", "", "", ""],
        ["e", "failed", "", "", "bird", "", ""],
    ]


def test_the_table_names_what_is_missing_and_cannot_steer_the_terminal(dataset: list[Path], smoothcam: Command) -> None:
    ended = smoothcam("summarize", *dataset)
    assert "images: 4 ok, 5 failed; not complete\n" in ended.out
    assert "\x1b" not in ended.out
    assert "c\\x1b[31m\\n.jpg" in ended.out
    cells = [line.split() for line in ended.out.splitlines()]
    assert ["1/5", "finished", "4", "7200.0", str(dataset[0])] in cells
    assert ["3,5/5", "missing"] in cells
    assert ["conv1", "gradcam", "3", "0", "1"] in cells
    assert ["3", "dog", "2"] in cells


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_missing_shards_are_one_line_on_stderr(form: str, tmp_path: Path, smoothcam: Command) -> None:
    for shard in (1, 5, 9):
        write_run(tmp_path, (shard, 10), state={5: "stopped"}.get(shard, "finished"))
    ended = smoothcam("summarize", tmp_path, "--format", form)
    assert ended.err == "smoothcam: not complete: of 10 shards 2-4,6-8,10 missing, 5 stopped\n"
    assert ended.code == 3


@settings(max_examples=examples(60), deadline=None)
@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.dictionaries(
                st.integers(1, n),
                st.tuples(st.sampled_from(["finished", "stopped", "running"]), st.booleans()),
                min_size=1,
            ),
        )
    )
)
def test_complete_is_every_shard_finished_wherever_it_ran(drawn: tuple[int, dict[int, tuple[str, bool]]]) -> None:
    count, shards = drawn
    with TemporaryDirectory() as base:
        folders = {write_run(Path(base) / str(there), (n, count), state=state) for n, (state, there) in shards.items()}
        summary = summarize(sorted(folders))
        (division,) = summary.divisions
        for state in ("finished", "stopped", "running"):
            assert division.shards(state) == sorted(n for n, (is_, _) in shards.items() if is_ == state)
        assert division.shards("missing") == [n for n in range(1, count + 1) if n not in shards]
        done = len(shards) == count and all(state == "finished" for state, _ in shards.values())
        assert summary.complete == done
        assert summary.exit_code == (0 if done else 3)


def test_all_done_and_nothing_failed_is_exit_code_0(tmp_path: Path, smoothcam: Command) -> None:
    ended = smoothcam("summarize", write_run(tmp_path / "out", rows=[ok_row("a", a_map())], totals={"images": 1}))
    assert (ended.code, ended.err) == (0, "")
    assert "images: 1 ok, 0 failed; complete\n" in ended.out


@pytest.mark.parametrize(
    ("state", "totals", "rows", "said"),
    [
        ("finished", {}, [failed_row("a")], ""),
        ("stopped", {}, [], "is stopped"),
        ("running", {}, [], "is running or killed"),
        ("odd", {}, [], "is without a readable record"),
        ("finished", {"unreadable_folders": 2}, [], "2 folders could not be read"),
    ],
)
def test_whatever_is_left_to_do_is_exit_code_3(
    state: str, totals: dict[str, int], rows: list[dict[str, Any]], said: str, tmp_path: Path, smoothcam: Command
) -> None:
    ended = smoothcam("summarize", write_run(tmp_path / "out", rows=rows, state=state, totals=totals))
    assert ended.code == 3
    assert said in ended.err


def test_the_latest_result_of_an_image_counts_in_whichever_folder_it_lies(tmp_path: Path) -> None:
    new = write_run(tmp_path / "new", rows=[ok_row("a", hour=5), failed_row("b", hour=2)])
    old = write_run(tmp_path / "old", rows=[failed_row("a", hour=4), ok_row("b", hour=3)])
    summary = summarize([new, old])
    assert (summary.ok, summary.failed) == (2, 0)


def test_a_shard_stopped_here_and_finished_there_is_finished(tmp_path: Path) -> None:
    there = write_run(tmp_path / "there", (1, 1 + 1), hour=5)
    here = write_run(tmp_path / "here", (1, 2), state="stopped", hour=4)
    write_run(here, (2, 2))
    assert summarize([there, here]).complete
    assert summarize([here, there]).complete


def test_two_whole_runs_are_complete_only_together(tmp_path: Path) -> None:
    """They may be of two datasets; that one is finished says nothing of the other, were it the later."""
    stopped = write_run(tmp_path / "stopped", state="stopped", hour=1)
    finished = write_run(tmp_path / "finished", hour=5)
    assert not summarize([stopped, finished]).complete
    assert summarize([finished]).complete
    assert summarize([finished, finished]).complete


def test_how_a_folder_was_last_run_decides(tmp_path: Path) -> None:
    write_run(tmp_path, state="running", hour=1)
    for shard in (1, 2):
        write_run(tmp_path, (shard, 2), hour=2)
    assert summarize([tmp_path]).complete
    write_run(tmp_path, (7, 8), state="finished", hour=3)
    summary = summarize([tmp_path])
    assert not summary.complete
    assert [(division.count, division.current) for division in summary.divisions] == [(8, True), (1, False), (2, False)]
    write_run(tmp_path, hour=4)
    assert summarize([tmp_path]).complete


@pytest.mark.parametrize("record", [b"", b"\xff\0", b"[]", b'{"state": "finished"', b'{"totals": 3, "started": 5}'])
def test_a_record_that_cannot_be_read_is_not_taken_for_a_finished_run(record: bytes, tmp_path: Path) -> None:
    write_run(tmp_path, (1, 2))
    (tmp_path / "run.2-of-2.json").write_bytes(record)
    summary = summarize([tmp_path])
    assert not summary.complete
    assert summary.divisions[0].shards("unknown") == [2]


def test_an_index_that_was_not_copied_is_noticed(tmp_path: Path, smoothcam: Command) -> None:
    write_run(tmp_path, (1, 2), rows=[ok_row("a")], totals={"images": 1})
    write_run(tmp_path, (2, 2), totals={"images": 7})
    (tmp_path / "index.2-of-2.jsonl").unlink()
    assert "7 more images than the index files have" in smoothcam("summarize", tmp_path).err


def test_lines_that_are_no_rows_are_told(tmp_path: Path, smoothcam: Command) -> None:
    write_run(tmp_path, rows=[ok_row("a")])
    with (tmp_path / "index.jsonl").open("ab") as stream:
        stream.write(b"\0\0\n{}\ntorn")
    ended = smoothcam("summarize", tmp_path)
    assert "images: 1 ok" in ended.out
    assert "2 lines of the index" in ended.err


def test_the_ten_most_frequent_classes_by_the_first_prediction(tmp_path: Path) -> None:
    rows = [ok_row(f"{c}-{i}", best=(c, f"class {c}")) for c in range(12) for i in range(c + 1)]
    rows += [ok_row("none") | {"predictions": []}]
    summary = summarize([write_run(tmp_path, rows=rows)])
    assert [(c.index, c.label, c.images) for c in summary.classes] == [
        (c, f"class {c}", c + 1) for c in range(11, 1, -1)
    ]


@pytest.mark.parametrize("make", ["nothing", "empty", "file", "photos"])
def test_what_is_no_run_folder_is_a_usage_error_in_one_line(make: str, tmp_path: Path, smoothcam: Command) -> None:
    place = tmp_path / "odd\nname"
    if make == "file":
        place.write_text("")
    elif make != "nothing":
        place.mkdir()
    if make == "photos":
        (place / "myrun.json").write_text("{}")
    good = write_run(tmp_path / "good")
    ended = smoothcam("summarize", good, place)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert "odd\\nname' is no run folder" in ended.err


def test_memory_does_not_grow_with_the_rows_themselves(tmp_path: Path) -> None:
    count = 10_000
    write_run(tmp_path)
    with (tmp_path / "index.jsonl").open("w") as stream:
        for i in range(count):
            stream.write(json.dumps(ok_row(f"{i}.jpg", *[a_map()] * 20)) + "\n")
    assert (tmp_path / "index.jsonl").stat().st_size > 1500 * count
    tracemalloc.start()
    try:
        assert summarize([tmp_path]).ok == count
        assert tracemalloc.get_traced_memory()[1] < 300 * count
    finally:
        tracemalloc.stop()


def test_summarize_needs_no_tensorflow(tmp_path: Path) -> None:
    write_run(tmp_path)
    code = """if True:
        import sys
        from cam_cli.cli import main
        try:
            main()
        finally:
            print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")], file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, "summarize", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
