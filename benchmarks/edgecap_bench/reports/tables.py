"""Numbers, tables and pages for people: what all reports of results are written with."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from edgecap_bench.harness.machine import Machine
from edgecap_bench.reports.results import Unit

STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:75em;padding:0 1em}table{border-collapse:collapse;"
    "margin:1em 0}td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left}th{background:#eee}"
    ".no{color:#a00;font-weight:bold}img{max-width:100%}"
)
FAULTS = ("NO", "too wide", "too few rounds")
"""Cells that say that something was missed."""
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
class Page:
    """A result for people, whatever it is written as."""

    title: str
    notes: list[str]
    """What a reader must know to judge the tables."""
    sheets: list[Sheet]
    provenance: list[str]
    """Date, command, machine and versions, a line each."""
    fault: bool = False
    """Whether it is no result: of a busy machine, or cut short."""


def amount(value: float, unit: Unit) -> str:
    """A value with three digits and the prefix that suits it."""
    *larger, smallest = _SCALES[unit]
    factor, name = next((scale for scale in larger if abs(value) >= scale[0]), smallest)
    return f"{digits(value / factor)} {name}"


def spread(low: float, high: float, unit: Unit) -> str:
    """An interval, its unit said once where both ends have the same."""
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


def cores(threads: int) -> str:
    """A number of threads, in words."""
    return "one thread" if threads == 1 else f"{threads} threads"


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


def origin(date: str, command: str, machine: Machine, versions: dict[str, str]) -> list[str]:
    """Where a result comes from, as every page ends."""
    used = ", ".join(f"{name} {number}" for name, number in versions.items())
    return [f"{date}, `{command}`", place(machine), used]


def markdown(page: Page, level: int = 1) -> str:
    """A page as Markdown; `level` is that of its heading."""
    lines = [f"{'#' * level} {page.title}", "", *(f"- {note}" for note in page.notes)]
    for sheet in page.sheets:
        table = [sheet.header, ("---",) * len(sheet.header), *sheet.rows]
        lines += ["", f"{'#' * (level + 1)} {sheet.title}", ""] if sheet.title else [""]
        lines += [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([*lines, "", *(f"- {line}" for line in page.provenance)]) + "\n"


def html(page: Page, plot: bytes | None = None) -> str:
    """A page as one HTML file without scripts, with nothing loaded from elsewhere; `plot` is a PNG to show in it."""
    mark = " class=no" if page.fault else ""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>edgecap bench</title><style>{STYLE}</style>",
        f"<h1{mark}>{escape(page.title)}</h1><ul>",
        *(f"<li>{escape(note)}" for note in page.notes),
        "</ul>",
    ]
    if plot is not None:
        parts.append(f'<img alt="{escape(page.title)}" src="data:image/png;base64,{b64encode(plot).decode()}">')
    for sheet in page.sheets:
        parts += [f"<h2>{escape(sheet.title)}</h2>"] if sheet.title else []
        parts += ["<table>", _html_row("th", sheet.header), *(_html_row("td", row) for row in sheet.rows), "</table>"]
    parts += ["<ul>", *(f"<li>{escape(line)}" for line in page.provenance), "</ul></html>"]
    return "\n".join(parts) + "\n"


def _html_row(cell: str, row: Sequence[str]) -> str:
    cells = (f"<{cell}{' class=no' if text in FAULTS else ''}>{escape(text)}</{cell}>" for text in row)
    return f"<tr>{''.join(cells)}</tr>"
