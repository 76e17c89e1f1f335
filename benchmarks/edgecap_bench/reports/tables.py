"""Numbers, tables and pages for people: what all reports of results are written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgecap.util.html import Block, Bullets, Image, Section, Table, html_page
from edgecap_bench.harness.machine import Machine
from edgecap_bench.reports.measurement import Header

Unit = Literal["s", "B"]
"""Seconds or bytes."""
FAULTS = ("NO", "too wide", "too few rounds")
"""Cells of missed targets."""
_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}


@dataclass(frozen=True)
class Sheet:
    """One table."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Criterion:
    """Something that is wanted, and what was measured."""

    name: str
    measured: str
    wanted: str
    """Empty where nothing is: what was measured is shown, and counts as kept."""
    kept: bool
    how: str = ""
    """What it was measured on."""

    @property
    def row(self) -> tuple[str, str, str, str]:
        """A line of a table under "What", "Measured", "Wanted", "Kept"."""
        return self.name, self.measured, self.wanted, verdict(self.kept if self.wanted else None)


CRITERIA_HEADER = ("What", "Measured", "Wanted", "Kept")


@dataclass(frozen=True)
class Page:
    """A result for people, before it is written in some format."""

    title: str
    notes: list[str]
    """What a reader must know to judge the tables."""
    sheets: list[Sheet]
    provenance: list[str]
    """Date, command, machine and versions, a line each."""
    fault: bool = False
    """Whether it is not a result: of a busy machine, or cut short."""


def verdict(kept: bool | None) -> str:
    """Whether a target is kept, for a cell; empty for None, where there is none."""
    return {True: "yes", False: "NO", None: ""}[kept]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *rows))


def amount(value: float, unit: Unit) -> str:
    """A value with three digits and the prefix that suits it."""
    *larger, smallest = _SCALES[unit]
    factor, name = next((scale for scale in larger if abs(value) >= scale[0]), smallest)
    return f"{digits(value / factor)} {name}"


def spread(low: float, high: float, unit: Unit) -> str:
    """An interval, with one unit where both ends have the same."""
    first, last = amount(low, unit), amount(high, unit)
    number, _, name = first.partition(" ")
    return f"{number if last.endswith(f' {name}') else first} to {last}"


def count(number: int | None) -> str:
    """A large number with three digits; "not counted" for None."""
    if number is None:
        return "not counted"
    factor, name = next(((f, n) for f, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if number >= f), (1.0, ""))
    return f"{digits(number / factor)}{name}"


def digits(value: float) -> str:
    """Three digits, or all that a whole number has; never a power of ten."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def threads(number: int) -> str:
    """A number of threads, in words."""
    return "one thread" if number == 1 else f"{number} threads"


def place(machine: Machine) -> str:
    """A machine and its system, in a line."""
    return ", ".join(
        part
        for part in (
            machine.board,
            machine.processor,
            f"{machine.cores} cores",
            f"{machine.memory_bytes / 2**30:.0f} GiB",
            machine.system,
            machine.kernel,
            f"governor {machine.governor}" if machine.governor else "",
        )
        if part
    )


def measured_page(
    header: Header,
    title: str,
    sheets: Sequence[Sheet],
    *,
    notes: Sequence[str] = (),
    faults: Sequence[str] | None = None,
    provenance: Sequence[str] = (),
) -> Page:
    """A measurement as a page: its faults before the title, and where it comes from at its end, then `provenance`."""
    faults = header.faults if faults is None else faults
    return Page(
        title=": ".join([*faults, title]),
        notes=list(notes),
        sheets=list(sheets),
        provenance=[*origin(header), *provenance],
        fault=bool(faults),
    )


def origin(header: Header) -> list[str]:
    """Where a measurement comes from: date and command, machine, versions."""
    versions = ", ".join(f"{name} {number}" for name, number in header.versions.items())
    return [f"{header.date}, `{header.command}`", place(header.machine), versions]


def markdown(page: Page, level: int = 1) -> str:
    """A page as Markdown; `level` is that of its heading."""
    lines = [f"{'#' * level} {page.title}", "", *(f"- {note}" for note in page.notes)]
    for sheet in page.sheets:
        lines += ["", f"{'#' * (level + 1)} {sheet.title}", ""] if sheet.title else [""]
        lines.append(markdown_table(sheet.header, sheet.rows))
    return "\n".join([*lines, "", *(f"- {line}" for line in page.provenance)]) + "\n"


def html(page: Page, plot: bytes | None = None) -> str:
    """A page as one HTML file; `plot` is a PNG to show in it."""
    blocks: list[Block] = [Bullets(page.notes)]
    blocks += [Image(plot, page.title)] if plot is not None else []
    blocks += [Section(sheet.title, [Table(sheet.header, sheet.rows, failures=FAULTS)]) for sheet in page.sheets]
    return html_page(page.title, blocks, provenance=page.provenance, failed=page.fault)
