"""A Ray cluster for the tests, and functions for its workers, which they import from here."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

from edgecap.archive import ray_engine
from edgecap.archive.engine import CaptionerSource
from edgecap.archive.shard import ShardReport, ShardWork, caption_shard
from support.source_tree import REPOSITORY

CLUSTER = """
import sys, ray
context = ray.init("local", num_cpus=4, num_gpus=0, include_dashboard=False, object_store_memory=80 << 20,
                   configure_logging=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
OWN_RAY = """
import os, sys
from functools import partial
from edgecap.cluster.pool import RayWorkers
from edgecap.cluster.session import Workers
from support.parallel.ray_parts import times
workers = RayWorkers(partial(times, 10), Workers(count=2))
print(sorted(workers.map([1, 2, 3])), flush=True)
sys.stdin.readline()
workers.close()
"""
"""A command with a Ray of its own: prints results, and ends it when it gets a line."""


def with_tests() -> str:
    """PYTHONPATH with the folder of the tests, from which workers import this module."""
    return os.pathsep.join([str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def running_cluster() -> Iterator[str]:
    """The address of a cluster on loopback, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback
        "PYTHONPATH": with_tests(),
    }
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as place,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "no Ray"
        yield address
        process.stdin.close()
        process.wait(60)


def descendants(pid: int) -> set[int]:
    """The processes below one."""
    parents = {}
    for path in Path("/proc").iterdir():
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (ValueError, OSError):
            continue
    below, todo = set[int](), {pid}
    while todo:
        todo = {child for child, parent in parents.items() if parent in todo}
        below |= todo
    return below


def alive(pids: set[int]) -> set[int]:
    """Those that have not ended; one that nobody has waited for has."""
    running = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            running.add(pid)
    return running


def listening(pids: set[int]) -> set[str]:
    """The addresses, in the kernel's hexadecimal, at which processes accept connections."""
    sockets = set()
    for pid in pids:
        try:
            sockets |= {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def times(factor: int, threads: int) -> Callable[[int], int]:
    """Multiplies."""
    return lambda item: item * factor


def warns(threads: int) -> Callable[[int], tuple[int, str | None]]:
    """The threads; it logs, and prints, which nobody is to see."""

    def call(item: int) -> tuple[int, str | None]:
        print("a worker prints")  # noqa: T201
        logging.getLogger("edgecap.test").warning("item %d", item)
        return threads, os.environ.get("OMP_NUM_THREADS")

    return call


def deadly(place: Path, threads: int) -> Callable[[int], int]:
    """The item; but the worker is killed at 3 once, and at every negative one."""

    def call(item: int) -> int:
        if item < 0 or (item == 3 and _first(place / "killed")):
            os.kill(os.getpid(), SIGKILL)
        return item

    return call


def refuses(error: Exception, place: Path, threads: int) -> Callable[[int], int]:
    """Raises the error for 2; others end after that and say so in a file."""

    def call(item: int) -> int:
        if item == 2:
            raise error
        (place / str(item)).touch()
        return item

    return call


def broken(error: Exception, threads: int) -> Callable[[int], int]:
    """Cannot be made."""
    raise error


def killed_in_shard_1(place: Path, source: CaptionerSource, threads: int) -> Callable[[ShardWork], ShardReport]:
    """As `shard_maker`, but the worker is killed once, behind the first sound of shard 1."""
    make, captioner = ray_engine.shard_maker(source, threads), None

    def call(work: ShardWork) -> ShardReport:
        nonlocal captioner
        if work.shard != 1:
            return make(work)
        captioner = captioner or source.load(lambda *_: None)
        return caption_shard(
            work, captioner, heard=lambda *_: os.kill(os.getpid(), SIGKILL) if _first(place / "killed") else None
        )

    return call


def full_at_shard_1(source: CaptionerSource, threads: int) -> Callable[[ShardWork], ShardReport]:
    """As `shard_maker`, but files of this process may have 2 kB while shard 1 is made."""
    make = ray_engine.shard_maker(source, threads)

    def call(work: ShardWork) -> ShardReport:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if work.shard == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
        try:
            return make(work)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return call


def _first(path: Path) -> bool:
    """Whether nobody was here before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
