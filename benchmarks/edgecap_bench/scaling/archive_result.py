"""What `edgecap archive` costs a clip, and what collections of any size cost by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecap_bench.figures.results import Subject
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import Page, Sheet, measured_page

CLIP_SECONDS = 10.0
COLLECTIONS = {"AudioSet, 2,084,320 clips of 10 s": 2_084_320, "1,000 microphones for 365 days": 1_000 * 365 * 8_640}
"""Clips of ten seconds."""


@dataclass(frozen=True, kw_only=True)
class ArchiveTiming:
    """One run of the command, one thread a worker."""

    engine: str
    workers: int
    clips: int
    seconds: float
    """Of the whole command."""
    seconds_a_clip: float
    """Of one worker, from the first shard that was there to the last."""
    peak_bytes: int
    """Of all its processes together; memory that they share counts once (proportional set size)."""
    bytes_a_clip: float
    """Slope of that memory over the clips that are done, from a fifth of them on."""
    output_bytes: int
    """Of the tables of captions."""
    rows: int

    @property
    def fixed_seconds(self) -> float:
        """What starts, loads and ends: all that is not clips."""
        return self.seconds - self.clips * self.seconds_a_clip / self.workers


@dataclass(frozen=True, kw_only=True)
class ArchiveScale:
    """Runs over the same clips, a resumed one, and a long one that the others foretell."""

    FORMAT: ClassVar[str] = "edgecap-bench-archive"
    VERSION: ClassVar[int] = 1

    subject: Subject
    input_bytes_a_clip: float
    runs: list[ArchiveTiming]
    resume_seconds: float
    """Of the same command on the archive with the most clips, in which nothing is missing."""
    long: ArchiveTiming | None

    def run(self, engine: str, workers: int) -> ArchiveTiming | None:
        """The run of that kind."""
        return next((run for run in self.runs if (run.engine, run.workers) == (engine, workers)), None)

    def foretold(self, run: ArchiveTiming) -> float:
        """Seconds of a run by the run of its kind: fixed + clips x seconds a clip / workers."""
        base = self.run(run.engine, run.workers) or self.runs[-1]
        return base.fixed_seconds + run.clips * base.seconds_a_clip / run.workers


def archive_page(measurement: Measurement[ArchiveScale]) -> Page:
    """The measurement as tables, and what it foretells of large collections."""
    body = measurement.body
    sheets = [
        Sheet(
            "edgecap archive, clips of 10 s, one thread a worker",
            ("Engine", "Workers", "Clips", "s", "Fixed, s", "Clips/s", "x real time", "Peak, MB", "B/clip", "B/row"),
            [_row(run) for run in (*body.runs, *([body.long] if body.long else []))],
        ),
        Sheet("Ratios", ("What", "Measured", "Wanted"), _ratios(body)),
        Sheet(
            "By the slope of two workers",
            ("Collection", "Core-hours", "Hours on 64 cores", "Read, TB", "Read by a core, MB/s", "Captions, GB"),
            [_collection(name, clips, body) for name, clips in COLLECTIONS.items()],
        ),
    ]
    return measured_page(measurement.header, f"Archives: {body.subject.name} {body.subject.precision}", sheets)


def _row(run: ArchiveTiming) -> tuple[str, ...]:
    speed = run.workers / run.seconds_a_clip
    return (
        run.engine,
        str(run.workers),
        f"{run.clips:,}",
        f"{run.seconds:.1f}",
        f"{run.fixed_seconds:.1f}",
        f"{speed:.2f}",
        f"{speed * CLIP_SECONDS:.0f}",
        f"{run.peak_bytes / 1e6:.0f}",
        f"{run.bytes_a_clip:.0f}",
        f"{run.output_bytes / max(1, run.rows):.0f}",
    )


def _ratios(body: ArchiveScale) -> list[tuple[str, str, str]]:
    local, one, two = body.run("local", 1), body.run("ray", 1), body.run("ray", 2)
    rows = [("resume of a finished archive", f"{body.resume_seconds:.1f} s", "at most 5 s for 10,000 files")]
    if local and one:
        share = 1 - local.seconds_a_clip / one.seconds_a_clip
        rows.append(("Ray's own share, one worker beside one process", f"{share:.1%}", "at most 8 %"))
    if one and two:
        gain = 2 * one.seconds_a_clip / two.seconds_a_clip
        rows.append(("two workers beside one", f"{gain:.2f} x", "at least 1.85 x"))
    if body.long:
        error = body.foretold(body.long) / body.long.seconds - 1
        foretold = f"{body.foretold(body.long):.0f} s foretold, {body.long.seconds:.0f} s taken: {error:+.1%}"
        rows.append(("error of the arithmetic on the long run", foretold, ""))
    return rows


def _collection(name: str, clips: int, body: ArchiveScale) -> tuple[str, ...]:
    base = body.run("ray", 2) or body.runs[-1]
    hours = clips * base.seconds_a_clip / 3600
    return (
        name,
        f"{hours:,.0f}",
        f"{hours / 64:,.1f}",
        f"{clips * body.input_bytes_a_clip / 1e12:,.2f}",
        f"{body.input_bytes_a_clip / base.seconds_a_clip / 1e6:.2f}",
        f"{clips * base.output_bytes / base.clips / 1e9:,.1f}",
    )
