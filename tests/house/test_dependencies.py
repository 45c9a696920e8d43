"""What smoothcam stands on: a lock that pins all of it for CI, and lower bounds above the weaknesses known to matter here."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements-test.lock").read_text("utf-8")
EXTRAS = ("test", "lint", "peers")
PYTHONS = ("3.11", "3.12", "3.13")

WEAKNESSES = {
    "keras": (
        "3.15.1",
        "CVE-2025-1550, -8747, -9905, -9906, -12058, -49655, CVE-2026-1462, -1669, -12480; the bombs of 3.12.4",
    ),
    "pillow": ("13.0.0", "GHSA-8g5g-8vmr-9782 (JPEG), GHSA-462x-pgg6-55fp (TIFF), CVE-2026-96639, -96643"),
    "pyyaml": ("5.4", "CVE-2020-14343, which the safe loader does not have"),
    "tqdm": ("4.66.3", "CVE-2024-34062, in its own command line"),
}
"""The first release without weaknesses that a file from outside could use: looked through on 2026-11-26."""


def pins(python: str) -> dict[str, Version]:
    """The version of each package that the lock takes on a Python."""
    found = {}
    for line in re.findall(r"^[a-z0-9].*(?= \\$)", LOCK, re.MULTILINE):
        pin, _, marker = line.partition(" ; ")
        name, _, number = pin.partition("==")
        where = {"python_full_version": f"{python}.1", "python_version": python, "sys_platform": "linux"}
        if not marker or Marker(marker).evaluate(where):
            assert name not in found, f"{name} twice on {python}"
            found[name] = Version(number)
    return found


def wanted() -> list[Requirement]:
    listed = PROJECT["dependencies"] + [text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra]]
    return [Requirement(text) for text in listed]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_all_that_is_wanted_at_versions_that_fit(python: str) -> None:
    found = pins(python)
    for requirement in [*wanted(), *map(Requirement, PROJECT["optional-dependencies"]["baselines"])]:
        pinned = found.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name}: make lock"
        assert pinned in requirement.specifier, f"{requirement}: make lock"


def test_every_line_of_the_lock_has_hashes_and_none_an_address() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", LOCK)
    assert len(entries) > 50
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert "://" not in LOCK
    assert "index" not in re.sub(r"--hash=\S+", "", LOCK)


def test_every_extra_but_those_for_users_is_locked() -> None:
    assert set(PROJECT["optional-dependencies"]) - {
        "baselines",
        "docs",
        "figures",
        "images",
        "medical",
        "openvino",
        "ray",
        "remote",
    } <= set(EXTRAS), "add it to EXTRAS and to `make lock`, or here"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"--extra {extra}" in makefile for extra in EXTRAS)


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for entry in PROJECT["dependencies"]:
        assert ">=" in entry, entry
        assert re.search(rf'"{re.escape(entry)}",\s+# \w+', text), f"{entry}: its reason in the same line"


@pytest.mark.parametrize("name", WEAKNESSES)
def test_the_lower_bounds_are_above_known_weaknesses(name: str) -> None:
    safe, which = WEAKNESSES[name]
    requirement = next(each for each in wanted() if canonicalize_name(each.name) == name)
    lowest = min(Version(each.version) for each in requirement.specifier if each.operator == ">=")
    assert lowest >= Version(safe), which
    for python in PYTHONS:
        assert pins(python)[name] >= Version(safe), which


def test_what_runs_here_is_above_known_weaknesses() -> None:
    for name, (safe, which) in WEAKNESSES.items():
        assert Version(version(name)) >= Version(safe), which
