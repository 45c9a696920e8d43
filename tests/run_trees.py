"""Run folders as the tests see them: whether everything in one is whole, and whether two of them are equal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cam_cli.results.disk_store import DiskResultStore
from cam_cli.results.index import Index
from cam_cli.results.manifest import Manifest
from cam_cli.results.shard import Shard

OF_A_SHARD = r"(\.\d+-of-\d+)?"
OWN_FILES = re.compile(rf"run{OF_A_SHARD}\.json|index{OF_A_SHARD}(\.part-\d+)?\.jsonl|\.lock|sheet\.jpg")
STAGING = re.compile(rf"\.work{OF_A_SHARD}")
TIMES_OF_A_ROW = ("finished", "manifest_mtime_ns")
TIMES_AND_HOST = ("started", "finished", "host", "pid")


def make_photos(folder: Path, count: int, broken: int = 0) -> Path:
    """Write small photos of noise, some of them in folders of odd names; the last `broken` of them are no images."""
    draw = np.random.default_rng(3)
    places = (folder, folder / "a folder", folder / "b" / "c\nd")
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        buffer = io.BytesIO()
        kind = ("png", "jpg")[number % 2]
        size = (40 + number % 7, 36, 3)
        coarse = draw.integers(0, 256, (5, 4, 3), np.uint8)
        noise = draw.integers(0, 64, size, np.uint8)
        photo = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        Image.fromarray(np.asarray(photo) // 2 + noise).save(buffer, "PNG" if kind == "png" else "JPEG")
        data = buffer.getvalue() if number < count - broken else b"no image"
        (places[number % len(places)] / f"photo {number:03}.{kind}").write_bytes(data)
    return folder


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in an image's folder on the disk."""
    return DiskResultStore(folder.parent, Shard()).manifest(str(folder))


def image_folders(out: Path) -> dict[str, Path]:
    """Return the folders that hold a manifest, by the path of the image that it names."""
    manifests = [path for path in out.rglob("manifest.json") if not STAGING.fullmatch(path.relative_to(out).parts[0])]
    return {json.loads(path.read_bytes())["image"]["path"]: path.parent for path in manifests}


def check_whole(out: Path, *, over: bool, read: bool = True) -> None:
    """Check that all there is in a run folder, whatever befell the run, is whole: every manifest has its files, and every file
    its manifest.

    Args:
        over: the run has come to its end, and nothing but results may be left. read: also read every file.
    """
    waiting = [out]
    while waiting:
        folder = waiting.pop()
        files = {entry.name for entry in folder.iterdir() if not entry.is_dir()}
        below = [entry for entry in folder.iterdir() if entry.is_dir()]
        if folder == out:
            foreign = [name for name in files if not OWN_FILES.fullmatch(name)]
            assert not foreign, foreign
            staging = [entry for entry in below if STAGING.fullmatch(entry.name)]
            assert not (over and staging), staging
            below = [entry for entry in below if entry not in staging]
        elif files:
            named = {"manifest.json", *_files(folder, read=read)}
            assert (files, below) == (named, []), f"{folder}: {sorted(files ^ named)}, {below}"
        waiting += below


def _files(folder: Path, *, read: bool) -> list[str]:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    names = [name for entry in manifest["maps"] for name in entry["files"].values() if name]
    names += [entry["file"] for entry in manifest["joint"]]
    assert bool(names) == (manifest["status"] == "ok")
    for name in names if read else ():
        if name.endswith(".npy"):
            np.load(folder / name)
        else:
            with Image.open(folder / name) as picture:
                picture.load()
    return names


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the latest row of every image."""
    with Index(out) as index:
        assert index.skipped_lines == 0
        return {row["path"]: row for row in index.rows()}


def timeless(out: Path) -> dict[str, bytes]:
    """Return every file of a finished, unsharded run by its path, without what may differ between two equal runs: times, host,
    and which of its images this very start explained."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if not path.is_dir()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    for name in contents:
        if name.endswith("/manifest.json"):
            contents[name] = re.sub(rb'"timing": \{[^}]*\}|"root": "[^"]*"', b"", contents[name])
    ordered = sorted(rows(out).items())
    lines = [{key: value for key, value in row.items() if key not in TIMES_OF_A_ROW} for _, row in ordered]
    contents["index.jsonl"] = b"\n".join(json.dumps(line, sort_keys=True).encode() for line in lines)
    run = json.loads(contents["run.json"])
    for key in TIMES_AND_HOST:
        del run[key]
    del run["config"]["output"]
    run["totals"]["explained"] += run["totals"].pop("skipped")
    contents["run.json"] = json.dumps(run, sort_keys=True).encode()
    return contents


def check_equal_maps(one: Path, other: Path) -> None:
    """Check that two run folders hold the same images with equal maps: raw ones to 1e-5 of their peak, pictures to one grey
    level."""
    mine, theirs = image_folders(one), image_folders(other)
    assert sorted(mine) == sorted(theirs) == sorted(rows(one)) == sorted(rows(other))
    for path in mine:
        names = {entry.name for entry in mine[path].iterdir()}
        assert names == {entry.name for entry in theirs[path].iterdir()}
        for name in names - {"manifest.json"}:
            load = _raw if name.endswith(".npy") else _picture
            first, second = load(mine[path] / name), load(theirs[path] / name)
            assert first.shape == second.shape
            allowed = 1e-5 * np.abs(first).max() if name.endswith(".npy") else 1
            assert np.abs(first - second).max() <= allowed, f"{path}: {name}"


def _raw(file: Path) -> np.ndarray:
    return np.asarray(np.load(file), np.float64)


def _picture(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture, np.int16)
