"""One target in a process of its own: executions, one after the other, until the time is over or something is wrong.

What is run is written into shared memory first, so that whoever watches has it, and the counts, however it ends.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import logging
import mmap
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

from fuzz.mutate import changed, random_edits
from fuzz.targets import TARGETS, Run, attempt
from loopback import GUARD

HANG_SECONDS, STUCK_SECONDS = 5.0, 60.0
"""Of processor time, and of time on a machine that may be busy."""
MOST_MEGABYTES = 300
"""Resident."""
MORE_ADDRESSES = 2 << 30
"""Bytes of address space that may be taken beside what the process has when it begins: then memory is an error."""
MOST_DATA = 1 << 20
"""Bytes of an input that are kept."""
CORPUS = Path(__file__).parent / "corpus"
FAST = Path("/dev/shm")
"""Files there cost no writes."""


@dataclass(frozen=True)
class Task:
    """What a process does."""

    target: str
    seed: int = 0
    seconds: float | None = None
    executions: int | None = None
    keep: Path | None = None
    """Folder for findings; None keeps none."""


class Board:
    """Counts and the input under way, in a file that two processes map."""

    HEAD = struct.Struct("<4Q")
    """Executions begun, refused, findings, bytes of the input."""

    def __init__(self, path: Path) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.truncate(self.HEAD.size + MOST_DATA)
            self._map = mmap.mmap(file.fileno(), self.HEAD.size + MOST_DATA)

    def put(self, executions: int, refused: int, findings: int, data: bytes) -> None:
        """Tell what is done and what is run now."""
        size = min(len(data), MOST_DATA)
        self._map[self.HEAD.size : self.HEAD.size + size] = data[:size]
        self.HEAD.pack_into(self._map, 0, executions, refused, findings, size)

    def get(self) -> tuple[tuple[int, int, int], bytes]:
        """The counts and the input."""
        *counts, size = self.HEAD.unpack_from(self._map)
        executions, refused, findings = counts
        return (executions, refused, findings), self._map[self.HEAD.size : self.HEAD.size + size]

    def clear(self) -> None:
        """Begin anew."""
        self.HEAD.pack_into(self._map, 0, 0, 0, 0, 0)


class Finding(Exception):  # noqa: N818 - not every one is an error
    """An input that did not end as it should."""


def corpus(name: str) -> list[bytes]:
    """Inputs that were findings once."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def tried(run: Run, data: bytes) -> bool:
    """Whether an input was refused. Raises Finding."""
    began, used = time.monotonic(), time.process_time()
    try:
        refused = bool(attempt(run, data))
    except Exception as error:
        raise Finding(traceback.format_exc()) from error
    took, computed = time.monotonic() - began, time.process_time() - used
    if computed > HANG_SECONDS or took > STUCK_SECONDS:
        raise Finding(f"hang: it took {took:.1f} s, {computed:.1f} s of them of the processor")
    return refused


def work(task: Task) -> int:
    """Run one target, and report as one line of JSON: executions, refused, findings, seconds, largest megabytes."""
    GUARD.start()
    logging.disable()
    source = random.Random(task.seed)
    board = Board(task.keep / f"{task.target}.board") if task.keep else None
    executions = refused = findings = 0
    kinds: set[str] = set()
    place = FAST if FAST.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder, TARGETS[task.target].open(Path(folder)) as (good, run):
        seeds = [*good, *corpus(task.target)]
        for seed in seeds:
            tried(run, seed)
        bound_addresses()
        began = time.monotonic()
        deadline, peak = began + (task.seconds or float("inf")), _peak()
        while time.monotonic() < deadline and executions != task.executions:
            data = changed(source.choice(seeds), random_edits(source))
            executions += 1
            if board:
                board.put(executions, refused, findings, data)
            try:
                refused += tried(run, data)
                if (now := _peak()) > peak:
                    peak = now
                    if (megabytes := _kilobytes("VmHWM") / 1024) > MOST_MEGABYTES:
                        raise Finding(f"memory: {megabytes:.0f} MB were resident")
            except Finding as finding:
                findings += 1
                kind = "".join(str(finding).splitlines()[-3:-1])
                if kind not in kinds:
                    kinds.add(kind)
                    keep(task, data, str(finding))
                if str(finding).startswith("memory"):
                    break  # the peak of a process stays
        if board:
            board.put(executions, refused, findings, b"")
        seconds = time.monotonic() - began
    print(json.dumps([executions, refused, findings, round(seconds, 1), round(_kilobytes("VmHWM") / 1024)]))  # noqa: T201
    return bool(findings)


def bound_addresses() -> None:
    """Let this process take so much address space more, and get a MemoryError above that."""
    resource.setrlimit(resource.RLIMIT_AS, (_kilobytes("VmSize") * 1024 + MORE_ADDRESSES, resource.RLIM_INFINITY))


def own_functions() -> list[FunctionType]:
    """All functions of edgecap that are in memory."""
    every = [item for item in gc.get_objects() if isinstance(item, FunctionType)]
    return [function for function in every if str(function.__module__).partition(".")[0] == "edgecap"]


def led(task: Task) -> int:
    """The same, with inputs that atheris makes from what the code's coverage shows."""
    atheris = importlib.import_module("atheris")
    with (
        tempfile.TemporaryDirectory() as seeds,
        tempfile.TemporaryDirectory() as folder,  # which is the target's, to empty it when it likes
        TARGETS[task.target].open(Path(folder)) as (good, run),
    ):
        start = Path(seeds)
        for number, seed in enumerate([*good, *corpus(task.target)]):
            (start / str(number)).write_bytes(seed)
        for function in own_functions():  # instrument_all takes minutes for what others wrote
            atheris.instrument_func(function)
        artifacts = f"-artifact_prefix={task.keep or tempfile.gettempdir()}/{task.target}-"  # never the repository
        options = [f"-max_total_time={round(task.seconds or 60)}", "-print_final_stats=1"]
        options += [f"-timeout={STUCK_SECONDS:.0f}", f"-rss_limit_mb={MOST_MEGABYTES}", "-malloc_limit_mb=2048"]
        bound_addresses()

        def one(data: bytes) -> None:
            tried(run, data)

        atheris.Setup([sys.argv[0], *options, artifacts, str(start)], one)
        atheris.Fuzz()
    return 0


def keep(task: Task, data: bytes, text: str) -> None:
    """Write a finding and its traceback where it was asked for, and tell it."""
    print(f"{task.target}: {text.strip().splitlines()[-1]}", file=sys.stderr)  # noqa: T201
    if task.keep:
        name = f"{task.target}-{hashlib.sha256(data).hexdigest()[:12]}"
        (task.keep / name).write_bytes(data)
        (task.keep / f"{name}.txt").write_text(text)


def _peak() -> int:
    """Most memory of this process, or of the one that started it where that had more: tells when to look."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{name}:")[2].split()[0])
