"""The processor that a process runs on, and its memory."""

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cores() -> int:
    """Return how many cores this process may use; where the system cannot tell, as on macOS, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the model and the instruction sets of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def gpus() -> list[str]:
    """Return the device files of GPUs that there are, without asking any driver; on a Mac its own GPU counts."""
    patterns = ("nvidia[0-9]*", "kfd", "dxg")
    found = sorted(str(path) for pattern in patterns for path in Path("/dev").glob(pattern))
    return [*found, *(["metal"] if sys.platform == "darwin" else [])]


def memory() -> int | None:
    """Return how many bytes of memory this process may use: the machine's, or a container's limit; None if unknown."""
    found = []
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # the word max where there is none
            found.append(int(Path(limit).read_text("ascii")))
    return min(found, default=None)


def unsupported() -> str:
    """Return why smoothcam does not run on this system, in one line; an empty text where it does."""
    if platform.system() == "Windows":
        return "smoothcam runs on Linux and macOS; on Windows, install and run it in WSL: https://aka.ms/wsl"
    return ""
