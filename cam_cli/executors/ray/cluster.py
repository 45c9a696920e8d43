"""A Ray cluster that exists, or one of this machine's cores for the time of a run, and how many actors it can hold."""

import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.interruption import Interrupted
from cam_cli.machine import cores as cores_here
from cam_cli.quiet import native_chatter_silenced

_PORT = 6379
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_LONGEST_MESSAGE = 500

_CORES = 4
"""An actor has so many, if its machine has them and the user has not said how many actors there are to be."""

_STORE_BYTES = 80 * 2**20
"""Shared memory of a cluster that is started here: about the least that Ray takes, as no pixels go through it."""

_QUIET = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_ALLOW_REGEX": "", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Ray prints to stdout when an actor has died, whatever `log_to_driver` says, but no line that matches the last of these."""

_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AUTH_MODE": "token"}
"""A cluster that is started here reports to nobody, and takes orders only from those who have its token."""

_PROBE = "import logging, sys, ray; ray.init(sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)"


def check_installed() -> None:
    """Raise `UsageError` if Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError("--on ray needs the extra: pip install 'smoothcam[ray]'")


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """Connect to a cluster and yield the package `ray`; for the main thread.

    on: `ray`: a cluster of this machine's cores, started now and ended afterwards; `ray://HOST:PORT`: that one; `ray://auto`:
    the one that this machine belongs to. Raises SmoothcamError if there is none, or it cannot be used, and Interrupted on
    SIGTERM.
    """
    address = on.removeprefix("ray").removeprefix("://")
    with ExitStack() as stack:
        if address:
            options: dict[str, Any] = {"address": _answering(address)}
        else:
            os.environ.update(_PRIVATE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
            # in /tmp, as the paths of its sockets may have 107 bytes
            folder = tempfile.TemporaryDirectory(prefix="smoothcam-ray-", dir="/tmp", ignore_cleanup_errors=True)
            options = {"address": "local", "num_cpus": cores_here(), "_temp_dir": stack.enter_context(folder)}
            options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        os.environ.update(_QUIET)  # before the import
        with native_chatter_silenced():
            import ray
        try:
            _initialise(ray, options)
            yield ray
        finally:
            with native_chatter_silenced():
                ray.shutdown()


def allocate(machines: Sequence[Mapping[str, float]], device: str, actors: int | None) -> tuple[int, int, int]:
    """Return how many actors a cluster can hold, one for each GPU or each four cores, and how many cores and GPUs each has.

    Args:
        device: `cpu`: GPUs do not count; `gpu`: nothing else does, and UsageError is raised if there is none.
        actors: how many there are to be; they share the cores.
    """
    gpus = [] if device == "cpu" else [(int(m.get("CPU", 0)), int(m["GPU"])) for m in machines if m.get("GPU", 0) >= 1]
    if gpus:
        each = max(1, min(_CORES, *(cores // count for cores, count in gpus)))
        return actors or sum(count for _, count in gpus), each, 1
    if device not in ("auto", "cpu"):
        raise UsageError(f"no {device}: no machine of the Ray cluster has one; use --device cpu")
    cores = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    if not cores:
        return actors or 1, _CORES, 0
    each = min(*cores, _CORES if actors is None else max(1, sum(cores) // actors))
    return actors or sum(count // each for count in cores), each, 0


def last_line(text: str) -> str:
    """Return the last line of an error that says something."""
    return text.rstrip().rpartition("\n")[2].strip()[:_LONGEST_MESSAGE] or "it gives no reason"


def _answering(address: str) -> str:
    """Return an address with its port if a cluster answers there; `ray.init` alone would wait for minutes, or for ever."""
    try:
        if address != "auto":
            address = address if re.search(r":[0-9]+$", address) else f"{address}:{_PORT}"
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        command = [sys.executable, "-P", "-c", _PROBE, address]
        subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True)
    except OSError as error:
        problem = f"no Ray cluster at {address}: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        problem = f"no Ray cluster answers at {address} within {_ANSWER_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        problem = f"the Ray cluster at {address} cannot be used: {last_line(error.stderr)}"
    else:
        return address
    advice = "give the address that `ray start --head` prints, and run smoothcam on a machine of that cluster"
    raise SmoothcamError(f"{problem}; {advice}")


def _initialise(ray: Any, options: Mapping[str, Any]) -> None:
    """Start or join a cluster. Its processes ignore what a terminal sends to all processes, and our own handlers stay."""
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
    try:
        with native_chatter_silenced():
            ray.init(**options, logging_level=logging.CRITICAL, log_to_driver=False)
    except SystemExit:
        raise Interrupted(signal.SIGTERM) from None
    except Exception as error:
        address = options["address"]
        which = "a Ray cluster on this machine" if address == "local" else f"the Ray cluster at {address}"
        raise SmoothcamError(f"{which} cannot be used: {last_line(str(error))}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
