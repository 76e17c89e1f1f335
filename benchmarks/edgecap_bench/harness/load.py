"""How much of the machine other programs take, and where the measured one runs.

A time taken on a busy machine says nothing about the program, so the load is measured before a benchmark starts and
while it runs.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecap.errors import BusyMachineError

MOST_OTHERS = 0.1
"""Processor cores that everything else together may take: a tenth of one."""
SAMPLE_SECONDS = 1.0
SYSTEM_TIMES = Path("/proc/stat")
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""user, nice, system, irq, softirq and steal, as proc(5) numbers them; idle and waiting for disks are not work."""


class LoadMeter:
    """Processor time that others than this process and its finished children used since it was made."""

    def __init__(
        self,
        busy: Callable[[], float | None] | None = None,
        own: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`busy` gives the seconds that all cores have worked, None where not reported; `own` this program's."""
        self._busy, self._own, self._clock = busy or busy_seconds, own or own_seconds, clock
        self._begin = (self._busy(), self._own(), self._clock())

    def others(self) -> float | None:
        """Cores that others took on average, at least 0; None where the system does not report it."""
        busy, own, now = self._begin
        total = self._busy()
        elapsed = self._clock() - now
        if busy is None or total is None or elapsed <= 0:
            return None
        return max(0.0, ((total - busy) - (self._own() - own)) / elapsed)


def busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the machine started; None where there is no /proc/stat."""
    try:
        fields = SYSTEM_TIMES.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    return sum(int(fields[number]) for number in BUSY_FIELDS) / float(os.sysconf("SC_CLK_TCK"))


def own_seconds() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def refuse_if_busy(others: float | None) -> None:
    """Raise BusyMachineError where `others` is more than `MOST_OTHERS`."""
    if others is not None and others > MOST_OTHERS:
        raise BusyMachineError(
            f"the machine is busy: other programs take {others:.2f} processor cores and at most {MOST_OTHERS:g} is "
            "allowed; stop them, or use --even-busy for numbers that do not count as a result"
        )


class Watch:
    """The machine before and during a run. Refuses to begin on a busy one."""

    def __init__(self, even_busy: bool) -> None:
        """Measure the load for a second. Raises BusyMachineError, unless `even_busy`."""
        self.even_busy = even_busy
        self.before = others_now()
        self.during: float | None = None
        """Cores that others took, once the run has ended."""
        if not even_busy:
            refuse_if_busy(self.before)
        self._meter = LoadMeter()

    def end(self) -> None:
        """The run has ended."""
        self.during = self._meter.others()

    @property
    def noisy(self) -> bool:
        """Whether others took so much that what was measured is not a result."""
        return max(self.before or 0.0, self.during or 0.0) > MOST_OTHERS

    def refuse_if_disturbed(self) -> None:
        """Raise BusyMachineError where others took too much meanwhile, unless `even_busy`."""
        if not self.even_busy:
            refuse_if_busy(self.during)


def others_now() -> float | None:
    """Cores that others take, measured for a second. Blocks that long."""
    meter = LoadMeter()
    time.sleep(SAMPLE_SECONDS)
    return meter.others()


def cores(threads: int) -> list[int]:
    """The processor cores that `threads` threads are kept on: the last ones this process may use.

    Raises ValueError where there are not so many. Empty where the system cannot pin.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(allowed):
        raise ValueError(f"{threads} threads do not fit on the {len(allowed)} cores this process may use")
    return allowed[-threads:]


def all_cores() -> list[int]:
    """The processor cores that this process may use. Empty where the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def pinned(numbers: list[int]) -> Iterator[None]:
    """Keep this process, and children that it starts, on these cores for a while; empty for no limit."""
    allowed = os.sched_getaffinity(0) if numbers else set()
    if numbers:
        os.sched_setaffinity(0, numbers)
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)


def processor_seconds(process: int) -> float:
    """Processor time of a process and its threads so far, by its number."""
    times = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(times[11]) + int(times[12])) / float(os.sysconf("SC_CLK_TCK"))
