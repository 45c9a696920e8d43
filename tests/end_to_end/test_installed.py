"""The wheel, as a user gets it: built from the source archive, installed into an empty environment, used from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import jsonschema
import pytest
from launcher import ALONE

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "cam_cli"
PHOTO = ROOT / "sample_images" / "cow.jpg"


def built(project: Path, kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (file,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return file


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked; the checkout plays no part from here on."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built(ROOT, "sdist", folder)) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="session")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(archive, "wheel", tmp_path_factory.mktemp("wheel"))


def installed(wheel: Path, folder: Path, *options: str) -> Path:
    """Install the wheel into an empty environment, and return its folder of commands."""
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", *options]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return folder / "bin"


@pytest.fixture(scope="session")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone in it, which finds all else where these tests have it."""
    folder = tmp_path_factory.mktemp("environment")
    found = installed(wheel, folder, "--no-deps", "--no-index", "--no-compile")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ALONE}\n")
    return found


def run(commands: Path, *words: object, cwd: Path, **variables: str) -> str:
    """Run a command of the environment as a user who knows nothing of the checkout."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "XDG_CACHE_HOME")}
    environ = kept | {"PATH": f"{commands}{os.pathsep}{os.defpath}", "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    nothing = subprocess.DEVNULL
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environ, stdin=nothing, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as packed:
        return {name for name in packed.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    source = {
        p.relative_to(ROOT).as_posix() for of in (PACKAGE, ROOT / "smoothcam") for p in of.rglob("*") if p.is_file()
    }
    (manual,) = (name for name in names(wheel) if name.endswith("data/share/man/man1/smoothcam.1"))
    packages = names(wheel) - {manual}
    assert packages == {name for name in source if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as packed:
        assert all(packed.read(name) == (ROOT / name).read_bytes() for name in packages)
        assert packed.read(manual) == (ROOT / "docs" / "smoothcam.1").read_bytes()
    for kind in (".keras", ".yaml", ".csv", ".html", ".css", ".js", ".json", "py.typed", "LICENSES.md"):
        assert any(name.endswith(kind) for name in names(wheel)), kind


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (metadata,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        said = message_from_bytes(packed.read(metadata))
        beside = metadata.rpartition("/")[0]
        for file in ("LICENSE", "cam_cli/models/bundled/LICENSES.md"):
            assert packed.read(f"{beside}/licenses/{file}") == (ROOT / file).read_bytes()
        assert "smoothcam = cam_cli.cli:main" in packed.read(f"{beside}/entry_points.txt").decode()
    assert said["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    assert said["Requires-Python"] == "<3.14,>=3.11"
    assert any(line.startswith("tensorflow>=") for line in said.get_all("Requires-Dist", []))


def test_the_source_archive_has_what_the_tests_and_the_documents_need(archive: Path) -> None:
    for name in (
        "tests/conftest.py",
        "docs/security.md",
        "configs/demo.yaml",
        "configs/demo_vgg16.yaml",
        "Makefile",
        "requirements-test.lock",
        "CONTRIBUTING.md",
    ):
        assert (archive / name).is_file(), name
    assert not list(archive.rglob("__pycache__"))


def main_job(commands: Path, folder: Path) -> None:
    """Explain a photo, evaluate and show the run, with nothing but the environment and that photo."""
    shutil.copy(PHOTO, folder / "photo.jpg")
    for module in ("numpy", "PIL", "yaml", "keras", "cam_cli"):
        (folder / f"{module}.py").write_text("raise SystemExit('code beside the photos was run')")
    run(commands, "smoothcam", "config", "init", "run.yaml", cwd=folder)
    rows = run(
        commands, "smoothcam", "explain", "photo.jpg", "--config", "run.yaml", "--nsamples", "0", "--json", cwd=folder
    )
    (row,) = map(json.loads, rows.splitlines())
    assert (row["status"], row["predictions"][0]["label"]) == ("ok", "ox")
    result = folder / "smoothcam_out" / "photo.jpg"
    assert {"manifest.json", *filter(None, row["maps"][0]["files"].values())} == {p.name for p in result.iterdir()}
    schema = "import importlib.resources as r; print(r.files('cam_cli.results').joinpath('manifest.schema.json').read_text())"
    jsonschema.validate(
        json.loads((result / "manifest.json").read_bytes()),
        json.loads(run(commands, "python", "-P", "-c", schema, cwd=folder)),
    )
    run(commands, "smoothcam", "evaluate", "smoothcam_out", cwd=folder)
    run(commands, "smoothcam", "report", "smoothcam_out", cwd=folder)
    assert (folder / "smoothcam_out" / "report.html").stat().st_size > 10_000


def test_the_installed_wheel_does_the_main_job_from_another_directory(commands: Path, tmp_path: Path) -> None:
    where = run(commands, "python", "-c", "import cam_cli; print(cam_cli.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(commands.parent)
    assert run(commands, "smoothcam", "--version", cwd=tmp_path).startswith("smoothcam, version ")
    assert "efficientnet-lite0" in run(commands, "smoothcam", "models", cwd=tmp_path)
    main_job(commands, tmp_path)


@pytest.mark.long
def test_the_wheel_brings_all_that_it_needs_from_the_index(wheel: Path, tmp_path: Path) -> None:
    commands = installed(wheel, tmp_path / "environment")
    (tmp_path / "elsewhere").mkdir()
    main_job(commands, tmp_path / "elsewhere")


# --- completion

OFFERED = {
    "smoothcam ex": {"explain"},
    "smoothcam config ": {"init", "check", "show"},
    "smoothcam explain --colorm": {"--colormap"},
    "smoothcam explain --method grad": {"gradcam", "gradcam++", "gradient"},
    "smoothcam explain --model vgg16-lite --layer block5_c": {"block5_conv1", "block5_conv2", "block5_conv3"},
    "smoothcam layers --fit ": {"stretch", "crop", "letterbox"},
}
SET_UP = {
    "bash": 'eval "$(_SMOOTHCAM_COMPLETE=bash_source smoothcam)"; compopt() { :; }',
    "zsh": 'compdef() { :; }; eval "$(_SMOOTHCAM_COMPLETE=zsh_source smoothcam)"; compadd() { print -l -- $completions; }',
    "fish": "_SMOOTHCAM_COMPLETE=fish_source smoothcam | source",
}
"""As the documents say, and what stands in for the part of the shell that only an open terminal has."""


def asking(shell: str, line: str) -> str:
    """Return what has the shell print what it offers when Tab is pressed behind `line`."""
    words = " ".join(f'"{word}"' for word in line.split(" "))
    count = len(line.split(" "))
    if shell == "bash":
        call = f"COMPREPLY=(); COMP_WORDS=({words}); COMP_CWORD={count - 1}; _smoothcam_completion smoothcam"
        return f'{call}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    if shell == "zsh":
        described = "_describe() { print -l -- ${completions_with_descriptions%%:*}; }"
        return f"{described}; words=({words}); CURRENT={count}; _smoothcam_completion"
    return f"complete -C '{line}'"


@pytest.mark.parametrize("shell", SET_UP)
def test_tab_offers_commands_options_and_what_they_may_be(commands: Path, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here to try completion in")
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["--no-rcs"], "fish": ["--no-config"]}[shell]
    script = "; echo ----; ".join([SET_UP[shell], *(asking(shell, line) for line in OFFERED)])
    said = run(commands, shell, *plain, "-c", script, cwd=tmp_path, HOME=str(tmp_path)).split("----\n")[1:]
    found = [{entry.split("\t")[0] for entry in part.splitlines() if entry} for part in said]
    assert found == list(OFFERED.values())


def offered(commands: Path, line: str, folder: Path, *command: str) -> list[str]:
    """Return what smoothcam itself answers a shell, `kind,word` each."""
    words = {"COMP_WORDS": f"smoothcam {line}", "COMP_CWORD": str(len(line.split(" ")))}
    asked = {"_SMOOTHCAM_COMPLETE": "bash_complete", **words}
    return run(commands, *(command or ("smoothcam",)), cwd=folder, **asked).splitlines()


def test_the_shell_completes_files_itself(commands: Path, tmp_path: Path) -> None:
    assert offered(commands, "explain --weights ", tmp_path) == ["file,"]
    assert offered(commands, "explain --root ", tmp_path) == ["dir,"]
    assert offered(commands, "explain --model v", tmp_path) == ["file,v", "plain,vgg16-lite"]


def test_tab_does_not_wait_for_tensorflow(commands: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['smoothcam']; from cam_cli.cli import main\n"
        "try: main()\nfinally: print(sorted({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )
    for line in ("explain --model ", "explain --layer ", "explain --method ", "layers --fit "):
        *words, loaded = offered(commands, line, tmp_path, "python", "-c", code)
        assert words
        assert loaded == "[]"
