"""Explain many tiny photos with a tiny model, then run the same command again, and print what it took.

python tests/benchmarks/soak.py 100000 [FOLDER]      FOLDER: on the disk to measure; what is written there is removed
"""

from __future__ import annotations

import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONTENTS = 300
IN_A_FOLDER = 1000
WINDOWS = 10
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Look:
    """How far a run was at one moment: processor seconds so far, and resident memory in bytes, its decoders apart."""

    images: int
    cpu: float
    memory: int
    decoders: int


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    seconds: by the clock. cpu: processor seconds, which other work on the machine changes little. peak: resident memory in
    bytes. last_line: on stderr. looks: on the way.
    """

    seconds: float
    cpu: float
    peak: int
    last_line: str
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class Figures:
    """What a soak found.

    rows: of the index, by path. strays: places in OUT that hold more or less than they should. rates: images a second in each
    tenth of the run. efforts: processor seconds an image in each, without the decoders'. first, last: medians over the second
    and the last thousand images. again, dry: the same command once more, and with --dry-run, where TensorFlow and Keras cannot
    be imported. totals: of `again`, from run.json. skipped: how many images the dry run would skip.
    """

    images: int
    run: Ended
    rows: dict[str, dict[str, Any]]
    index_bytes: int
    strays: tuple[str, ...]
    rates: tuple[float, ...]
    efforts: tuple[float, ...]
    first: Look
    last: Look
    again: Ended
    totals: dict[str, int]
    dry: Ended
    skipped: int
    summary: Ended

    @property
    def growth(self) -> float:
        """By how much the memory of the run grew from the first thousand images to the last, as a share."""
        return self.last.memory / self.first.memory - 1

    @property
    def growth_of_decoders(self) -> float:
        """The same of the decoders."""
        return self.last.decoders / self.first.decoders - 1

    def table(self) -> str:
        """Return the figures as Markdown."""
        lines = {
            "images": f"{self.images:,}",
            "run": f"{_time(self.run)}, {self.images / self.run.seconds:.1f} images/s",
            "images/s by tenths": ", ".join(f"{rate:.0f}" for rate in self.rates),
            "processor ms/image by tenths": ", ".join(f"{1000 * effort:.1f}" for effort in self.efforts),
            "memory after the first 1,000": f"{_mb(self.first.memory)}, decoders {_mb(self.first.decoders)}",
            "memory over the last 1,000": f"{_mb(self.last.memory)}, decoders {_mb(self.last.decoders)}",
            "growth": f"{self.growth:+.1%}, decoders {self.growth_of_decoders:+.1%}",
            "peak memory": _mb(self.run.peak),
            "index": f"{len(self.rows):,} rows, {_mb(self.index_bytes)}; strays: {len(self.strays)}",
            "same command again": f"{_time(self.again)}, peak {_mb(self.again.peak)}, without TensorFlow",
            "dry run on top": f"{_time(self.dry)}, peak {_mb(self.dry.peak)}, without TensorFlow",
            "summarize": f"{_time(self.summary)}, peak {_mb(self.summary.peak)}",
        }
        return "\n".join(["| what | figure |", "|---|---|", *(f"| {key} | {value} |" for key, value in lines.items())])


def soak(folder: Path, images: int) -> Figures:
    """Explain so many photos in `folder`, which is empty, and again, and return what it took; the files stay.

    Raises:
        RuntimeError: a command ended with another code than 0.
    """
    photos, out = folder / "photos", folder / "out"
    _write_photos(photos, images)
    model = _write_model(folder / "tiny.keras")
    flags = ["--model", str(model), "--layer", "conv2", "--write", "raw", "--picture-size", "16", "-o", str(out)]
    command = ["explain", str(photos), *flags]
    run = _watched(command, folder, out / "index.jsonl")
    index = (out / "index.jsonl").read_bytes()
    rows = [json.loads(line) for line in index.splitlines()]
    strays = tuple(_strays(out))
    without = _without_tensorflow(folder / "without")
    again = _watched(command, folder, path=without)
    totals = json.loads((out / "run.json").read_text())["totals"]
    dry = _watched([*command, "--dry-run"], folder, path=without)
    skipped = sum(line.startswith(b"skip\t") for line in (folder / "stdout").read_bytes().splitlines())
    summary = _watched(["summarize", str(out)], folder)
    thousand = min(1000, images // 3)
    return Figures(
        images=images,
        run=run,
        rows={row["path"]: row for row in rows},
        index_bytes=len(index),
        strays=strays,
        rates=_rates(rows),
        efforts=_efforts(run.looks),
        first=_typical(run.looks, thousand, 2 * thousand),
        last=_typical(run.looks, images - thousand, images),
        again=again,
        totals=totals,
        dry=dry,
        skipped=skipped,
        summary=summary,
    )


def _write_photos(folder: Path, images: int) -> None:
    contents = []
    for seed in range(min(CONTENTS, images)):
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.NEAREST).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    for i in range(images):
        path = folder / f"{i // IN_A_FOLDER:04}" / f"{i:07}.png"
        if i % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(contents[i % len(contents)])


def _write_model(file: Path) -> Path:
    import keras

    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv1"),
            keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv2"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras saves through an interface that NumPy deprecates
        model.save(file)
    file.with_suffix(".yaml").write_text("name: tiny\ninput: {size: [32, 32], mean: [127], std: [128]}\n")
    return file


def _without_tensorflow(folder: Path) -> str:
    """Make a folder that, named in PYTHONPATH, has the import of TensorFlow or Keras end the command."""
    folder.mkdir()
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return str(folder)


def _watched(arguments: list[str], folder: Path, index: Path | None = None, path: str = "") -> Ended:
    """Run a smoothcam command to its end and look at it again and again.

    Args:
        index: the index that it writes. path: goes before all else that Python imports from.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMOOTHCAM_")}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [path, environment.get("PYTHONPATH")]))
    started, worked = time.monotonic(), _worked()
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        command = [sys.executable, "-m", "cam_cli", *arguments]
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
    looks: list[Look] = []
    peak = 0
    lines = _Lines(index)
    while process.poll() is None:
        with suppress(OSError, StopIteration):  # it has just ended, or a decoder has
            peak = max(peak, _memory(process.pid, "VmHWM"))
            decoders = sum(
                [_memory(child) for child in _children(process.pid)]
            )  # in a generator, StopIteration ends it oddly
            looks.append(Look(lines.count(), _processor_seconds(process.pid), _memory(process.pid), decoders))
        time.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - started
    said = (folder / "stderr").read_text().splitlines() or [""]
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {process.returncode}: {said[-1]}")
    return Ended(seconds, _worked() - worked, peak, said[-1], tuple(looks))


