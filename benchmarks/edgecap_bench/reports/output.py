"""Where a result goes: to the terminal, to a file for programs, to a report for people, to a plot."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgecap.errors import MissingDependencyError, OutputError
from edgecap.util.files import check_writable, write_atomically
from edgecap_bench.reports.registry import Draw
from edgecap_bench.reports.tables import Page, html, markdown

REPORTS = (".md", ".html")
WIDTH = 170
"""Columns of the tables where they do not go to a terminal."""


def check(results: Sequence[Path | None], report: Path | None, plot: Path | None) -> None:
    """Say before minutes of work what could not be written. Raises OutputError, MissingDependencyError."""
    for file in filter(None, (*results, report, plot)):
        check_writable(file)
    if report is not None and report.suffix.lower() not in REPORTS:
        raise OutputError(f"{report} is neither .md nor .html; name a report that is")
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise OutputError(f"{plot} is no .png; name a plot that is")
        if find_spec("matplotlib") is None:
            raise MissingDependencyError.for_extra("--plot", "plot")


def show(page: Page) -> None:
    """Print a result as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH)
    console.print(page.title, style="bold", highlight=False, markup=False)
    for sheet in page.sheets:
        table = Table(*sheet.header, title=sheet.title or None, title_justify="left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    for note in page.notes:
        console.print(f"- {note}", highlight=False, markup=False)


def keep(page: Page, report: Path | None, plot: Path | None, draw: Draw) -> None:
    """Write the report and the plot that were asked for; an HTML report holds the plot, where matplotlib is.

    Raises OutputError.
    """
    picture = None
    held = report is not None and report.suffix.lower() == ".html" and find_spec("matplotlib") is not None
    if plot is not None or held:
        with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
            file = Path(folder) / "plot.png"
            draw(file)
            picture = file.read_bytes()
    if plot is not None and picture is not None:
        write_atomically(plot, picture)
    if report is not None:
        text = markdown(page) if report.suffix.lower() == ".md" else html(page, picture)
        write_atomically(report, text.encode())
