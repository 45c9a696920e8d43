"""Whole runs whose photos or results are in a store of objects: what they write, what they survive, and what they cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launcher import Command, Launcher, await_that
from object_store import BUCKET, ObjectStore, store
from run_trees import check_equal_maps, check_whole, image_folders, make_photos, rows, timeless

__all__ = ["store"]

COUNT, BROKEN = 12, 2
PHOTOS, OUT = f"s3://{BUCKET}/photos", f"s3://{BUCKET}/out"


@pytest.fixture(scope="module")
def in_store(launcher: Launcher, store: ObjectStore) -> Launcher:
    """Starts commands that know the store."""
    return launcher.with_variables(**store.variables)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with names that the server takes: moto knows no key with a line feed."""
    folder = make_photos(tmp_path_factory.mktemp("photos") / "photos", COUNT, BROKEN)
    shutil.move(folder / "b" / "c\nd", folder / "b" / "c d")
    return folder


@pytest.fixture(scope="module")
def flags(model_file: Path) -> list[object]:
    return ["--model", model_file, "--layer", "conv1", "-v"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, in_store: Launcher, photos: Path, flags: list[object]) -> Path:
    """What the run makes on this machine."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert in_store.run("explain", photos, *flags, "-o", out, "--sheet").ended() == 3
    return out


@pytest.fixture(autouse=True)
def _fresh(store: ObjectStore, photos: Path) -> None:
    """The photos in the store, and nothing else."""
    for key in store.keys(""):
        store.client.rm_file(f"{BUCKET}/{key}")
    store.upload(photos, "photos")
    store.forget()


@pytest.fixture
def explain(in_store: Launcher, flags: list[object]) -> Any:
    def run(*arguments: object, photos: object = PHOTOS, stdout: Path | str = os.devnull) -> Command:
        command = in_store.start("explain", *([photos] if photos else []), *flags, *arguments, stdout=str(stdout))
        command.ended()
        assert "Traceback" not in command.said
        return command

    return run


def check_same(copy: Path, plain: Path) -> None:
    """Check that a run that was copied out of the store is what one on this machine is, but for times, places and its parts."""
    check_equal_maps(copy, plain)
    mine, theirs = timeless(copy), timeless(plain)
    assert {name for name in mine if "/" in name} == {name for name in theirs if "/" in name}
    for name in theirs:
        if name.endswith("/manifest.json"):
            assert mine[name] == theirs[name]
    index = [[json.loads(line) for line in tree["index.jsonl"].splitlines()] for tree in (mine, theirs)]
    for line in (*index[0], *index[1]):
        for key in ("source", "manifest_mtime_ns", "manifest_tag"):
            line.pop(key, None)
    assert index[0] == index[1]
    totals = [json.loads(tree["run.json"])["totals"] for tree in (mine, theirs)]
    assert totals[0] == totals[1]


# --- what they write


def test_photos_and_results_in_a_store_are_those_of_a_run_on_this_machine(
    store: ObjectStore, explain: Any, plain: Path, tmp_path: Path
) -> None:
    command = explain("-o", OUT, "--sheet")
    assert command.ended() == 3, command.said
    asked = store.counted()
    copy = store.download("out", tmp_path / "copy")
    check_same(copy, plain)
    assert (copy / "sheet.jpg").stat().st_size > 1000
    assert not [key for key in store.keys("out") if ".lock-" in key], "the ticket is gone"

    good = COUNT - BROKEN
    files = 4 * good + BROKEN
    assert asked["PUT"] <= files + 8
    photos = [path for method, path in store.requests() if method == "GET" and path.startswith("photos/")]
    assert len(photos) == COUNT + good + BROKEN, "each once for the run, and once for the sheet"

    store.forget()
    again = explain("-o", OUT)
    assert again.ended() == 3
    assert f"{good} already done" in again.said
    assert not [path for _, path in store.requests() if path.startswith(("photos/", "out/photo", "out/a%20", "out/b/"))]
    assert store.counted().total() <= 22
    assert {key for key in store.keys("out") if "/index" in key} == {"out/index.part-000001.jsonl"}


@pytest.mark.long
def test_photos_in_a_store_and_results_here_and_the_reverse(
    store: ObjectStore, in_store: Launcher, explain: Any, photos: Path, plain: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    assert explain("-o", here).ended() == 3
    check_whole(here, over=True)
    check_same(here, plain)
    assert explain("-o", here).ended() == 3
    assert json.loads((here / "run.json").read_bytes())["totals"]["skipped"] == COUNT - BROKEN

    assert explain("-o", OUT, photos=photos).ended() == 3
    check_same(store.download("out", tmp_path / "copy"), plain)

    for command in (["evaluate", here, "-q", "--stability"], ["report", here, "-q"], ["compare", here, plain]):
        assert in_store.run(*command).ended() == 0
    assert (here / "report.html").read_text().count(f"s3://{BUCKET}/photos/") == COUNT
    assert in_store.run("evaluate", tmp_path / "copy", "-q").ended() == 0


@pytest.mark.long
def test_a_run_that_was_copied_out_of_the_store_goes_on_here(
    store: ObjectStore, explain: Any, photos: Path, tmp_path: Path
) -> None:
    explain("-o", OUT)
    copy = store.download("out", tmp_path / "copy")
    command = explain("-o", copy)
    assert command.ended() == 3
    assert f"{COUNT - BROKEN} already done" in command.said


@pytest.mark.long
def test_shards_add_up_in_the_store(
    store: ObjectStore, in_store: Launcher, explain: Any, plain: Path, tmp_path: Path
) -> None:
    for shard in ("1/3", "2/3"):
        assert explain("-o", OUT, "--shard", shard).ended() in {0, 3}
    missing = in_store.run("summarize", OUT)
    assert missing.ended() == 3
    assert "of 3 shards 3 missing" in missing.said
    assert explain("-o", OUT, "--shard", "3/3").ended() in {0, 3}
    told = tmp_path / "told"
    assert in_store.start("summarize", OUT, "--format", "json", stdout=str(told)).ended() == 3
    summary = json.loads(told.read_text())
    assert summary["complete"]
    assert summary["images"] == {"ok": COUNT - BROKEN, "failed": BROKEN}
    assert not summary["rows_missing"]
    check_equal_maps(store.download("out", tmp_path / "copy"), plain)


# --- what changes, and what fails


def data(file: Path) -> dict[str, dict[str, Any]]:
    found = {row["path"]: row for row in map(json.loads, file.read_text().splitlines())}
    file.unlink()
    return found


def done_again(file: Path) -> set[str]:
    return {path for path, row in data(file).items() if not row["skipped"]}


@pytest.mark.long
def test_what_changed_is_done_again_and_nothing_else(
    store: ObjectStore, explain: Any, photos: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    explain("-o", OUT, "--json", stdout=told)
    (bad,) = (path for path, row in data(told).items() if row["status"] == "failed" and path.startswith("a folder"))
    store.put("photos/photo 000.png", (photos / "photo 003.jpg").read_bytes())
    store.put("photos/photo 003.jpg", (photos / "photo 003.jpg").read_bytes())  # the same, put again
    store.put(f"photos/{bad}", (photos / "photo 003.jpg").read_bytes())
    store.client.rm_file(f"{BUCKET}/{next(key for key in store.keys('out/photo 006.png') if key.endswith('.npy'))}")
    store.forget()
    explain("-o", OUT, "--dry-run", "--json", stdout=told)
    actions = {path: row["action"] for path, row in data(told).items() if row["action"] != "skip"}
    assert actions == {"photo 000.png": "check", bad: "check", "photo 006.png": "explain"}
    assert not store.counted()["PUT"] + store.counted()["DELETE"], "a dry run writes nothing"
    explain("-o", OUT, "--json", stdout=told)
    assert done_again(told) == set(actions)
    for key in store.keys("out"):
        if "/index" in key:
            store.client.rm_file(f"{BUCKET}/{key}")
    explain("-o", OUT, "--json", stdout=told)
    assert done_again(told) == set(), "without an index the manifests tell"
    explain("-o", OUT, "--json", "--seed", "1", stdout=told)
    assert len(done_again(told)) == COUNT
    check_whole(store.download("out", tmp_path / "copy"), over=True)


@pytest.mark.long
def test_a_list_of_urls_names_objects_and_what_is_missing_or_refused_fails_alone(
    store: ObjectStore, explain: Any, tmp_path: Path
) -> None:
    names = ["photo 000.png", "a folder/photo 001.jpg", "gone.jpg", "b"]
    (tmp_path / "list").write_text("".join(f"{PHOTOS}/{name}\n" for name in names))
    told = tmp_path / "told"
    command = explain(
        "--files-from", tmp_path / "list", "--root", PHOTOS, "--exclude", "a folder", "-o", tmp_path / "out", "--json",
        photos=None, stdout=told,
    )  # fmt: skip
    assert command.ended() == 3
    found = data(told)
    failed = {path: row["error"]["stage"] for path, row in found.items() if row["status"] == "failed"}
    assert failed["gone.jpg"] == "read"
    assert "no such object" in found["gone.jpg"]["error"]["message"]
    assert "photo 000.png" in found
    assert not any(path.startswith("a folder") for path in found)
    assert sum(path.startswith("b/") for path in found) == COUNT // 3

    store.deny(all_requests=True)
    try:
        refused = explain("-o", tmp_path / "other", "--json", photos=f"{PHOTOS}/photo 000.png", stdout=told)
        fatal = explain("-o", tmp_path / "another")
    finally:
        store.deny(all_requests=False)
    assert refused.ended() == 3
    assert data(told)["photo 000.png"]["error"]["stage"] == "read"
    assert fatal.ended() == 1
    assert "the store refuses" in fatal.said.splitlines()[-1]


@pytest.mark.long
def test_a_store_that_does_not_answer_costs_each_photo_its_time_and_no_more(
    store: ObjectStore, in_store: Launcher, flags: list[object], explain: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = f"{PHOTOS}/b"
    command = in_store.start("explain", few, *flags, "-o", out, "--image-timeout", 2, "--workers", 4)
    await_that(lambda: (out / "run.json").exists())
    with store.suspended():
        assert command.ended() == 3, command.said
    kinds = {row["error"]["type"] for row in rows(out).values() if row["status"] == "failed"}
    assert "DecoderHang" in kinds
    assert len(rows(out)) == COUNT // 3
    assert explain("-o", out, "--retry-failed", photos=few).ended() == 3
    assert sum(row["status"] == "failed" for row in rows(out).values()) == 1


# --- what they survive


def manifests(store: ObjectStore) -> int:
    return sum(method == "PUT" and path.endswith("/manifest.json") for method, path in store.requests())


def check_no_torn(store: ObjectStore, folder: Path) -> None:
    """Check that beside every manifest in the store there are the files it names."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    for place in image_folders(store.download("out", folder)).values():
        manifest = json.loads((place / "manifest.json").read_bytes())
        named = {name for entry in manifest["maps"] for name in entry["files"].values() if name}
        assert named == {path.name for path in place.iterdir()} - {"manifest.json"}


