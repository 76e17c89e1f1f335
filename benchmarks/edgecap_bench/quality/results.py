"""How good captions are beside what they cost, as one JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edgecap.util.files import write_atomically
from edgecap_bench.harness.machine import Machine
from edgecap_bench.harness.timing import Summary, summarise
from edgecap_bench.reports.results import read_document

FORMAT: Literal["edgecap-bench-quality"] = "edgecap-bench-quality"
FORMAT_VERSION = 1


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
    """All of the file."""

    format: Literal["edgecap-bench-quality"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
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
    others_before: float | None
    others_during: float | None
    noisy: bool
    partial: bool
    left_out: list[str] = field(default_factory=list)


def write_quality(path: Path, quality: Quality) -> None:
    """Write it whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(quality), indent=1) + b"\n")


def read_quality(path: Path) -> Quality:
    """Raises ResultError for what cannot be read, or is of another format or version."""
    return read_document(path, FORMAT, FORMAT_VERSION, Quality)
