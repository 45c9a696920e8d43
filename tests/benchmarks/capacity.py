"""How many machines and hours a dataset takes: a small simulation of shards on cores, checked against real runs here.

python tests/benchmarks/capacity.py [--images N]

What one image costs is measured first, stage by stage, each alone: core-seconds to decode, to explain and to write, and how
far the engine makes use of a second core (Amdahl 1967). The simulation then runs shards through these stages on shared
cores. Its times for 1, 2 and 4 shards are printed beside those of real runs, then what it says of datasets nobody could try.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import LITE, LITE_LAYER, explainer, photos_of_two_megapixels, subjects

from cam_cli.decoding.image import DecodeSettings, decode_image
from cam_cli.decoding.pool import cores as cores_here
from cam_cli.models.load import load_network

CORES = cores_here()
SHARDS = (1, 2, 4)
WAITING = 2
ROUNDS = 15
PLANS = ((1_000_000, 1), (100_000_000, 40), (1_000_000_000, 200))
"""Images, and machines to explain them on."""

MACHINE_CORES = 16
SHARD_CORES = 2
NETWORK = 10e9 / 8
FILES_A_SECOND = 20_000
"""What is assumed, not measured: bytes a second in and out of a machine, and files that a shared file system makes a second."""


@dataclass(frozen=True)
class Costs:
    """What a run costs: core-seconds of each stage for one image, and of the start; seconds of it that need one core."""

    decode: float
    explain: float
    parallel: float
    write: float
    start: float


@dataclass
class Task:
    """Work under way: core-seconds that are left, and how many cores it can use."""

    left: float
    cores: int
    stage: str


@dataclass
class Shard:
    """One process: decoders, an engine and a writer with queues between them, as `smoothcam explain` has."""

    images: int
    costs: Costs
    started: bool = False
    decoded: int = 0
    decoding: int = 0
    explained: int = 0
    written: int = 0
    running: list[Task] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.written == self.images

    def begin(self) -> None:
        """Start whatever can start now."""
        busy = {task.stage for task in self.running}
        if not self.started:
            if "start" not in busy:
                self.running.append(Task(self.costs.start, 1, "start"))
            return
        waiting = self.decoded - self.explained
        if "decode" not in busy and self.decoded < self.images and waiting < WAITING + 1:
            self.running.append(Task(self.costs.decode, 1, "decode"))
        if not busy & {"serial", "parallel"} and waiting:
            self.running.append(Task(self.costs.explain * (1 - self.costs.parallel), 1, "serial"))
        if "write" not in busy and self.explained > self.written:
            self.running.append(Task(self.costs.write, 1, "write"))

    def end(self, task: Task) -> None:
        """Take note of work that is done."""
        self.running.remove(task)
        if task.stage == "start":
            self.started = True
        elif task.stage == "decode":
            self.decoded += 1
        elif task.stage == "serial":
            self.running.append(Task(self.costs.explain * self.costs.parallel, CORES, "parallel"))
        elif task.stage == "parallel":
            self.explained += 1
        else:
            self.written += 1


def simulated(images: Sequence[int], costs: Costs, cores: int) -> float:
    """Return the seconds that shards of so many images take together on one machine, which shares its cores fairly."""
    shards = [Shard(count, costs) for count in images]
    now = 0.0
    while not all(shard.finished for shard in shards):
        for shard in shards:
            if not shard.finished:
                shard.begin()
        tasks = [task for shard in shards for task in shard.running]
        speeds = shared(cores, [task.cores for task in tasks])
        step = min(task.left / speed for task, speed in zip(tasks, speeds, strict=True))
        now += step
        for task, speed in zip(tasks, speeds, strict=True):
            task.left -= speed * step
        for shard in shards:
            for task in [task for task in shard.running if task.left <= 1e-12]:
                shard.end(task)
    return now


def shared(cores: float, wanted: Sequence[int]) -> list[float]:
    """Divide cores among tasks that can use so many each: equal shares, and what one leaves goes to the others."""
    given = [0.0] * len(wanted)
    for done, i in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[i] = min(wanted[i], cores / (len(wanted) - done))
        cores -= given[i]
    return given


def measured(folder: Path) -> Costs:
    """Measure every stage alone."""
    photo = next((folder / "photos").iterdir())
    network = load_network(LITE)
    how = DecodeSettings(network.input_shape[:2], network.preprocessing, 640, 10**9)
    decode = processor_seconds(lambda: decode_image(photo, None, how))
    alone, together = engine_seconds(1), engine_seconds(CORES)
    parallel = (1 - together / alone) / (1 - 1 / CORES) if CORES > 1 else 0.0
    one = [run_of(folder, 1, 1) for _ in range(4)][1:]
    write = median(seconds["write"] for seconds in timings(folder / "out"))
    return Costs(decode, alone, min(max(parallel, 0.0), 1.0), write, median(one) - decode - together - write)


def processor_seconds(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return median(spent)


def engine_seconds(cores: int) -> float:
    """Return the seconds of an explanation in a process that has so many cores."""
    command = [sys.executable, __file__, "--engine", str(cores)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_engine_seconds() -> None:
    engine = explainer(LITE, [LITE_LAYER])
    batch = subjects(engine)
    spent = []
    for _ in range(ROUNDS + 3):
        started = time.perf_counter()
        engine.explain(batch)
        spent.append((time.perf_counter() - started) / len(batch))
    sys.stdout.write(f"{median(spent[3:])}\n")


def run_of(folder: Path, shards: int, photos: int | None = None) -> float:
    """Run so many shards of the command side by side into a new run folder, and return the seconds until all have ended."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    every = sorted((folder / "photos").iterdir())[:photos]
    flags = [
        "--model",
        LITE,
        "--layer",
        LITE_LAYER,
        "-q",
        "-o",
        str(out),
        "--root",
        str(folder / "photos"),
        "--workers",
        "1",
    ]
    command = [sys.executable, "-m", "cam_cli", "explain", "--files-from", "-", *flags]
    started = time.monotonic()
    running = []
    for shard in range(1, shards + 1):
        part = ["--shard", f"{shard}/{shards}"] if shards > 1 else []
        running.append(subprocess.Popen([*command, *part], stdin=subprocess.PIPE, text=True))
    for process in running:
        assert process.stdin is not None
        process.stdin.write("".join(f"{path}\n" for path in every))
        process.stdin.close()
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"shards ended with {codes}")
    return time.monotonic() - started


