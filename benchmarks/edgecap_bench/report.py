"""Result files to tables for people: on a terminal, and RESULTS.md.

    python -m edgecap_bench.report        write benchmarks/RESULTS.md from benchmarks/results/*.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap_bench.figures import EXPLANATIONS
from edgecap_bench.machine import Machine
from edgecap_bench.results import Figure, Result, ResultError, Unit, read_result, write_whole

BENCHMARKS = Path(__file__).parents[1]
HEADER = ("Figure", "Median", "95 % interval", "p95", "Wanted", "Kept")


def rows(result: Result) -> list[tuple[str, ...]]:
    """The lines of a result's table, as text, under `HEADER`."""
    return [_row(figure) for figure in result.figures]


def heading(result: Result) -> str:
    """What was measured, in a line."""
    subject, settings = result.subject, result.settings
    threads = "one thread" if settings.threads == 1 else f"{settings.threads} threads"
    return f"{subject.name} ({subject.runtime} {subject.precision}, {amount(subject.size_bytes, 'B')}), {threads}"


def amount(value: float, unit: Unit) -> str:
    """A value with three digits and the prefix that suits it."""
    *larger, smallest = _SCALES[unit]
    factor, name = next((scale for scale in larger if abs(value) >= scale[0]), smallest)
    return f"{value / factor:.3g} {name}" if abs(value) < 1000 * factor else f"{value / factor:.0f} {name}"


def place(machine: Machine) -> str:
    """A machine and its system, in a line."""
    return ", ".join(part for part in (
        machine.board, machine.processor, f"{machine.cores} cores", f"{machine.memory_bytes / 2**30:.0f} GiB",
        machine.system, machine.kernel, f"governor {machine.governor}" if machine.governor else "",
    ) if part)  # fmt: skip


def results_page(results: Sequence[Result]) -> str:
    """The text of RESULTS.md. Raises ResultError for a noisy result."""
    lines = [
        "# Measured",
        "",
        "Written by `python -m edgecap_bench.report` from the files in `results/`, which hold every single value.",
        "Stages take turns; the interval is that of the median, from order statistics. A run during which other",
        "programs took more than a tenth of a core is not taken in.",
    ]
    for result in sorted(results, key=lambda result: (result.subject.name, result.settings.threads, result.date)):
        if result.noisy:
            raise ResultError(f"the result of {result.date} was measured on a busy machine and is none; measure again")
        lines += ["", *_section(result)]
    return "\n".join(lines) + "\n"


def _section(result: Result) -> list[str]:
    settings = result.settings
    clips = f"{len(settings.clips)} clips, {min(settings.steps)} to {max(settings.steps)} decoder steps each"
    used = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    table: list[tuple[str, ...]] = [(*HEADER, "What it is"), ("---",) * 7]
    table += [(*row, EXPLANATIONS[figure.name]) for row, figure in zip(rows(result), result.figures, strict=True)]
    return [
        f"## {heading(result)}",
        "",
        *(f"| {' | '.join(line)} |" for line in table),
        "",
        f"- {result.date}, `{result.command}`",
        f"- {place(result.machine)}",
        f"- {used}",
        f"- {settings.rounds} rounds, {settings.starts} starts, beam {settings.beam}, {clips}",
    ]


def _row(figure: Figure) -> tuple[str, ...]:
    summary = figure.summary
    several = summary.count > 1
    low, high = amount(summary.low, figure.unit), amount(summary.high, figure.unit)
    number, _, unit = low.partition(" ")
    interval = f"{number if high.endswith(f' {unit}') else low} to {high}" if several else "one run"
    wanted = "" if figure.target is None else f"at most {amount(figure.target, figure.unit)}"
    verdict = {True: "yes", False: "NO", None: ""}[figure.reached]
    p95 = amount(summary.p95, figure.unit) if several else ""
    return figure.name, amount(summary.median, figure.unit), interval, p95, wanted, verdict


_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}


def page(folder: Path) -> str:
    """The text of RESULTS.md for all result files of `folder`. Raises ResultError, also where there is none."""
    from edgecap_bench.contest_report import contests_section
    from edgecap_bench.contest_results import is_contest, read_contest

    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ResultError(f"{folder} holds no results; make one with edgecap bench --json")
    results = [read_result(path) for path in paths if not is_contest(path)]
    return results_page(results) + contests_section([read_contest(path) for path in paths if is_contest(path)])


def main() -> int:
    """Write RESULTS.md; the exit code."""
    try:
        write_whole(BENCHMARKS / "RESULTS.md", page(BENCHMARKS / "results").encode())
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
