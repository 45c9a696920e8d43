"""A Ray cluster, one that is there or one started for the while on this machine, and how many actors it has room for."""

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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cam_cli.errors import SmoothcamError, UsageError
from cam_cli.interruption import Interrupted
from cam_cli.machine import cores as cores_here
from cam_cli.quiet import native_chatter_silenced

_PORT = 6379
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_CORES = 4
"""An actor has so many, where its machine has them and nobody said how many actors there are to be."""

_STORE = 80 * 2**20
"""Bytes of shared memory for a cluster of our own: hardly more than the least that Ray takes, as no pixels go through it."""

_LONGEST_MESSAGE = 500

_QUIET = {"logging_level": logging.CRITICAL, "log_to_driver": False}

_PROBE = """
import logging, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
"""


@dataclass(frozen=True)
class Room:
    """What a cluster has room for: so many actors, with so many processor cores and graphics cards each."""

    actors: int
    cores: int
    cards: int


def check_installed() -> None:
    """Look whether Ray can be used.

    Raises:
        UsageError: it is not installed.
    """
    try:
        version("ray")
    except PackageNotFoundError:
        raise UsageError("--on ray needs the extra: pip install 'smoothcam[ray]'") from None


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """Be connected to a cluster for the while, and yield the package `ray`; to be entered in the main thread.

    Args:
        on: `ray`: a cluster of this machine's cores, started now and ended afterwards; `ray://HOST:PORT`: that one;
            `ray://auto`: the one that this machine belongs to.

    Raises:
        SmoothcamError: there is none, or it cannot be used. Interrupted: SIGTERM came meanwhile.
    """
    address = on.removeprefix("ray").removeprefix("://")
    if address:
        address = _answering(address)
    else:
        os.environ.update(_environment())
    with native_chatter_silenced():
        import ray
        from ray._private import worker
    worker._worker_logs_enabled = False  # the way of Ray's own debugger; else Ray tells stdout when an actor has died
    with _sockets(address) as folder:
        try:
            with native_chatter_silenced(), _signals_kept():
                try:
                    ray.init(**_local_cluster(folder) if folder else {"address": address}, **_QUIET)
                except Exception as error:
                    where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
                    raise SmoothcamError(f"{where} cannot be used: {gist(str(error))}") from error
            yield ray
        finally:
            with native_chatter_silenced():
                ray.shutdown()


def machines_of(ray: Any) -> list[dict[str, float]]:
    """Return what each machine of a cluster that lives has, by Ray's names for it."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room_on(machines: Sequence[Mapping[str, float]], device: str, actors: int | None) -> Room:
    """Return what machines have room for: an actor for each graphics card or, where there are none, for each four cores.

    Args:
        device: `cpu`: cards do not count; `gpu`: nothing else does. actors: how many there are to be; they share the cores.

    Raises:
        UsageError: there is to be a card, and there is none.
    """
    cards = [] if device == "cpu" else [(int(m.get("CPU", 0)), int(m["GPU"])) for m in machines if m.get("GPU", 0) >= 1]
    if cards:
        room = sum(count for _, count in cards)
        return Room(actors or room, max(1, min(_CORES, *(cores // count for cores, count in cards))), 1)
    if device not in ("auto", "cpu"):
        raise UsageError(f"no {device}: no machine of the Ray cluster has one; use --device cpu")
    cores = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    if not cores:
        return Room(actors or 1, _CORES, 0)
    each = min(*cores, _CORES if actors is None else max(1, sum(cores) // actors))
    return Room(actors or sum(count // each for count in cores), each, 0)


def _answering(address: str) -> str:
    """Return an address with its port, if a cluster answers there; Ray itself would try for hours.

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
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, env=os.environ | path, check=False
        )
    except subprocess.TimeoutExpired:
        raise SmoothcamError(f"no Ray cluster answers at {address} within {_ANSWER_SECONDS:g} s; {start}") from None
    if done.returncode:
        raise SmoothcamError(f"the Ray cluster at {address} cannot be used: {gist(done.stderr)}; {start}")
    return address


def _sockets(address: str) -> AbstractContextManager[str | None]:
    """Have a folder for a cluster of our own; its sockets lie there, whose paths may have 107 bytes, so not just anywhere."""
    if address:
        return nullcontext()
    return tempfile.TemporaryDirectory(prefix="smoothcam-ray-", dir="/tmp", ignore_cleanup_errors=True)


def _environment() -> dict[str, str]:
    """Return what a cluster of our own, and this process, must have in the environment before Ray is imported.

    It calls nobody, and nobody else can talk to it: who can, can have it run anything.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def _local_cluster(folder: str) -> dict[str, Any]:
    """Return how a cluster of our own is started."""
    return {
        "address": "local",
        "num_cpus": cores_here(),
        "include_dashboard": False,
        "object_store_memory": _STORE,
        "_temp_dir": folder,
    }


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let Ray's processes inherit that what a terminal sends to all of them is not for them, and keep our own handlers.

    Raises:
        Interrupted: SIGTERM came meanwhile, when Ray's handler had taken the place of ours.
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


def gist(text: str) -> str:
    """Return the last line of an error that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_MESSAGE] if lines else "it gives no reason"
