"""How cost grows with work: points, and the lines that are fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from edgecap_bench.figures.results import Subject
from edgecap_bench.harness.board_state import BoardState
from edgecap_bench.harness.timing import Summary, summarise

CurveName = Literal["length", "beams", "streams", "threads"]
UNITS: dict[CurveName, str] = {"length": "second of sound", "beams": "beam", "streams": "stream", "threads": "thread"}
"""What one more is, for each curve."""
FITTED_FROM = {"length": 10.0}
"""A sound shorter than the window is padded to it, so the line begins there."""
MOST_GROWTH_BYTES = 4e6
"""What allocators are allowed for noise over an hour; its samples alone would be 230 MB."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One amount of work."""

    x: float
    seconds: list[float]
    """Of each round."""
    resident_bytes: int
    """Resident memory of the process after the first run of it, less work having come before; for threads, each a
    separate process, at its highest."""

    @property
    def summary(self) -> Summary:
        """Median and spread of its times."""
        return summarise(self.seconds)


@dataclass(frozen=True)
class Line:
    """A straight line through the medians, by least squares."""

    slope: float
    """Seconds (or bytes) for one more."""
    intercept: float
    exponent: float
    """Of the power law through the same points: 1 where twice the work takes twice the time."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Cost over an amount of work."""

    name: CurveName
    points: list[Point]

    def line(self) -> Line | None:
        """The line through the times; None for fewer than two points."""
        points = [point for point in self.points if point.x >= FITTED_FROM.get(self.name, 0.0)]
        return fit([point.x for point in points], [point.summary.median for point in points])

    def memory_slope(self) -> float | None:
        """Bytes of resident memory for one more; None for fewer than two points."""
        line = fit([point.x for point in self.points], [float(point.resident_bytes) for point in self.points])
        return None if line is None else line.slope


@dataclass(frozen=True, kw_only=True)
class Hour:
    """A long file, captioned once."""

    audio_seconds: float
    seconds: float
    processor_seconds: float
    joules: float | None
    resident_bytes: list[int]
    """After each window."""
    growth_bytes: float
    """Over the last tenth of it, less that over its second tenth."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Cost over length, beams, streams and threads, and a long file."""

    FORMAT: ClassVar[str] = "edgecap-bench-growth"
    VERSION: ClassVar[int] = 1

    subject: Subject
    threads: int
    rounds: int
    tokens: int
    clips: list[str]
    curves: list[Curve]
    hour: Hour | None
    before: BoardState
    after: BoardState | None
    energy: str
    left_out: list[str] = field(default_factory=list)


def fit(x: list[float], y: list[float]) -> Line | None:
    """Least squares through points; None for fewer than two."""
    if len(x) < 2:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    exponent = np.polyfit(np.log(x), np.log(y), 1)[0]
    return Line(float(slope), float(intercept), float(exponent))
