"""What a soak found, as a file, as wishes kept or not, and as a section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
import numpy as np

from edgecap.errors import ResultError
from edgecap.util.files import write_atomically
from edgecap_bench.harness.machine import Machine
from edgecap_bench.reports.registry import Part
from edgecap_bench.reports.results import read_document
from edgecap_bench.reports.tables import Page, Sheet, markdown, origin

FORMAT: Literal["edgecap-bench-soak"] = "edgecap-bench-soak"
FORMAT_VERSION = 1
WARM_UP = 0.2
"""Share of the run that is left to what is allocated once: caches of the runtime and of the journal."""
MOST_GROWTH = 1e6
"""Bytes an hour of sound."""
MOST_DRIFT = 0.1
"""Seconds by which beginnings of events may move from the first to the last tenth: one block of the level meter."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A look at the process."""

    heard: float
    """Seconds of sound given to it so far."""
    seconds: float
    """Time, on a clock without a meaning of its own."""
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
    """Where the event says that it began."""
    began: float
    """The Unix time that it says."""


@dataclass(frozen=True, kw_only=True)
class SoakResult:
    """One run."""

    format: Literal["edgecap-bench-soak"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    model: str
    hours: float
    """Hours of sound asked for."""
    speed: float
    samples: list[Sample]
    stamps: list[Stamp]
    played: int
    """Clips played."""
    events: int
    beats: int
    """Times that the watchdog was fed."""
    longest_beat: float
    """Longest time between two of them, seconds."""
    exit_code: int | None
    last_words: str
    """The listener's own summary."""
    partial: bool


@dataclass(frozen=True)
class Criterion:
    """A wish and what was found."""

    name: str
    found: str
    wanted: str
    """Empty where nothing is: the finding is told, and always kept."""
    kept: bool

    @property
    def verdict(self) -> str:
        """Whether it is kept, in a word."""
        return {True: "yes", False: "NO"}[self.kept] if self.wanted else ""


def figures(result: SoakResult) -> list[Criterion]:
    """What is wished for, and whether it is so."""
    warm = [sample for sample in result.samples if sample.heard >= WARM_UP * result.samples[-1].heard]
    per_hour = slope([(sample.heard / 3600, sample.resident_bytes) for sample in warm])
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
        Criterion("clips with an event of their own", f"{len(stamps)} of {result.played}", "", True),
        Criterion(
            "watchdog",
            f"fed {result.beats} times, at most {result.longest_beat:.1f} s apart",
            "at most 30 s apart",
            result.beats > 0 and result.longest_beat <= 30.0,
        ),
        Criterion("end", f"exit code {result.exit_code}", "0", result.exit_code == 0),
    ]


def first_of_each_clip(stamps: Sequence[Stamp]) -> list[Stamp]:
    """The first event of each clip: one that is heard in several words begins several."""
    first: dict[float, Stamp] = {}
    for stamp in sorted(stamps, key=lambda stamp: stamp.start):
        first.setdefault(stamp.played, stamp)
    return list(first.values())


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (x, y); NaN for fewer than 3 points, of which nothing can be said."""
    if len(points) < 3:
        return float("nan")
    x, y = np.asarray(points, np.float64).T
    return float(np.polyfit(x - x[0], y, 1)[0])


def drift(offsets: Sequence[float]) -> float:
    """By how much the median of the last tenth of a series differs from that of the first; NaN of fewer than 10."""
    tenth = len(offsets) // 10
    return float(median(offsets[-tenth:]) - median(offsets[:tenth])) if tenth else float("nan")


def rows(result: SoakResult) -> list[tuple[str, ...]]:
    """The findings as a table without its header."""
    return [(one.name, one.found, one.wanted, one.verdict) for one in figures(result)]


def write_soak(path: Path, result: SoakResult) -> None:
    """Write a result, whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.encode(result) + b"\n")


def section(paths: Sequence[Path]) -> Part:
    """The section of all soaks. Raises ResultError for one that was cut short."""
    results = [read_document(path, FORMAT, FORMAT_VERSION, SoakResult) for path in paths]
    for result in results:
        if result.partial:
            raise ResultError(f"the soak of {result.date} was cut short and is no result; run it again")
    return Part("\n".join(markdown(_page(result), level=2) for result in results))


def _page(result: SoakResult) -> Page:
    last, first = result.samples[-1], result.samples[0]
    reached = (last.heard - first.heard) / max(1e-9, last.seconds - first.seconds)
    return Page(
        title=f"Soak: {last.heard / 3600:.1f} hours of sound at {reached:.1f} times its speed",
        notes=[
            f"{result.played} clips with pauses of quiet, {result.events} events; model {result.model}; the first "
            f"{WARM_UP:.0%} are left out as warm-up.",
            f"Resident memory {first.resident_bytes / 1e6:.0f} MB at the first look, "
            f"{last.resident_bytes / 1e6:.0f} MB at the last.",
            f"The listener's own words: {result.last_words.partition('note: ')[2] or result.last_words}",
        ],
        sheets=[Sheet("", ("What", "Found", "Wanted", "Kept"), rows(result))],
        provenance=origin(result.date, result.command, result.machine, result.versions),
    )


def _range(values: set[int]) -> str:
    return f"{min(values)}" if len(values) == 1 else f"{min(values)} to {max(values)}"
