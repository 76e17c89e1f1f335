"""What listening costs, as a file and as a section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgecap.errors import ResultError
from edgecap.util.files import write_atomically
from edgecap_bench.harness.machine import Machine
from edgecap_bench.reports.registry import Part
from edgecap_bench.reports.results import read_document
from edgecap_bench.reports.tables import Page, Sheet, digits, markdown, origin

FORMAT: Literal["edgecap-bench-listen"] = "edgecap-bench-listen"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ListenFigure:
    """One figure."""

    name: str
    value: float
    unit: str
    wanted: float
    """At most this."""
    how: str
    """What it was measured on."""

    @property
    def kept(self) -> bool:
        """Whether the wish is kept."""
        return self.value <= self.wanted


@dataclass(frozen=True, kw_only=True)
class ListenResult:
    """One run."""

    format: Literal["edgecap-bench-listen"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    model: str
    precision: str
    measured: list[ListenFigure]
    others_before: float | None
    """Cores that other programs took before the run; None where the system does not say."""
    noisy: bool


def rows(result: ListenResult) -> list[tuple[str, ...]]:
    """The figures as a table without its header."""
    return [
        (
            one.name,
            f"{digits(one.value)} {one.unit}".strip(),
            f"at most {one.wanted:g} {one.unit}".strip(),
            "yes" if one.kept else "NO",
            one.how,
        )
        for one in result.measured
    ]


def write_listen(path: Path, result: ListenResult) -> None:
    """Write a result, whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def section(paths: Sequence[Path]) -> Part:
    """The section of all runs. Raises ResultError for one of a busy machine."""
    results = [read_document(path, FORMAT, FORMAT_VERSION, ListenResult) for path in paths]
    for result in results:
        if result.noisy:
            raise ResultError(f"the result of {result.date} was measured on a busy machine and is none; measure again")
    return Part("\n".join(markdown(_page(result), level=2) for result in results))


def _page(result: ListenResult) -> Page:
    return Page(
        title=f"Listening: {result.model} ({result.precision}), hop 2 s, one core",
        notes=[
            "A PulseAudio of its own plays; PortAudio hears it through ALSA's plugin; the listener is a process of "
            "its own on one core."
        ],
        sheets=[Sheet("", ("Figure", "Found", "Wanted", "Kept", "How"), rows(result))],
        provenance=origin(result.date, result.command, result.machine, result.versions),
    )
