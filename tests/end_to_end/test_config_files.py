"""The files in `configs/`, run as cron, systemd and Slurm would run them, with their folders moved to a temporary one.

Crontab, unit and script are unchanged, except for the folders that they name.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from launcher import CommandServer
from PIL import Image

REPOSITORY = Path(__file__).parent.parent.parent
CONFIGS = REPOSITORY / "configs"
PATIENCE = 180.0
"""Seconds after which a test gives a process up; none is expected to take nearly as long."""


@dataclass(frozen=True)
class Site:
    """A machine's folders as the config files name them, below a temporary one."""

    root: Path

    @property
    def images(self) -> Path:
        return self.root / "srv" / "images"

    @property
    def out(self) -> Path:
        return self.root / "srv" / "audit" / "images"

    def text(self, file: str) -> str:
        """A config file with its folders moved here."""
        return re.sub(r"(?<![\w/])/(opt|srv|etc)/(?!systemd)", rf"{self.root}/\1/", (CONFIGS / file).read_text())

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What cron or systemd leaves of an environment, and what the config file adds to it; and the cache of the tests."""
        cache = {
            "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]
        }  # where it is empty, a network is traced, which takes longest
        return {"HOME": str(self.root), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **cache, **variables}

    def start(self, command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        where = {"cwd": self.root, "env": self.environment(variables), "start_new_session": True}
        return subprocess.Popen(command, text=True, **pipes, **where)  # type: ignore[call-overload,no-any-return]

    def summarize(self) -> Ended:
        command = [str(self.root / "opt/smoothcam/bin/smoothcam"), "summarize", str(self.out)]
        return ended(self.start(command, {}))


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def ended(process: subprocess.Popen[str]) -> Ended:
    with process:
        out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out, err)


@pytest.fixture
def site(tmp_path: Path, model_file: Path, command_server: CommandServer) -> Site:
    """A site with small images, and with `smoothcam` and `nightly.sh` installed."""
    site = Site(tmp_path)
    programs = tmp_path / "opt" / "smoothcam" / "bin"
    for folder in (programs, site.images, site.out.parent, tmp_path / "etc" / "smoothcam"):
        folder.mkdir(parents=True)
    command_server.install(programs / "smoothcam")
    shutil.copy(CONFIGS / "nightly.sh", programs)
    config = f"model: {model_file}\nlayers: conv1\nwrite: raw\n"
    for folder in (tmp_path / "etc" / "smoothcam", site.out.parent):
        (folder / "audit.yaml").write_text(config)
    add_images(site, 1)
    return site


def add_images(site: Site, copies: int) -> None:
    for sample in sorted((REPOSITORY / "sample_images").glob("*.jpg")):
        with Image.open(sample) as image:
            image.thumbnail((96, 96))
            for number in range(copies):
                image.rotate(number).save(site.images / f"{sample.stem} {copies}-{number}.jpg")


def await_rows(index: Path, rows: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not (index.exists() and index.read_bytes().count(b"\n") >= rows):
        assert process.poll() is None, "it ended before it was to be stopped"
        assert time.monotonic() < end
        time.sleep(0.002)


def crontab(site: Site) -> tuple[dict[str, str], str]:
    """The variables of the crontab, and the command of its only job as cron hands it to the shell."""
    variables, jobs = {}, []
    for line in site.text("smoothcam.cron").splitlines():
        if setting := re.fullmatch(r"([A-Z]+)=(\S+)", line):
            variables[setting[1]] = setting[2]
        elif not line.startswith("#"):
            jobs.append(line)
    (job,) = jobs
    *when, command = job.split(maxsplit=5)
    assert when == ["30", "2", "*", "*", "*"]
    assert "%" not in command, "which cron takes for the end of a line"
    return variables, command


def test_nights_of_cron(site: Site) -> None:
    """A night that is cut short, one that finishes, one with nothing to do, and one with an image that is broken."""
    variables, command = crontab(site)
    log = site.out.parent / "nightly.log"

    def night() -> subprocess.Popen[str]:
        return site.start(["/bin/sh", "-c", command], variables)

    add_images(site, 3)
    images = len(list(site.images.iterdir()))
    index = site.out / "index.jsonl"
    process = night()
    await_rows(index, 1, process)
    os.kill(json.loads((site.out / "run.json").read_bytes())["pid"], signal.SIGTERM)
    stopped = ended(process)
    assert stopped.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in stopped.err
    assert "not complete" in stopped.out
    done = index.read_bytes().count(b"\n")
    assert 0 < done < images

    assert ended(night()) == Ended(0, "", "")
    assert index.read_bytes().count(b"\n") == images
    assert f"{images - done} explained, {done} already done" in log.read_text()

    before = index.read_bytes()
    assert ended(night()) == Ended(0, "", "")
    assert index.read_bytes() == before

    (site.images / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    broken = ended(night())
    assert broken.code == 3
    line, summary = broken.err.splitlines()
    assert "broken.jpg" in line
    assert "1 failed" in summary
    assert f"{images} ok, 1 failed; complete" in broken.out

    again = ended(night())
    (summary,) = again.err.splitlines()
    assert again.code == 3
    assert "1 failed before" in summary
    assert "broken.jpg" in again.out, "as long as it is broken the mail says so"


def test_cron_mails_why_nothing_could_be_done(site: Site) -> None:
    variables, command = crontab(site)
    (site.root / "etc" / "smoothcam" / "audit.yaml").write_text("layer: conv1\n")
    told = ended(site.start(["/bin/sh", "-c", command], variables))
    assert told.code == 2
    assert "audit.yaml:1:1: unknown key 'layer'" in told.err.splitlines()[0]


class Unit(configparser.RawConfigParser):
    """A unit file; of a setting that is given several times all lines are kept."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.lines = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
        self.read_string(text)

    def every(self, key: str) -> list[str]:
        return [word for name, value in self.lines if name == key for word in shlex.split(value)]


