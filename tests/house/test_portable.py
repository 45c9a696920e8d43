"""What runs on Linux runs on macOS: no call that Linux alone has. Windows is refused in one line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent.parent
ON_LINUX_ALONE = {
    "os": "sched_getaffinity sched_setaffinity sched_getparam sched_setscheduler memfd_create eventfd pidfd_open splice "
    "copy_file_range getrandom posix_fadvise posix_fallocate fdatasync getxattr setxattr listxattr removexattr pipe2 "
    "getresuid setresuid unshare setns O_DIRECT O_PATH O_TMPFILE O_NOATIME P_PIDFD",
    "signal": "sigwaitinfo sigtimedwait SIGPOLL SIGPWR SIGSTKFLT SIGRTMIN SIGRTMAX SIGCLD",
    "resource": "prlimit RLIMIT_OFILE RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_SIGPENDING",
    "socket": "SO_PEERCRED SOCK_CLOEXEC SOCK_NONBLOCK AF_VSOCK AF_NETLINK AF_PACKET SO_PASSCRED MSG_CMSG_CLOEXEC",
    "select": "epoll EPOLLIN",
    "fcntl": "F_OFD_SETLK F_OFD_SETLKW F_OFD_GETLK F_SETPIPE_SZ F_ADD_SEALS",
    "time": "CLOCK_BOOTTIME CLOCK_TAI",
}
"""What the documentation of Python says is available on Linux and not on macOS, by module."""

SOURCES = sorted([*(ROOT / "cam_cli").rglob("*.py"), *(ROOT / "smoothcam").rglob("*.py")])
REMOVED = f"""
import importlib
for module, names in {ON_LINUX_ALONE!r}.items():
    found = importlib.import_module(module)
    for name in names.split():
        vars(found).pop(name, None)
"""


def test_no_source_uses_what_linux_alone_has_without_looking() -> None:
    used = []
    for source in SOURCES:
        tree = ast.parse(source.read_text("utf-8"))
        looked_for = {
            node.args[1].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("hasattr", "getattr")
            and isinstance(node.args[1], ast.Constant)
        }
        used += [
            f"{source.relative_to(ROOT)}:{node.lineno}: {node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr in ON_LINUX_ALONE.get(node.value.id, "").split()
            and node.attr not in looked_for
        ]
    assert used == []


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_every_module_without_tensorflow_can_be_imported_and_images_be_found_without_those_calls(
    tmp_path: Path,
) -> None:
    heavy = {"api", "engine", "graph", "models", "model_files", "frozen_graphs"}
    light = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for source in SOURCES
        if source.name != "__main__.py" and "tensorflow" not in source.read_text("utf-8")
    ]
    names = [name for name in light if not heavy & set(name.split(".")) and not name.startswith("cam_cli.executors")]
    assert len(names) > 80
    code = f"""{REMOVED}
import sys
for name in {names!r}:
    if name.partition(".")[2].partition(".")[0] not in ("evaluate", "plan"):  # of which some need TensorFlow
        importlib.import_module(name)
from cam_cli.machine import cores, memory, processor
assert cores() >= 1
sys.argv[0] = "smoothcam"
from cam_cli.cli import main
main()
"""
    done = python(code, "explain", "sample_images", "--dry-run", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "explain\tcow.jpg" in done.stdout


@pytest.mark.parametrize(
    ("code", "start"),
    [
        ("from cam_cli.cli import main; main()", "smoothcam runs on Linux and macOS; on Windows,"),
        ("import smoothcam\ntry: smoothcam.explain\nexcept ImportError as error: print(error, file=__import__('sys').stderr)",
         "smoothcam runs on Linux and macOS; on Windows,"),
    ],
    ids=["command", "python"],
)  # fmt: skip
def test_windows_is_refused_in_one_line_that_names_wsl(code: str, start: str) -> None:
    """As far as a test on another system can tell: without the modules and the signals that Windows does not have."""
    windows = """
import platform, signal, sys
platform.system = lambda: "Windows"
for name in ("fcntl", "resource", "termios", "pwd", "grp"): sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1", "SIGALRM", "SIGKILL", "SIGPIPE", "pthread_sigmask", "setitimer"): delattr(signal, name)
"""
    done = python(windows + code)
    (line,) = done.stderr.splitlines()
    assert line.startswith(start)
    assert "WSL" in line
