"""How good captions are beside what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from edgecap_bench.harness.timing import Summary, summarise


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One model."""

    key: str
    runtime: str
    precision: str
    size_bytes: int
    parameters: int | None
    """None where they cannot be counted."""
    seconds: list[float]
    """Of each clip's caption, with as many tokens as it has."""
    cider_d: float
    low: float
    high: float
    """95 % bootstrap interval over the clips."""
    different: int
    """Captions that differ from each other."""
    same_as_first: float
    """Part of the clips with the very words of the first model."""

    @property
    def time(self) -> Summary:
        """Of a caption."""
        return summarise(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Scores and times of several models on the same recordings."""

    FORMAT: ClassVar[str] = "edgecap-bench-quality"
    VERSION: ClassVar[int] = 1

    data: str
    """Name of the table of recordings."""
    clips: int
    """Recordings that were captioned."""
    skipped: list[str]
    """Recordings that could not be read, and why."""
    threads: int
    beam: int | None
    """None for each model's own."""
    models: list[Scored]
    left_out: list[str] = field(default_factory=list)