class _Lines:
    """Counts the lines of a file that grows."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read = 0
        self._lines = 0

    def count(self) -> int:
        if self._path and self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            self._lines += new.count(b"\n")
        return self._lines


def _worked() -> float:
    """Return the processor seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, which: str = "VmRSS") -> int:
    """Return the resident memory of a process, or with VmHWM its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _typical(looks: tuple[Look, ...], since: int, until: int) -> Look:
    """Return the median over a stretch of the run; where nobody looked then, the nearest look."""
    within = [look for look in looks if since <= look.images < until]
    within = within or [min(looks, key=lambda look: abs(look.images - since))]
    return Look(
        within[-1].images,
        within[-1].cpu,
        int(statistics.median(look.memory for look in within)),
        int(statistics.median(look.decoders for look in within)),
    )


def _rates(rows: list[dict[str, Any]]) -> tuple[float, ...]:
    times = [datetime.fromisoformat(row["finished"]).timestamp() for row in rows]
    marks = [times[i * (len(times) - 1) // WINDOWS] for i in range(WINDOWS + 1)]
    return tuple(len(times) / WINDOWS / (until - since) for since, until in pairwise(marks))


def _efforts(looks: tuple[Look, ...]) -> tuple[float, ...]:
    begun = [look for look in looks if look.images]
    done = begun[-1].images
    marks = [min(begun, key=lambda look: abs(look.images - i * done / WINDOWS)) for i in range(WINDOWS + 1)]
    return tuple((until.cpu - since.cpu) / max(1, until.images - since.images) for since, until in pairwise(marks))


def _strays(out: Path) -> list[str]:
    """Return what lies in OUT and is neither a record of the run nor a file that an image's manifest or map should be."""
    found = []
    for folder, _, files in os.walk(out):
        image = folder.endswith(".png")
        expected = {"manifest.json"} if image else {"run.json", "index.jsonl", ".lock"} if folder == str(out) else set()
        maps = [name for name in files if image and name.endswith(".npy")]
        if not expected <= set(files) or len(maps) != image:
            found.append(folder)
        found += [f"{folder}/{name}" for name in files if name not in expected and name not in maps]
    return found


def _time(ended: Ended) -> str:
    return f"{ended.seconds:.1f} s (processor {ended.cpu:.1f} s)"


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def main() -> None:
    """Print the table."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    images = int(sys.argv[1])
    place = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory(prefix="soak-", dir=place) as folder:
        sys.stdout.write(f"{soak(Path(folder), images).table()}\n")


if __name__ == "__main__":
    main()