@pytest.mark.long
@pytest.mark.parametrize("kills", [2, 12])
def test_a_run_that_is_killed_while_it_uploads_ends_like_one_that_is_left_alone(
    store: ObjectStore, in_store: Launcher, flags: list[object], explain: Any, plain: Path, tmp_path: Path, kills: int
) -> None:
    # First with other settings, so that there are results to be replaced.
    assert explain("-o", OUT, "--seed", "1", "--write", "raw").ended() == 3
    for number in range(kills):
        store.forget()
        command = in_store.start("explain", PHOTOS, *flags, "-o", OUT, "--seed", number % 2)
        puts = 3 + 5 * (number % 7)
        await_that(lambda puts=puts: store.counted()["PUT"] >= puts)  # type: ignore[misc]
        os.kill(command.pid, signal.SIGKILL)
        assert command.ended() == -signal.SIGKILL
        check_no_torn(store, tmp_path / "now")
    assert explain("-o", OUT, "--sheet").ended() == 3
    copy = store.download("out", tmp_path / "copy")
    check_whole(copy, over=True)
    check_equal_maps(copy, plain)


@pytest.mark.long
def test_a_second_run_ends_with_eleven_and_waits_where_it_is_told_to(
    store: ObjectStore, in_store: Launcher, flags: list[object], explain: Any
) -> None:
    first = in_store.start("explain", PHOTOS, *flags, "-o", OUT, "--nsamples", 3000)
    await_that(lambda: any(path.endswith("run.json") for method, path in store.requests() if method == "PUT"))
    second = explain("-o", OUT)
    assert second.ended() == 11
    assert f"process {first.pid} on" in second.said
    waiting = in_store.start("explain", PHOTOS, *flags, "-o", OUT, "--nsamples", 1, "--lock-wait", 100)
    await_that(lambda: "is in use; waiting" in waiting.said)
    os.kill(first.pid, signal.SIGTERM)
    assert first.ended() == 143
    assert waiting.ended() == 3


