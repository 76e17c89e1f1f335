"""The published patterns of alarms, and by how much each has to stand out.

ISO 8201 and NFPA 72 call for the temporal three: three pulses of 0.5 s with gaps of 0.5 s, then 1.5 s of quiet;
NFPA 72 for carbon monoxide the temporal four: four pulses of 0.1 s with gaps of 0.1 s, then 5 s. Each time may be off
by 10 %. The standards leave the spectrum open, and sounders differ: piezos near 3 kHz, low-frequency ones with a square
wave of 520 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 0.1
"""Part by which each time of a pattern may be off."""
LONGEST_QUIET = 2.0
"""Most seconds before and after a group that have to be quiet."""
DECAY, EDGE = 0.15, 0.05
"""Seconds after a group in which a room may still ring, and before it that are not looked at."""


@dataclass(frozen=True, kw_only=True)
class AlarmPattern:
    """A signal of equal pulses in groups; times in seconds."""

    identifier: str
    name: str
    pulses: int
    on: float
    off: float
    pause: float
    scales: tuple[float, ...] = (1.0,)
    """Factors of `on` and `off` that are tried: what lies between them is within the windows' margins."""
    least_gap: float
    """Decibels by which each pulse is louder than the gaps beside it."""
    least_quiet: float
    """Decibels by which the softest pulse is louder than the quiet around its group."""
    most_spread: float
    """Decibels between the loudest and the softest pulse, of both groups."""
    most_ripple: float
    """Standard deviation within a pulse, in decibels."""
    least_pair: float
    """Decibels by which the softest of these bounds has to be passed where two groups were heard."""
    least_triple: float
    """The same where three were."""

    @property
    def length(self) -> float:
        """Seconds of a group."""
        return self.pulses * self.on + (self.pulses - 1) * self.off

    @property
    def period(self) -> float:
        """Seconds from one group to the next."""
        return self.length + self.pause

    @property
    def quiet(self) -> float:
        """Seconds before and after a group that are looked at."""
        return min(0.7 * self.pause, LONGEST_QUIET)

    @property
    def reach(self) -> float:
        """Seconds from the middle of a group to the end of the quiet after it."""
        return (1.0 + TOLERANCE) * self.length / 2 + DECAY + self.quiet


T3 = AlarmPattern(
    identifier="smoke-alarm",
    name="smoke alarm",
    pulses=3,
    on=0.5,
    off=0.5,
    pause=1.5,
    least_gap=4.0,
    least_quiet=6.0,
    most_spread=6.0,
    most_ripple=3.0,
    least_pair=1.0,
    least_triple=0.2,
)
T4 = AlarmPattern(
    identifier="co-alarm",
    name="carbon monoxide alarm",
    pulses=4,
    on=0.1,
    off=0.1,
    pause=5.0,
    scales=(0.93, 1.0, 1.07),
    least_gap=3.0,
    least_quiet=8.0,
    most_spread=6.0,
    most_ripple=6.0,
    least_pair=1.5,
    least_triple=0.5,
)
PATTERNS = (T3, T4)
