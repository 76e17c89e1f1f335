"""Whether the system's clock was set, or the machine slept, since the last look.

A board without a clock of its own starts at some time in the past and is set by NTP minutes later; a laptop sleeps.
Both show as a difference between clocks: Unix time moves against the clock that only counts what runs, and while the
machine sleeps that one stands still while the clock since boot goes on (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST_JUMP = 1.0
"""Seconds; NTP corrects less by running the clock faster or slower, which needs no word."""
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Jump:
    """What happened to the clocks."""

    moved: float
    """Seconds by which Unix time was set forward."""
    slept: float
    """Seconds for which the machine was suspended."""


def boot_time() -> float:
    """Seconds since boot, sleep included; the running clock where the system has no such thing."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clocks:
    """Compares the three clocks now and then."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        running: Callable[[], float] = time.monotonic,
        boot: Callable[[], float] = boot_time,
    ) -> None:
        self._wall, self._running, self._boot = wall, running, boot
        self._next = 0.0
        self._offsets = self._read()

    def look(self) -> Jump | None:
        """What happened since the last look; None where nothing did, and most of the time."""
        if self._running() < self._next:
            return None
        self._next = self._running() + LOOK_SECONDS
        (wall, boot), self._offsets = self._offsets, self._read()
        slept = self._offsets[1] - boot
        moved = self._offsets[0] - wall - slept
        if abs(moved) < SMALLEST_JUMP and slept < SMALLEST_JUMP:
            return None
        return Jump(moved if abs(moved) >= SMALLEST_JUMP else 0.0, slept if slept >= SMALLEST_JUMP else 0.0)

    def _read(self) -> tuple[float, float]:
        """Unix time and time since boot, each less the time that ran."""
        running = self._running()
        return self._wall() - running, self._boot() - running