@pytest.mark.long
def test_a_store_that_refuses_for_a_while_ends_the_run_in_one_line_and_the_same_command_goes_on(
    store: ObjectStore, in_store: Launcher, flags: list[object], explain: Any, plain: Path, tmp_path: Path
) -> None:
    command = in_store.start("explain", PHOTOS, *flags, "-o", OUT)
    await_that(lambda: manifests(store) >= 1)
    store.deny(all_requests=True)
    try:
        assert command.ended() == 1, command.said
    finally:
        store.deny(all_requests=False)
    assert "Traceback" not in command.said
    last = command.said.splitlines()[-1]
    assert last.startswith(f"smoothcam: cannot write to '{OUT}': the store refuses")
    assert last.endswith("the same command goes on from there")
    check_no_torn(store, tmp_path / "now")
    assert explain("-o", OUT, "--retry-failed").ended() == 3
    check_equal_maps(store.download("out", tmp_path / "copy"), plain)


@pytest.mark.long
def test_a_store_that_is_gone_ends_the_run_in_one_line_and_a_new_one_begins_afresh(
    store: ObjectStore, in_store: Launcher, flags: list[object], explain: Any, photos: Path
) -> None:
    command = in_store.start("explain", photos, *flags, "-o", OUT)
    await_that(lambda: manifests(store) >= 1)
    store.kill()
    assert command.ended() == 1, command.said
    assert "Traceback" not in command.said
    assert "Could not connect" in command.said.splitlines()[-1]
    store.start()
    assert explain("-o", OUT, photos=photos).ended() == 3
    assert manifests(store) == COUNT


