"""What the commands of measurements share: their options, and where a result goes: terminal, file, report, plot."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.errors import EdgecapError, MissingDependencyError, OutputError
from edgecap.util.files import check_writable, write_atomically
from edgecap_bench.reports.registry import Plot
from edgecap_bench.reports.tables import Criterion, Page, html, markdown

JsonFile = Annotated[
    Path | None, typer.Option("--json-file", metavar="FILE", help="Write the result, with every single value, to FILE.")
]
Clips = Annotated[
    Path | None, typer.Option("--clips", metavar="FOLDER", help="Sounds to measure on. [default: four computed ones]")
]
EvenBusy = Annotated[
    bool, typer.Option("--even-busy", help="Measure on a busy machine too; the outcome is marked as not a result.")
]
REPORTS = (".md", ".html")
WIDTH = 170
"""Columns of the tables where they do not go to a terminal."""


def check(results: Sequence[Path | None], report: Path | None, plot: Path | None) -> None:
    """Report before minutes of work what could not be written. Raises OutputError, MissingDependencyError."""
    for file in filter(None, (*results, report, plot)):
        check_writable(file)
    if report is not None and report.suffix.lower() not in REPORTS:
        raise OutputError(f"{report} is neither .md nor .html; use a name that ends so")
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise OutputError(f"{plot} is not a .png; use a name that ends so")
        if find_spec("matplotlib") is None:
            raise MissingDependencyError.for_extra("--plot", "plot")


def show(page: Page) -> None:
    """Print a page as tables."""
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


def keep(page: Page, report: Path | None, plot: Path | None, draw: Plot) -> None:
    """Write the report and the plot; an HTML report holds the plot, where matplotlib is. Raises OutputError."""
    picture = None
    as_html = report is not None and report.suffix.lower() == ".html"
    if plot is not None or (as_html and find_spec("matplotlib") is not None):
        with tempfile.TemporaryDirectory(prefix="edgecap-bench-") as folder:
            file = Path(folder) / "plot.png"
            draw(file)
            picture = file.read_bytes()
    if plot is not None and picture is not None:
        write_atomically(plot, picture)
    if report is not None:
        write_atomically(report, html(page, picture) if as_html else markdown(page))


def finish(criteria: Sequence[Criterion]) -> None:
    """Print what was measured and wanted, a line each, and end the command with 1 where something is missed."""
    for criterion in criteria:
        write("  ".join(filter(None, (*criterion.row, criterion.how))))
    if not all(criterion.kept for criterion in criteria):
        raise typer.Exit(1)


def run_command(command: Callable[..., None]) -> None:
    """Run a function as the command line of its module: errors are one line, with their exit code."""
    try:
        typer.run(command)
    except EdgecapError as error:
        say("error", str(error))
        sys.exit(error.exit_code)