def timings(out: Path) -> Iterator[dict[str, float]]:
    return (json.loads(path.read_text())["timing"] for path in out.glob("*/manifest.json"))


def split(out: Path, shards: int) -> list[int]:
    """Return how many images each shard of a finished run had."""
    if shards == 1:
        return [sum(1 for _ in (out / "index.jsonl").open())]
    return [sum(1 for _ in (out / f"index.{i}-of-{shards}.jsonl").open()) for i in range(1, shards + 1)]


def against_real_runs(folder: Path, costs: Costs) -> None:
    sys.stdout.write(
        "\n| shards side by side | images of each | simulated (s) | measured (s) | simulated / measured |\n"
    )
    sys.stdout.write("|---|---|---|---|---|\n")
    for shards in SHARDS:
        taken = median(run_of(folder, shards) for _ in range(3))
        parts = split(folder / "out", shards)
        told = simulated(parts, costs, CORES)
        counts = ", ".join(map(str, parts))
        sys.stdout.write(f"| {shards} | {counts} | {told:.1f} | {taken:.1f} | {told / taken:.2f} |\n")
        sys.stdout.flush()


def plans(folder: Path, costs: Costs) -> None:
    out = folder / "out"
    finished = [path.parent for path in out.glob("*/manifest.json")]
    files = [path for image in finished for path in image.iterdir()]
    written = sum(path.stat().st_size for path in files) / len(finished)
    read = sum(path.stat().st_size for path in (folder / "photos").iterdir()) / len(finished)
    rows = sum(path.stat().st_size for path in out.glob("index*.jsonl")) / len(finished)
    each = len(files) / len(finished)
    shards = MACHINE_CORES // SHARD_CORES
    pace = 200 * shards / (simulated([200] * shards, costs, MACHINE_CORES) - costs.start)
    sys.stdout.write(
        f"\nAn image: {read / 1e3:.0f} kB read, {each:.0f} files and {written / 1e3:.0f} kB written, "
        f"{rows / 1e3:.1f} kB of index. A machine of {MACHINE_CORES} such cores with {shards} shards, simulated: "
        f"{pace:.0f} images/s.\n\n"
    )
    heads = [
        "images", "machines", "hours", "read and written by each machine (share of 10 Gbit/s)",
        f"files a second, all machines (share of {FILES_A_SECOND:,})", "files and folders", "TB", "index of a shard (MB)",
    ]  # fmt: skip
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for images, machines in PLANS:
        hours = images / (pace * machines) / 3600
        network, made = pace * (read + written), pace * machines * (each + 1)
        cells = [
            f"{images:,}", f"{machines}", f"{hours:.1f}", f"{network / 1e6:.0f} MB/s ({network / NETWORK:.0%})",
            f"{made:,.0f} ({made / FILES_A_SECOND:.0%})", f"{images * (each + 1):,.0f}", f"{images * written / 1e12:.1f}",
            f"{images * rows / (machines * shards) / 1e6:,.0f}",
        ]  # fmt: skip
        sys.stdout.write(f"| {' | '.join(cells)} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--engine", type=int, metavar="CORES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.engine])
        print_engine_seconds()
        return
    with photos_of_two_megapixels(options.images) as folder:
        costs = measured(folder)
        sys.stdout.write(
            f"One image on {LITE} {LITE_LAYER}, images of two megapixels: {costs.decode * 1e3:.0f} core-ms to decode, "
            f"{costs.explain * 1e3:.0f} to explain (of which {costs.parallel:.0%} in parallel), "
            f"{costs.write * 1e3:.0f} to write; {costs.start:.1f} s to start.\n"
        )
        against_real_runs(folder, costs)
        plans(folder, costs)


if __name__ == "__main__":
    main()
