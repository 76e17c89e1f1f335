"""How light and how smooth the live page is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import CRITERIA_HEADER, Criterion, Page, Sheet, measured_page

MOST_BYTES = 80_000
FEWEST_PICTURES = 28.0
"""Pictures a second: all that 30 a second leave where one is late now and then."""
LONGEST_PICTURE = 0.05
"""Seconds between two pictures that 95 of 100 keep within: one that is late by half, none that is missed."""
LONGEST_TASK = 0.05
"""Seconds after which a visitor feels that the page does not answer (the RAIL model)."""


@dataclass(frozen=True, kw_only=True)
class PageUpdates:
    """What a page did at 30 updates a second."""

    FORMAT: ClassVar[str] = "edgecap-bench-page"
    VERSION: ClassVar[int] = 2

    page_bytes: int
    """All files of the page."""
    seconds: float
    """Time for which it was counted."""
    sent: int
    """Updates that the server sent, from the first to the last that was counted."""
    received: int
    """Updates that the page received."""
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


def criteria(result: PageUpdates) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    rate, share = result.pictures / result.seconds, result.received / max(1, result.sent)
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
            f"{result.sent / result.seconds:.1f} a second, {100 * share:.1f} % received, {result.dropped} dropped",
            "all received",
            result.dropped == 0 and result.received == result.sent,
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


def updates_page(measurement: Measurement[PageUpdates]) -> Page:
    """The figures for people."""
    result = measurement.body
    return measured_page(
        measurement.header,
        "The live page at 30 updates a second",
        [Sheet("", CRITERIA_HEADER, [criterion.row for criterion in criteria(result)])],
        notes=[
            "A headless Chromium on the same machine, which draws with the processor alone, shows what a real server "
            f"sends; counted for {result.seconds:.0f} s."
        ],
    )
