"""A summary as HTML: one file for itself, or a page of the live server, whose rules allow no style inside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgecap._version import __version__
from edgecap.archive_search.source import many, moment
from edgecap.archive_search.summary import HeardSummary, Occurrences, drawn_days, shade
from edgecap.util.html import Block, Bullets, Markup, Section, Table, html_page, shared_style
from edgecap.util.text import clean

_STYLE = """
.heat table { font-size: .8rem; font-variant-numeric: tabular-nums; }
.heat th, .heat td { padding: .2rem; text-align: center; min-width: 1.9rem; border: 1px solid #fff; }
.heat tr > th:first-child { text-align: left; white-space: nowrap; padding-right: .6rem; }
.heat1 { background: #dae6ed; } .heat2 { background: #a9c5d6; } .heat3 { background: #79a4bf; }
.heat4 { background: #0b5a8a; color: #fff; }
nav a { margin-right: 1.2rem; }
"""


def summary_page(
    summary: HeardSummary, title: str, *, stylesheet: str | None = None, links: Mapping[str, str] | None = None
) -> str:
    """The page; `stylesheet` is an address that serves `summary_style`, in place of a style inside the page.

    `links` are texts and addresses of other pages.
    """
    figures = [f"{many(summary.heard, summary.unit)} heard, with {many(summary.captions, 'different caption')}"]
    figures += [f"{many(summary.silent, f'silent {summary.unit}')}"] * bool(summary.silent)
    undated = f"{many(summary.undated, summary.unit)} without a time, which the table of hours leaves out"
    figures += [undated] * bool(summary.undated)
    blocks: list[Block] = [Bullets(figures), Section("By day and hour", [_heat(summary)])]
    if links:
        shown = " ".join(f'<a href="{escape(address)}">{escape(text)}</a>' for text, address in links.items())
        blocks.insert(0, Markup(f"<nav>{shown}</nav>"))
    for name, tallies in (
        ("By microphone" if summary.unit == "event" else "By folder", summary.places),
        ("Named sounds", summary.tags),
        ("Heard most often", summary.commonest),
        ("Heard least often", summary.rarest),
    ):
        if tallies:
            blocks.append(Section(name, [_table(tallies)]))
    provenance = [f"{clean(summary.address)}; times are local; edgecap {__version__}"]
    return html_page(title, blocks, provenance=provenance, style=_STYLE, stylesheet=stylesheet)


def summary_style() -> str:
    """The style sheet of the page."""
    return shared_style(_STYLE)


def _heat(summary: HeardSummary) -> Markup:
    days, remark = drawn_days(summary)
    most = max((count for counts in days.values() for count in counts), default=0)
    head = "".join(f'<th scope="col">{hour}</th>' for hour in range(24))
    rows = "".join(
        f'<tr><th scope="row">{day}</th>'
        + "".join(f'<td class="heat{shade(count, most)}">{count or ""}</td>' for count in counts)
        + "</tr>"
        for day, counts in days.items()
    )
    if not rows:
        return Markup("<p>Nothing with a time was heard.</p>")
    said = f"{summary.unit.capitalize()}s in each hour; the darker, the more{f'; {remark}' if remark else ''}"
    caption = f"<caption>{escape(said)}</caption>"
    table = f'<table>{caption}<thead><tr><th scope="col">Day</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return Markup(f'<div class="wide heat" role="region" aria-label="By day and hour" tabindex="0">{table}</div>')


def _table(tallies: Sequence[Occurrences]) -> Table:
    def when(time: float | None) -> str:
        return "" if time is None else moment(time)[:16].replace("T", " ")

    rows = [[clean(one.name), when(one.first), when(one.last), str(one.count)] for one in tallies]
    return Table(["", "First", "Last", "Count"], rows, numbers_from=3)
