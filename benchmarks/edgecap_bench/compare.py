"""`edgecap bench --compare`: from what was asked to a comparison, shown and written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from edgecap.errors import MissingDependencyError, OutputError
from edgecap_bench import load
from edgecap_bench.contest import ContestPlan, Progress, contest
from edgecap_bench.contest_report import html, markdown, notes, sheets, title
from edgecap_bench.contest_results import FORMAT, FORMAT_VERSION, Contest, write_contest
from edgecap_bench.machine import this_machine, versions
from edgecap_bench.results import write_whole

TEACHER, REFERENCE = "teacher", "reference"
REPORTS = {".md": markdown, ".html": html}
NEEDED = ("torch", "transformers", "onnx", "onnxscript", "safetensors")
WIDTH = 150
"""Columns of the tables where they do not go to a terminal."""


def check(compare: Sequence[str], report: Path | None) -> None:
    """Say what cannot work before anything runs. Raises MissingDependencyError, OutputError."""
    if report is not None and report.suffix.lower() not in REPORTS:
        raise OutputError(f"{report} is neither .md nor .html; name a report that is")
    missing = [name for name in NEEDED if find_spec(name) is None]
    published = [name for name in compare if name in (TEACHER, REFERENCE)]
    if published and missing:
        raise MissingDependencyError(f"--compare {published[0]} needs {', '.join(missing)}, which are not installed; "
                                     'type: pip install "edgecap[bench]", or compare bundles alone')


def run(
    compare: Sequence[str], model: str | None, *, clips: Path | None, rounds: int, tokens: int, beam: int,
    threads: int, even_busy: bool, command: str, progress: Progress,
) -> Contest:  # fmt: skip
    """Run a comparison. Raises EdgecapError, BusyMachineError before it where the machine is busy."""
    plan = ContestPlan(
        models=(model, *(name for name in compare if name not in (TEACHER, REFERENCE))), teacher=TEACHER in compare,
        reference=REFERENCE in compare, clips=clips, rounds=rounds, tokens=tokens, beam=beam, threads=threads,
        cores=load.cores(threads),
    )  # fmt: skip
    before = load.look()
    if not even_busy:
        load.refuse_if_busy(before)
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    meter = load.LoadMeter()
    found = contest(plan, progress)
    during = meter.others()
    return Contest(
        format=FORMAT, format_version=FORMAT_VERSION, date=date, command=command, machine=this_machine(),
        versions=versions("torch", "transformers"), threads=threads, beam=beam, tokens=tokens, clips=found.clips,
        clip_seconds=found.clip_seconds, rounds=rounds, entrants=found.entrants, others_before=before,
        others_during=during, noisy=max(before or 0.0, during or 0.0) > load.MOST_OTHERS, partial=found.partial,
    )  # fmt: skip


def keep(contest: Contest, json: Path | None, report: Path | None) -> None:
    """Write what was asked for. Raises OutputError."""
    if json is not None:
        write_contest(json, contest)
    if report is not None:
        write_whole(report, REPORTS[report.suffix.lower()](contest).encode())


def show(contest: Contest) -> None:
    """Print a comparison as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH)
    console.print(title(contest), style="bold", highlight=False)
    for sheet in sheets(contest):
        table = Table(*sheet.header, title=sheet.title, title_justify="left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    for note in notes(contest):
        console.print(f"- {note}", highlight=False)
