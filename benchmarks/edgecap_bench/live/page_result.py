"""What was found of the live page, as a file, as wishes kept or not, and as a section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgecap.util.files import write_atomically
from edgecap_bench.harness.machine import Machine
from edgecap_bench.live.soak_result import Criterion
from edgecap_bench.reports.registry import Part
from edgecap_bench.reports.results import read_document
from edgecap_bench.reports.tables import Page, Sheet, markdown, origin

FORMAT: Literal["edgecap-bench-page"] = "edgecap-bench-page"
FORMAT_VERSION = 1
MOST_BYTES = 60_000
FEWEST_PICTURES = 28.0
"""Pictures a second: all that 30 a second leave where one is late now and then."""
LONGEST_PICTURE = 0.05
"""Seconds between two pictures that 95 of 100 keep within: one that is late by half, none that is missed."""
LONGEST_TASK = 0.05
"""Seconds after which a visitor feels that the page does not answer (the RAIL model)."""


@dataclass(frozen=True, kw_only=True)
class PageResult:
    """One run."""

    format: Literal["edgecap-bench-page"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    page_bytes: int
    """All files of the page."""
    seconds: float
    """Time for which it was counted."""
    told: int
    """Updates that the server told, from the first to the last that was counted."""
    taken: int
    """Updates that the page took."""
    dropped: int
    """Updates that the server dropped because the page was slow."""
    update_seconds: float
    """Time that the page takes for one update, mean."""
    pictures: int
    picture_seconds: list[float]
    """Time between two pictures: median, and what 95 and 99 of 100 keep within."""
    longest_task_seconds: float
    """The longest task of the page; 0 where none took longer than the 50 ms that browsers report."""
    server_share: float
    """Processor time of feeding and serving, share of one core."""


def findings(result: PageResult) -> list[Criterion]:
    """What is wished for, and whether it is so."""
    rate, share = result.pictures / result.seconds, result.taken / max(1, result.told)
    middle, most = (result.picture_seconds or [float("inf")] * 3)[:2]
    return [
        Criterion(
            "weight of the page",
            f"{result.page_bytes / 1000:.1f} kB",
            f"at most {MOST_BYTES / 1000:g} kB",
            result.page_bytes <= MOST_BYTES,
        ),
        Criterion(
            "updates",
            f"{result.told / result.seconds:.1f} a second, {100 * share:.1f} % taken, {result.dropped} dropped",
            "all taken",
            result.dropped == 0 and result.taken == result.told,
        ),
        Criterion("time for an update", f"{1000 * result.update_seconds:.2f} ms", "", True),
        Criterion("pictures", f"{rate:.1f} a second", f"at least {FEWEST_PICTURES:g}", rate >= FEWEST_PICTURES),
        Criterion(
            "between two pictures",
            f"{1000 * middle:.0f} ms, 95 of 100 within {1000 * most:.0f} ms",
            f"95 of 100 within {1000 * LONGEST_PICTURE:g} ms",
            most <= LONGEST_PICTURE,
        ),
        Criterion(
            "longest task",
            f"{1000 * result.longest_task_seconds:.0f} ms" if result.longest_task_seconds else "below 50 ms",
            f"at most {1000 * LONGEST_TASK:g} ms",
            result.longest_task_seconds <= LONGEST_TASK,
        ),
        Criterion("server", f"{100 * result.server_share:.1f} % of one core", "", True),
    ]


def rows(result: PageResult) -> list[tuple[str, ...]]:
    """The findings as a table without its header."""
    return [(one.name, one.found, one.wanted, one.verdict) for one in findings(result)]


def write_page(path: Path, result: PageResult) -> None:
    """Write a result, whole or not at all. Raises OutputError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def section(paths: Sequence[Path]) -> Part:
    """The section of all results. Raises ResultError for a file of another version."""
    results = [read_document(path, FORMAT, FORMAT_VERSION, PageResult) for path in paths]
    return Part("\n".join(markdown(_page(result), level=2) for result in results))


def _page(result: PageResult) -> Page:
    return Page(
        title="The live page at 30 updates a second",
        notes=[
            "A headless Chromium on the same machine, which draws with the processor alone, shows what a real "
            f"server tells it; counted for {result.seconds:.0f} s."
        ],
        sheets=[Sheet("", ("What", "Found", "Wanted", "Kept"), rows(result))],
        provenance=origin(result.date, result.command, result.machine, result.versions),
    )
