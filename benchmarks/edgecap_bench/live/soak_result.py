"""Whether memory, handles, threads and time stamps stay as they are over a day of listening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import numpy as np

from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import CRITERIA_HEADER, Criterion, Page, Sheet, measured_page

WARM_UP = 0.2
"""Share of the run that is left to what is allocated once: caches of the runtime and of the journal."""
MOST_GROWTH = 1e6
"""Bytes an hour of sound."""
MOST_DRIFT = 0.1
"""Seconds by which beginnings of events may move from the first to the last tenth: one block of the level meter."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The process at one moment."""

    sound_seconds: float
    """Seconds of sound written to it so far."""
    seconds: float
    """Time on the monotonic clock."""
    resident_bytes: int
    handles: int
    threads: int
    processor_seconds: float


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """An event that begins where a clip does."""

    played: float
    """Where the clip began, seconds of sound."""
    start: float
    """Beginning of the event by its own time stamp, seconds of sound."""
    began: float
    """The same as Unix time."""


@dataclass(frozen=True, kw_only=True)
class Soak:
    """One run."""

    FORMAT: ClassVar[str] = "edgecap-bench-soak"
    VERSION: ClassVar[int] = 2

    model: str
    hours: float
    """Hours of sound requested."""
    speed: float
    samples: list[Sample]
    stamps: list[Stamp]
    played: int
    """Clips played."""
    events: int
    beats: int
    """Notifications of the watchdog."""
    longest_beat: float
    """Longest time between two of them, seconds."""
    exit_code: int | None
    summary: str
    """The listener's last line."""


def criteria(result: Soak) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    warm = [sample for sample in result.samples if sample.sound_seconds >= WARM_UP * result.samples[-1].sound_seconds]
    per_hour = slope([(sample.sound_seconds / 3600, sample.resident_bytes) for sample in warm])
    wall = slope([(sample.seconds / 3600, sample.resident_bytes) for sample in warm])
    handles, threads = {sample.handles for sample in warm}, {sample.threads for sample in warm}
    stamps = first_of_each_clip(result.stamps)
    sound = drift([stamp.start - stamp.played for stamp in stamps])
    clock = drift([stamp.began - stamp.start for stamp in stamps])
    return [
        Criterion(
            "resident memory",
            f"{per_hour / 1e6:+.3f} MB an hour of sound ({wall / 1e6:+.2f} MB an hour of time)",
            f"at most {MOST_GROWTH / 1e6:g} MB an hour",
            per_hour <= MOST_GROWTH,
        ),
        Criterion("open handles", _range(handles), "constant", len(handles) == 1),
        Criterion("threads", _range(threads), "constant", len(threads) == 1),
        Criterion(
            "drift of beginnings against the sound",
            f"{sound:+.3f} s over the run",
            f"at most {MOST_DRIFT:g} s",
            abs(sound) <= MOST_DRIFT,
        ),
        Criterion(
            "drift of clock times against the sound",
            f"{clock:+.3f} s over the run",
            f"at most {MOST_DRIFT:g} s",
            abs(clock) <= MOST_DRIFT,
        ),
        Criterion("clips with an event at their beginning", f"{len(stamps)} of {result.played}", "", True),
        Criterion(
            "watchdog",
            f"notified {result.beats} times, at most {result.longest_beat:.1f} s apart",
            "at most 30 s apart",
            result.beats > 0 and result.longest_beat <= 30.0,
        ),
        Criterion("end", f"exit code {result.exit_code}", "0", result.exit_code == 0),
    ]


def first_of_each_clip(stamps: Sequence[Stamp]) -> list[Stamp]:
    """The first event of each clip, which may have several with different captions."""
    first: dict[float, Stamp] = {}
    for stamp in sorted(stamps, key=lambda stamp: stamp.start):
        first.setdefault(stamp.played, stamp)
    return list(first.values())


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (x, y); NaN for fewer than 3 points."""
    if len(points) < 3:
        return float("nan")
    x, y = np.asarray(points, np.float64).T
    return float(np.polyfit(x - x[0], y, 1)[0])


def drift(offsets: Sequence[float]) -> float:
    """By how much the median of the last tenth of a series differs from that of the first; NaN of fewer than 10."""
    tenth = len(offsets) // 10
    return float(median(offsets[-tenth:]) - median(offsets[:tenth])) if tenth else float("nan")


def soak_page(measurement: Measurement[Soak]) -> Page:
    """The run for people."""
    result = measurement.body
    last, first = result.samples[-1], result.samples[0]
    speed = (last.sound_seconds - first.sound_seconds) / max(1e-9, last.seconds - first.seconds)
    return measured_page(
        measurement.header,
        f"Soak: {last.sound_seconds / 3600:.1f} hours of sound at {speed:.1f} times its speed",
        [Sheet("", CRITERIA_HEADER, [criterion.row for criterion in criteria(result)])],
        notes=[
            f"{result.played} clips with pauses of quiet, {result.events} events; model {result.model}; the first "
            f"{WARM_UP:.0%} are left out as warm-up.",
            f"Resident memory {first.resident_bytes / 1e6:.0f} MB in the first sample, "
            f"{last.resident_bytes / 1e6:.0f} MB in the last.",
            f"The listener's summary: {result.summary.partition('note: ')[2] or result.summary}",
        ],
    )


def _range(values: set[int]) -> str:
    return f"{min(values)}" if len(values) == 1 else f"{min(values)} to {max(values)}"