# --- what they need

MODULES = "'fsspec', 's3fs', 'botocore', 'aiohttp'"


def python(script: str, store: ObjectStore, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys, atexit\nfrom cam_cli.cli import main\n{script}\nmain()"]
    environment = os.environ | store.variables
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )


def test_what_talks_to_stores_is_loaded_for_urls_alone(store: ObjectStore, photos: Path, plain: Path) -> None:
    script = f"atexit.register(lambda: sys.stderr.write('loaded ' + str(sorted({{{MODULES}}} & set(sys.modules)))))"
    for arguments in (["explain", photos, "-o", plain, "--dry-run"], ["summarize", plain], ["--help"]):
        assert python(script, store, *arguments).stderr.endswith("loaded []")
    assert "s3fs" in python(script, store, "explain", PHOTOS, "-o", plain, "--dry-run").stderr.splitlines()[-1]


@pytest.mark.parametrize(("package", "url"), [("s3fs", PHOTOS), ("gcsfs", "gs://bucket/photos")])
def test_without_the_extra_one_line_says_what_to_install(
    store: ObjectStore, photos: Path, package: str, url: str
) -> None:
    for arguments in (["explain", url], ["explain", photos, "-o", url], ["summarize", url]):
        ended = python(f"sys.modules['{package}'] = None", store, *arguments)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert f"needs the package {package}: pip install" in ended.stderr
