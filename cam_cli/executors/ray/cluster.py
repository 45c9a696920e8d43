"""A Ray cluster that exists, or one of this machine's cores for the time of a run, and how many actors it can hold."""

from __future__ import annotations

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
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from cam_cli.decoding.pool import cores as cores_here
from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.interruption import Interrupted
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


class Allocation(NamedTuple):
    """How many actors a cluster can hold, and how many processor cores and GPUs each of them has."""

    actors: int
    cores: int
    gpus: int


def check_installed() -> None:
    """Raise `UsageError` if Ray is not installed."""
    try:
        version("ray")
    except PackageNotFoundError:
        raise UsageError("--on ray needs the extra: pip install 'smoothcam[ray]'") from None


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """Connect to a cluster and yield the package `ray`; for the main thread.

    Args:
        on: `ray`: a cluster of this machine's cores, started now and ended afterwards; `ray://HOST:PORT`: that one;
            `ray://auto`: the one that this machine belongs to.

    Raises:
        SmoothcamError: there is none, or it cannot be used. Interrupted: SIGTERM came meanwhile.
    """
    address = on.removeprefix("ray").removeprefix("://")
    with ExitStack() as stack:
        if address:
            address = _answering(address)
            options: dict[str, Any] = {"address": address}
        else:
            os.environ.update(_PRIVATE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
            folder = tempfile.TemporaryDirectory(
                prefix="smoothcam-ray-",
                dir="/tmp",  # the paths of its sockets may have 107 bytes
                ignore_cleanup_errors=True,
            )
            options = {"address": "local", "num_cpus": cores_here(), "_temp_dir": stack.enter_context(folder)}
            options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        os.environ.update(_QUIET)  # before the import
        with native_chatter_silenced():
            import ray
        try:
            with native_chatter_silenced(), _signals_kept():
                try:
                    ray.init(**options, logging_level=logging.CRITICAL, log_to_driver=False)
                except Exception as error:
                    where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
                    raise SmoothcamError(f"{where} cannot be used: {last_line(str(error))}") from error
            yield ray
        finally:
            with native_chatter_silenced():
                ray.shutdown()


def machines_of(ray: Any) -> list[dict[str, float]]:
    """Return what each living machine of a cluster has, by Ray's names for it."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def allocate(machines: Sequence[Mapping[str, float]], device: str, actors: int | None) -> Allocation:
    """Return an allocation of one actor for each GPU or, if there are none, for each four cores.

    Args:
        device: `cpu`: GPUs do not count; `gpu`: nothing else does.
        actors: how many there are to be; they share the cores.

    Raises:
        UsageError: a GPU is asked for, and there is none.
    """
    gpus = [] if device == "cpu" else [(int(m.get("CPU", 0)), int(m["GPU"])) for m in machines if m.get("GPU", 0) >= 1]
    if gpus:
        each = max(1, min(_CORES, *(cores // count for cores, count in gpus)))
        return Allocation(actors or sum(count for _, count in gpus), each, 1)
    if device not in ("auto", "cpu"):
        raise UsageError(f"no {device}: no machine of the Ray cluster has one; use --device cpu")
    cores = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    if not cores:
        return Allocation(actors or 1, _CORES, 0)
    each = min(*cores, _CORES if actors is None else max(1, sum(cores) // actors))
    return Allocation(actors or sum(count // each for count in cores), each, 0)


def last_line(text: str) -> str:
    """Return the last line of an error that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_MESSAGE] if lines else "it gives no reason"


def _answering(address: str) -> str:
    """Return an address with its port, if a cluster answers there; Ray itself would try for minutes and end the process.

    Raises:
        SmoothcamError: none does.
    """
    start = "give the address that `ray start --head` prints, and run smoothcam on a machine of that cluster"
    if address != "auto":
        address = address if re.search(r":[0-9]+$", address) else f"{address}:{_PORT}"
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise SmoothcamError(f"no Ray cluster at {address}: {error.strerror or error}; {start}") from None
    command = [sys.executable, "-P", "-c", _PROBE, address]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        raise SmoothcamError(f"no Ray cluster answers at {address} within {_ANSWER_SECONDS:g} s; {start}") from None
    except subprocess.CalledProcessError as error:
        reason = last_line(error.stderr)
        raise SmoothcamError(f"the Ray cluster at {address} cannot be used: {reason}; {start}") from None
    return address


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let Ray's processes inherit that they ignore what a terminal sends to all processes, and keep our own handlers.

    Raises:
        Interrupted: SIGTERM came meanwhile, while Ray's handler was installed.
    """
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
    try:
        yield
    except SystemExit:
        raise Interrupted(signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
