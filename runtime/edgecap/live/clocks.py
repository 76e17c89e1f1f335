"""Time is time: the rules by which a listener measures, counts and dates.

- How long something lasts is measured by the clock since boot. It is never set, and goes on while the machine is
  suspended (clock_gettime(2)).
- Where a sound lies (an event's `start` and `end`, cues of subtitles, cooldown, `close_after`) is counted in samples,
  and what a live source did not give is counted too: whenever the count falls behind the time that has passed, because
  the microphone was away, a pipe stalled, the process was stopped or the machine suspended, the difference is lost
  sound.
- A date is such a place in the time since boot plus one offset to Unix time. The offset changes in `Clocks.look` alone,
  and what was dated by the old one is shifted then: nothing is shifted twice. A board without a real-time clock starts
  at some time in the past and is set by NTP minutes later.
- A recording (a file, or a pipe with a speed of 0) has a time of its own: nothing is added to its samples, and it is
  dated as if it had been played from when listening began.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST_JUMP = 1.0
"""Seconds; NTP corrects less by running the clock faster or slower, which is not reported."""
LOOK_SECONDS = 1.0
LARGEST_LAG = 1.0
"""Seconds by which the sound of a live source may be behind time before that counts as a loss: what buffers hold."""
LARGEST_LEAD = 5.0
"""Seconds of sound ahead of time from which on a source is no live one."""
DRIFT = 1e-3
"""Largest share by which a sound card's clock may be wrong; such a difference is followed silently."""


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
    """The three clocks of a machine, compared once a second."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        running: Callable[[], float] = time.monotonic,
        boot: Callable[[], float] = boot_time,
    ) -> None:
        self._wall, self._running, self.now = wall, running, boot
        """`now` is seconds since boot."""
        self._next = float("-inf")
        self._offset, self._asleep = self._read()

    def unix(self, boot: float) -> float:
        """Unix time of a moment since boot, by the offset of the last look."""
        return boot + self._offset

    def look(self) -> Jump | None:
        """What happened since the last look; None where nothing did."""
        if self._running() < self._next:
            return None
        self._next = self._running() + LOOK_SECONDS
        (offset, asleep), (self._offset, self._asleep) = (self._offset, self._asleep), self._read()
        clock_set, suspended = self._offset - offset, self._asleep - asleep
        if abs(clock_set) < SMALLEST_JUMP and suspended < SMALLEST_JUMP:
            return None
        return Jump(
            clock_set if abs(clock_set) >= SMALLEST_JUMP else 0.0, suspended if suspended >= SMALLEST_JUMP else 0.0
        )

    def _read(self) -> tuple[float, float]:
        """Unix time less the time since boot, and for how long the machine was suspended in that."""
        while True:
            before = self.now()
            wall, running = self._wall(), self._running()
            if self.now() - before < SMALLEST_JUMP / 2:  # else the process was stopped in between
                return wall - before, before - running


class SoundClock:
    """Where in time the samples of one stream lie."""

    def __init__(self, rate: int, clocks: Clocks, *, live: bool) -> None:
        """`rate` in hertz."""
        self._rate, self._clocks, self._live = rate, clocks, live
        self._samples = 0
        self._began: float | None = None if live else clocks.now()

    @property
    def heard(self) -> float:
        """Seconds from the first sample to the end of the newest, with all that was lost between."""
        return self._samples / self._rate

    @property
    def lead(self) -> float:
        """Seconds of sound ahead of the time that has passed; for a live source."""
        return 0.0 if self._began is None else self.heard - (self._clocks.now() - self._began)

    def missing(self, count: int, lost: float = 0.0) -> float:
        """Seconds that are missing before `count` new samples (at least one), of which the source knows `lost`."""
        if not self._live:
            return lost
        seconds, now = count / self._rate, self._clocks.now()
        if self._began is None:
            self._began = now - seconds
        lag = now - self._began - self.heard - seconds
        lost = min(lost, max(0.0, lag + LARGEST_LAG))  # no more than there was time for
        if lag - lost > LARGEST_LAG:
            lost = lag
        self._began += max(-DRIFT * seconds, min(DRIFT * seconds, lag - lost))
        return lost

    def add(self, seconds: float) -> None:
        """Sound of this length came, or is missing."""
        self._samples += round(seconds * self._rate)

    def free(self) -> None:
        """The source is none of live sound: from now on its samples alone are its time."""
        self._live = False

    def unix(self, heard: float) -> float:
        """Unix time of the place `heard` seconds into the sound."""
        return self._clocks.unix((self._clocks.now() if self._began is None else self._began) + heard)
