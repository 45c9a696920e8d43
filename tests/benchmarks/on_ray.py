"""Compare runs on Ray with a run in one process: each explains the sample images many times over, in turn, on this machine.

python tests/benchmarks/on_ray.py [--images N] [--rounds N]

Prints, for each way to run, seconds of the whole command and of its images alone, from the first row in the index to the
last; both also as multiples of the run in one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from cam_cli.decoding.pool import cores

SAMPLES = sorted((Path(__file__).parents[2] / "sample_images").glob("*.jpg"))
CORES = cores()
WAYS: dict[str, tuple[str, ...]] = {
    "in one process": (),
    "on Ray, one actor": ("--on", "ray", "--actors", "1"),
    f"on Ray, {CORES} actors": ("--on", "ray", "--actors", str(CORES)),
}


def timed(images: Path, out: Path, flags: tuple[str, ...]) -> tuple[float, float]:
    """Return seconds of a whole command, and of its images alone."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "cam_cli",
        "explain",
        str(images),
        "--layer",
        "top_activation",
        "-q",
        "-o",
        str(out),
    ]
    subprocess.run([*command, *flags], check=True)
    seconds = time.perf_counter() - started
    rows = [json.loads(line) for line in (out / "index.jsonl").read_bytes().splitlines()]
    finished = sorted(datetime.fromisoformat(row["finished"]) for row in rows)
    return seconds, (finished[-1] - finished[0]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for number, sample in enumerate(islice(cycle(SAMPLES), arguments.images)):
            (images / f"{number:05}.jpg").symlink_to(sample)
        for turn in range(arguments.rounds):
            names = list(WAYS)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                times[name].append(timed(images, Path(folder) / f"{turn} {name}", WAYS[name]))
    plain = np.array(times["in one process"])
    sys.stdout.write(f"{arguments.images} images, {CORES} cores; medians of {arguments.rounds} rounds\n\n")
    sys.stdout.write(
        "| | whole command, s | of one process's | images alone, s | of one process's |\n|---|---|---|---|---|\n"
    )
    for name, values in times.items():
        whole, alone = np.median(values, axis=0)
        of_whole, of_alone = np.median(np.array(values) / plain, axis=0)
        sys.stdout.write(f"| {name} | {whole:.1f} | {of_whole:.2f} | {alone:.1f} | {of_alone:.2f} |\n")


if __name__ == "__main__":
    main()