def test_the_command_of_the_systemd_service_runs_and_stops(site: Site) -> None:
    service = Unit(site.text("smoothcam.service"))
    variables = dict(word.split("=", 1) for word in service.every("Environment"))
    command = shlex.split(service["Service"]["ExecStart"])
    planned = ended(site.start([*command, "--dry-run"], variables))
    assert planned.code == 0, planned.err
    assert planned.out.count("explain\t") == len(list(site.images.iterdir()))
    add_images(site, 3)
    process = site.start(command, variables)
    await_rows(site.out / "index.jsonl", 1, process)
    os.killpg(process.pid, signal.SIGTERM)  # systemd stops all processes of a service
    stopped = ended(process)
    assert stopped.code == 128 + signal.SIGTERM == int(service["Service"]["SuccessExitStatus"]), stopped.err
    assert json.loads((site.out / "run.json").read_bytes())["state"] == "stopped"


def test_the_systemd_service_may_write_to_one_folder_and_is_not_root(site: Site) -> None:
    service = Unit(site.text("smoothcam.service"))
    variables = dict(word.split("=", 1) for word in service.every("Environment"))
    writable = service.every("ReadWritePaths")
    assert [path for path in writable if Path(variables["OUT"]).is_relative_to(path)]
    assert not [path for path in writable if Path(variables["IMAGES"]).is_relative_to(path)]
    assert service["Service"]["User"] not in ("", "root", "0")
    assert "MemoryDenyWriteExecute" not in service["Service"]
    timer = Unit(site.text("smoothcam.timer"))
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_finds_no_fault_with_the_units(site: Site) -> None:
    for name in ("smoothcam.service", "smoothcam.timer"):
        (site.root / name).write_text(site.text(name))
    units = [str(site.root / name) for name in ("smoothcam.service", "smoothcam.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "smoothcam" in line] == []
    assert done.returncode == 0
    moment = Unit(site.text("smoothcam.timer"))["Timer"]["OnCalendar"]
    parsed = subprocess.run(["systemd-analyze", "calendar", moment], capture_output=True, text=True, check=False)
    assert parsed.returncode == 0


def task(site: Site, number: int, count: int, **variables: str) -> subprocess.Popen[str]:
    """Start one task of a Slurm array, from a copy of the script elsewhere, as Slurm's node daemon does."""
    script = site.root / "spool" / f"script{number}"
    script.parent.mkdir(exist_ok=True)
    script.write_text(site.text("slurm-array.sh"))
    path = f"{site.root}/opt/smoothcam/bin:/usr/bin:/bin"
    array = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": str(count)}
    return site.start(["/bin/sh", str(script)], {"PATH": path, **array, **variables})


def test_a_slurm_array(site: Site) -> None:
    """Two tasks at a time, one of them stopped by its time limit, a third that was never started; then these two."""
    add_images(site, 6)
    images = len(list(site.images.iterdir()))
    first, second = task(site, 1, 3), task(site, 2, 3)
    await_rows(site.out / "index.2-of-3.jsonl", 1, second)
    second.send_signal(signal.SIGTERM)
    assert ended(first).code == 0
    assert ended(second).code == 128 + signal.SIGTERM, "the script's own process must be smoothcam"

    summary = site.summarize()
    assert summary.code == 3
    assert "of 3 shards 3 missing, 2 stopped" in summary.err

    rest = [task(site, number, 2, SHARDS="3") for number in (2, 3)]
    assert [ended(process).code for process in rest] == [0, 0]
    summary = site.summarize()
    assert (summary.code, summary.err) == (0, "")
    assert f"{images} ok, 0 failed; complete" in summary.out


def test_a_slurm_array_that_counts_from_0_is_told_so(site: Site) -> None:
    told = ended(task(site, 0, 8))
    assert told.code == 2
    (line,) = told.err.splitlines()
    assert "--array=1-8" in line


def test_slurm_finds_its_settings() -> None:
    """Slurm reads `#SBATCH` up to the first command, and passes over those that come later without a word."""
    lines = (CONFIGS / "slurm-array.sh").read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    settings = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert settings
    assert max(settings) < first_command
    given = dict(lines[i].removeprefix("#SBATCH --").partition("=")[::2] for i in settings)
    assert given["array"] == "1-8"
    assert given["signal"] == "B:TERM@120"
    assert "requeue" in given


@pytest.mark.parametrize("script", sorted(CONFIGS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_plain_sh(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
    checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
