"""A Ray to work on: one that this command starts and ends, or a cluster that is there.

Its own Ray listens on loopback only and asks for a token, has no dashboard, reports nothing to anyone, and keeps its
logs and sockets in one temporary folder. It ends with the command, also with a killed one.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from edgecap.errors import ConfigError, MissingDependencyError, OutputError, RunError, reason_of
from edgecap.inference.session import usable_cores

log = logging.getLogger(__name__)

OLDEST, TESTED, NEXT = (2, 50), (2, 60), (3, 0)
"""Releases of Ray: older than the first and from the last on are refused, others than the second are warned of."""
OBJECT_STORE_BYTES = 80 << 20
"""Little more than the least that Ray takes. Descriptions of work and reports go through it, no sounds."""
PREFIX = "edgecap-ray-"
LONGEST_PLACE = 24
"""Characters of the folder for temporary ones: Ray puts sockets some folders deeper, in at most 107 characters."""
CONNECT_SECONDS = 10.0
GUARD = """read -r _
for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$2" ] || { ls -l "$process/fd" | grep -qF -- "-> $1/" && kill -KILL "${process#/proc/}"; }
done
rm -rf "$1\""""
"""Waits until process $2 closes a pipe, or ends. Then it ends all others that have files in the folder $1 open: after a
kill two processes of Ray would stay for a minute, and a worker that is just starting would make the folder anew."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without it Ray listens on all addresses of a Linux machine, whatever address of its node it is given."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where work is done, and by how many."""

    count: int | None = None
    """Worker processes; None for as many as the cores allow."""
    threads: int | None = None
    """Processor threads of each; None for so many that all cores of this machine are used, on a cluster one."""
    address: str | None = None
    """Of a Ray cluster, HOST:PORT, ray://HOST:PORT or auto; None for a Ray of this command's own."""

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        for name in ("count", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"workers: {name} must be at least 1, not {value}")


@dataclass(frozen=True)
class Team:
    """A Ray that is connected, and what is used of it."""

    ray: Any
    """The module."""
    count: int
    threads: int


def load_ray(*, own: bool = False) -> Any:  # noqa: ANN401 - the module
    """Ray; `own` for one of this command's own, which listens on loopback.

    Raises MissingDependencyError where it is missing or of a release that cannot be used.
    """
    with _environment(QUIET | (LOOPBACK if own else {})):
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError.for_extra("work on Ray", "ray") from error
    check_release(ray.__version__)
    return ray


def check_release(version: str) -> None:
    """Raise MissingDependencyError for a release of Ray that cannot be used, and warn of one that was not tested."""
    release = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    tested = ".".join(map(str, TESTED))
    if not OLDEST <= release < NEXT:
        raise MissingDependencyError(
            f"Ray {version} cannot be used: edgecap is tested with Ray {tested}; type: pip install 'ray~={tested}.0'"
        )
    if release != TESTED:
        log.warning("Ray %s is installed, and edgecap is tested with Ray %s; it may work", version, tested)


@contextmanager
def open_team(workers: Workers) -> Iterator[Team]:
    """Ray, until the block ends; call it in a thread that lives as long, since Ray's processes end with that.

    Raises MissingDependencyError, ConfigError for more workers than cores, RunError where Ray does not start or answer.
    """
    ray = load_ray(own=workers.address is None)
    with ExitStack() as stack:
        stack.enter_context(_restored_signals())  # of what Ray does while it works
        stack.enter_context(_ended_by_sigterm())
        _silence(ray)
        if workers.address is None:
            cores = usable_cores()
            count, threads = share(workers, cores)
            place = stack.enter_context(_temporary_place())
            stack.callback(_stop, ray)
            _start(ray, place, max(cores, count * threads))
        else:
            stack.callback(ray.shutdown)
            _connect(ray, workers.address)
            threads = workers.threads or 1
            count = workers.count or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        yield Team(ray, count, threads)


def share(workers: Workers, cores: int) -> tuple[int, int]:
    """Workers and threads of each, so that together they are the cores. Raises ConfigError for more workers."""
    count = workers.count or max(1, cores // (workers.threads or 1))
    if count > cores:
        raise ConfigError(
            f"this machine has {cores} cores, so {count} workers are no faster; ask for --workers {cores}"
        )
    return count, workers.threads or cores // count


def _silence(ray: Any) -> None:  # noqa: ANN401
    """Ray says on standard output when a worker ends, whatever `log_to_driver` is; that is for results."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _start(ray: Any, place: Path, cores: int) -> None:  # noqa: ANN401
    if "RAY_AUTH_MODE" not in os.environ:
        # Ray would write one to the home folder. It is kept: Ray reads it once in a process.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        # What the user's PYTHONWARNINGS says is not meant for Ray's own processes.
        with _environment(QUIET | LOOPBACK | {"PYTHONWARNINGS": None}), _restored_signals():
            ray.init(
                "local",
                num_cpus=cores,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                configure_logging=False,
                log_to_driver=False,
                _temp_dir=str(place),
                _node_ip_address="127.0.0.1",
            )
    except Exception as error:  # Ray documents no classes here
        raise RunError(
            f"Ray does not start ({_reason(error)}); type: ray stop, and try again, or --engine local"
        ) from error


def _connect(ray: Any, address: str) -> None:  # noqa: ANN401
    if address != "auto":
        _check_reachable(address)
    try:
        with _environment(QUIET), _restored_signals():
            ray.init(address, configure_logging=False, log_to_driver=False)
    except Exception as error:
        raise RunError(
            f"the Ray cluster at {address} cannot be used ({_reason(error)}); see ray status there, or leave --address "
            "out to work on this machine"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise within seconds where nobody listens at an address; Ray itself tries for minutes."""
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ConfigError(f"{address!r} is no address of a Ray cluster; write HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at {address} ({reason_of(error)}); check that it runs there: ray status, or leave "
            "--address out to work on this machine"
        ) from error


def _stop(ray: Any) -> None:  # noqa: ANN401
    """End Ray and wait for its processes."""
    try:
        ray.shutdown(wait_for_processes=True)
    except TypeError:  # a release before there was a choice
        ray.shutdown()


def _reason(error: Exception) -> str:
    """What Ray says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def _temporary_place() -> Iterator[Path]:
    """A folder for Ray, which goes with the block or, should this process be killed, with the process."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > LONGEST_PLACE:
        parent = Path("/tmp")
    try:
        place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise OutputError(
            f"{parent} has no place for Ray ({reason_of(error)}); name another one with TMPDIR"
        ) from error
    devnull = subprocess.DEVNULL
    command = ["/bin/sh", "-c", GUARD, "edgecap", str(place), str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull, start_new_session=True) as sh:
        try:
            yield place
        finally:
            sh.communicate()


@contextmanager
def _environment(changes: dict[str, str | None] | dict[str, str]) -> Iterator[None]:
    """Variables of the environment, where the user has not set them; None takes one away."""
    before = {name: os.environ.get(name) for name in changes}
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave the block at SIGTERM, so that what is open is closed; a command may have its own way to do so."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _restored_signals() -> Iterator[None]:
    """Ray sets handlers of its own: for SIGTERM when it starts, and for SIGINT when it trains."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
