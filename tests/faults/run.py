"""Put one deliberate fault at a time into a copy of this checkout, and run the tests that must notice it.

    python tests/faults/run.py                 every fault of faults.py
    python tests/faults/run.py no-lock         these alone
    python tests/faults/run.py --list          their names and what is wrong with each
    python tests/faults/run.py --without       the named tests without any fault: all must pass

Prints `red` for a fault that the tests notice and `GREEN` for one that they miss. Exit code 0: all are red; 1: not so; 2: a
pattern of faults.py does not match exactly once any more, or a test that it names is not there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from faults import FAULTS, Edit, Fault

CHECKOUT = Path(__file__).resolve().parent.parent.parent
COPIED = ("cam_cli", "smoothcam", "configs", "docs", "sample_images", "tests")
SECONDS = 300.0
"""A fault that makes the tests hang is noticed, too."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to try; default: all")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--without", action="store_true", help="run the named tests without the faults")
    said = parser.parse_args()
    if unknown := set(said.names) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in FAULTS if not said.names or fault.name in said.names]
    if said.list:
        for fault in chosen:
            say(f"{fault.name}: {fault.intent}")
        return 0
    with tempfile.TemporaryDirectory(prefix="smoothcam-faults-") as folder:
        copy = copied(CHECKOUT, Path(folder))
        if said.without:
            tests = list(dict.fromkeys(test for fault in chosen for test in fault.tests))
            code, told = tested(copy, tests)
            say(told)
            return code
        return max((tried(copy, fault) for fault in chosen), default=0)


def copied(checkout: Path, folder: Path) -> Path:
    """Copy what the tests need."""
    for path in checkout.iterdir():
        if path.is_dir() and path.name in COPIED:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy2(path, folder / path.name)
    return folder


def tried(copy: Path, fault: Fault) -> int:
    """Try one fault, print what came of it, and return the exit code that it asks for."""
    started = time.monotonic()
    before: dict[Path, str] = {}
    try:
        for edit in fault.edits:
            path, text = edited(copy, edit)
            before.setdefault(path, path.read_text())
            path.write_text(text)
        code, told = tested(copy, fault.tests)
    except LookupError as error:
        code, told = 2, str(error)
    finally:
        for path, text in before.items():
            path.write_text(text)
    words = {0: "GREEN", 1: "red  "}.get(code, "ERROR")
    say(f"{words}  {fault.name}  ({time.monotonic() - started:.0f} s)  {told}")
    return {0: 1, 1: 0}.get(code, 2)


def edited(copy: Path, edit: Edit) -> tuple[Path, str]:
    """Return the file that an edit changes, and its new text.

    Raises:
        LookupError: the pattern does not match exactly once.
    """
    under = copy / edit.under
    found = []
    for path in sorted(under.rglob("*.py")) if under.is_dir() else [under]:
        text = path.read_text()
        found += [(path, text, match) for match in re.finditer(edit.pattern, text)]
    if len(found) != 1:
        raise LookupError(f"{edit.pattern!r} matches {len(found)} times in {edit.under}, not once")
    path, text, match = found[0]
    return path, text[: match.start()] + edit.replacement + text[match.end() :]


def tested(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests until the first fails; return pytest's exit code and the last of what it said."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            said, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 1, f"the tests hung for {SECONDS:g} s"
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))] or said.splitlines()[-1:]
    return process.returncode, lines[0]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
