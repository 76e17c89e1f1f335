"""Whether the system's clock was set, or the machine was suspended, since the last look.

A board without a real-time clock starts at some time in the past and is set by NTP minutes later; a laptop is
suspended. Both show as a difference between clocks: Unix time jumps against the monotonic clock, and while the machine
is suspended the monotonic clock stops while the clock since boot goes on (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST_JUMP = 1.0
"""Seconds; NTP corrects less by running the clock faster or slower, which is not reported."""
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Jump:
    """What happened to the clocks."""

    clock_set: float
    """Seconds by which Unix time was set forward; negative where it was set back."""
    suspended: float
    """Seconds for which the machine was suspended."""


def boot_time() -> float:
    """Seconds since boot, suspension included; the monotonic clock where the system has no such clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clocks:
    """Compares the three clocks once a second."""

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
        """What happened since the last look; None where nothing did."""
        if self._running() < self._next:
            return None
        self._next = self._running() + LOOK_SECONDS
        (wall, boot), self._offsets = self._offsets, self._read()
        suspended = self._offsets[1] - boot
        clock_set = self._offsets[0] - wall - suspended
        if abs(clock_set) < SMALLEST_JUMP and suspended < SMALLEST_JUMP:
            return None
        return Jump(
            clock_set if abs(clock_set) >= SMALLEST_JUMP else 0.0, suspended if suspended >= SMALLEST_JUMP else 0.0
        )

    def _read(self) -> tuple[float, float]:
        """Unix time and time since boot, each less the time that ran."""
        running = self._running()
        return self._wall() - running, self._boot() - running
