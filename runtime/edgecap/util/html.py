"""Reports as one HTML file that needs nothing else: no script, no font, no picture from elsewhere; charts are SVG.

Knows nothing about what a report says. A page is XML as well, so that a test can parse it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

_CHART_WIDTH, _LABEL_WIDTH, _VALUE_WIDTH, _BAR_PITCH = 760, 210, 110, 18
"""Pixels: of a chart, of its labels, of the values behind the bars, from one bar to the next."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2024; background: #fff; max-width: 75em; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; border-top: 1px solid #ccd; padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
table { border-collapse: collapse; margin: .4rem 0; } th, td { padding: .2rem .9rem .2rem 0; text-align: left; }
th { border-bottom: 1px solid #99a; } td { border-bottom: 1px solid #e4e6ec; }
.number { text-align: right; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
.failed { color: #b3261e; font-weight: 600; } p.failed { background: #fde8e4; padding: .5rem .8rem; }
svg text { font: 12px system-ui, sans-serif; fill: #1c2024; } code { overflow-wrap: anywhere; } img { max-width: 100%; }
"""


@dataclass(frozen=True)
class Bullets:
    """A list of short texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Failure:
    """A paragraph that says what went wrong, in red."""

    text: str


@dataclass(frozen=True)
class Code:
    """A paragraph of a text and something to be read letter by letter, as a recipe or a command."""

    text: str
    code: str


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int | None = None
    """First of the columns that hold numbers, which are aligned to the right up to the last; None for none."""
    failures: Collection[str] = ()
    """Texts of cells that are shown in red."""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    label: str
    value: float
    """Not negative; the longest bar of a chart has the largest."""
    text: str
    """The value as it is written behind the bar."""
    colour: str = "#2f6fde"


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, one below the other, on one scale."""

    bars: Sequence[Bar]


@dataclass(frozen=True)
class Image:
    """A picture inside the page."""

    png: bytes
    description: str
    """For readers who cannot see it."""


@dataclass(frozen=True)
class Markup:
    """HTML that goes into the page as it is; whoever makes it escapes what is not his own."""

    html: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, further sections among it; without a title no heading."""

    title: str
    blocks: Sequence[Block]


Block = str | Bullets | Failure | Code | Table | BarChart | Image | Markup | Section
"""Part of a page; a plain string is a paragraph."""


def html_page(
    title: str,
    blocks: Sequence[Block],
    *,
    provenance: Sequence[str] = (),
    failed: bool = False,
    style: str = "",
    stylesheet: str | None = None,
) -> str:
    """A whole page: `title` as its heading (in red if `failed`), `blocks`, and where it all comes from.

    `style` is CSS for what is special to this page, after the rules that all pages share; `stylesheet` an address that
    serves both (`shared_style`), for a server whose rules allow no style inside a page.
    """
    heading = f'<h1 class="failed">{escape(title)}</h1>' if failed else f"<h1>{escape(title)}</h1>"
    parts = [heading, *(_render(block, 2) for block in blocks)]
    if provenance:
        parts.append(_render(Bullets(provenance), 2))
    look = f"<style>{shared_style(style)}</style>"
    if stylesheet is not None:
        look = f'<link rel="stylesheet" href="{escape(stylesheet)}"/>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"/><title>{escape(title)}</title>'
        f"{look}</head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def shared_style(style: str = "") -> str:
    """The rules that all pages share, and those of one page."""
    return _STYLE + style


def _render(block: Block, level: int) -> str:
    """A block as HTML; `level` is that of its heading, should it have one."""
    match block:
        case str():
            html = f"<p>{escape(block)}</p>"
        case Bullets(items):
            html = f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Failure(text):
            html = f'<p class="failed">{escape(text)}</p>'
        case Code(text, code):
            html = f"<p>{escape(text)} <code>{escape(code)}</code></p>"
        case Table():
            html = _table(block)
        case BarChart(bars):
            html = _bar_chart(bars)
        case Image(png, description):
            html = f'<img alt="{escape(description)}" src="data:image/png;base64,{b64encode(png).decode()}"/>'
        case Markup(html):
            pass
        case Section(title, blocks):
            heading = [f"<h{level}>{escape(title)}</h{level}>"] if title else []
            html = "\n".join([*heading, *(_render(inner, level + 1) for inner in blocks)])
    return html


def _table(table: Table) -> str:
    first_number = len(table.header) if table.numbers_from is None else table.numbers_from

    def row(kind: str, cells: Sequence[str]) -> str:
        classes = [
            " ".join(["number"] * (index >= first_number) + ["failed"] * (cell in table.failures))
            for index, cell in enumerate(cells)
        ]
        opening = [f'<{kind} class="{name}">' if name else f"<{kind}>" for name in classes]
        return "".join(f"{tag}{escape(cell)}</{kind}>" for tag, cell in zip(opening, cells, strict=True))

    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in table.rows)
    return f'<div class="wide"><table><tr>{row("th", table.header)}</tr>{body}</table></div>'


def _bar_chart(bars: Sequence[Bar]) -> str:
    largest = max((bar.value for bar in bars), default=0.0) or 1.0
    shapes = []
    for number, bar in enumerate(bars):
        top = number * _BAR_PITCH
        length = max(bar.value / largest, 0.0) * (_CHART_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH)
        shapes.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{top + 13}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{top + 3}" width="{length:.1f}" height="{_BAR_PITCH - 5}" '
            f'fill="{escape(bar.colour)}"/>'
            f'<text x="{_LABEL_WIDTH + length + 6:.1f}" y="{top + 13}">{escape(bar.text)}</text>'
        )
    height = len(bars) * _BAR_PITCH + 4
    return (
        f'<div class="wide"><svg xmlns="http://www.w3.org/2000/svg" width="{_CHART_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_CHART_WIDTH} {height}" role="img">{"".join(shapes)}</svg></div>'
    )
