"""RESULTS.md and its plots, made from the result files in the repository, and what else is taken from them.

The newest comparison with a teacher is kept as the record that boards without PyTorch compare with
(`edgecap_bench.comparison.baseline`); that comparison and boards' files make the README's tables, between their marks.

    python -m edgecap_bench.report      benchmarks/results/*.json to benchmarks/RESULTS.md and benchmarks/plots
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap.util.files import write_atomically
from edgecap_bench.boards.report import readme_table as boards_table
from edgecap_bench.boards.submission import Submission
from edgecap_bench.comparison.baseline import BASELINE, record
from edgecap_bench.comparison.readme import readme_table as speed_table
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.reports.measurement import read_measurement
from edgecap_bench.reports.registry import ResultSection, read_sections, results_of

BENCHMARKS = Path(__file__).parents[1]
HEAD = """# Measured

Written by `python -m edgecap_bench.report` from the files in `results/`, which hold every single value.
Stages and candidates take turns; an interval is that of the median, from order statistics. A run during which other
programs took more than a tenth of a core is left out, and so is one that was cut short. Runs with faults, which count
rounds and events, are shown with what other programs took, and those that were cut short are marked as partial.
"""


def page(sections: list[ResultSection]) -> str:
    """The text of RESULTS.md."""
    return "\n".join([HEAD, *(section.text for section in sections)])


def main(benchmarks: Path = BENCHMARKS) -> int:
    """Write RESULTS.md and its plots; the exit code."""
    results, plots = benchmarks / "results", benchmarks / "plots"
    try:
        sections = read_sections(results, lambda line: say("warning", line))
        drawings = {name: draw for section in sections for name, draw in section.plots.items()}
        if drawings:
            plots.mkdir(exist_ok=True)
        for name, draw in drawings.items():
            draw(plots / name)
        for stale in set(plots.glob("*.png")) - {plots / name for name in drawings}:
            stale.unlink()
        write_atomically(benchmarks / "RESULTS.md", page(sections))
        _keep_record(results, benchmarks / BASELINE.relative_to(BENCHMARKS))
        _fill_readme(results, benchmarks.parent / "README.md")
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    return 0


def _keep_record(results: Path, baseline: Path) -> None:
    """Take the newest comparison with a teacher into the package."""
    if baseline.parent.is_dir():
        record((read_measurement(path, Comparison) for path in results_of(results, Comparison.FORMAT)), baseline)


def _fill_readme(results: Path, readme: Path) -> None:
    """Write the README's tables between their marks; without marks or result files it stays as it is."""
    if readme.is_file():
        before = readme.read_text(encoding="utf-8")
        after = filled(before, readme_tables(results))
        if after != before:
            write_atomically(readme, after)


def readme_tables(results: Path) -> dict[str, str]:
    """Name of a mark in the README to the table that belongs there."""
    boards = [read_measurement(path, Submission) for path in results_of(results, Submission.FORMAT)]
    runs = [read_measurement(path, Comparison) for path in results_of(results, Comparison.FORMAT)]
    races = [run for run in runs if {"teacher", "teacher-onnx"} <= {each.key for each in run.body.measured()}]
    tables = {"boards": boards_table(boards)} if boards else {}
    newest = max(races, key=lambda run: run.header.date, default=None)
    return tables | ({"speed": speed_table(newest.body)} if newest else {})


def filled(readme: str, tables: Mapping[str, str]) -> str:
    """A README with each table between its two marks; unchanged where it has none."""
    for name, table in tables.items():
        head, begin, rest = readme.partition(f"<!-- {name}: written by python -m edgecap_bench.report -->")
        _, end, tail = rest.partition(f"<!-- end of {name} -->")
        readme = f"{head}{begin}\n{table}\n{end}{tail}" if begin and end else readme
    return readme


if __name__ == "__main__":
    sys.exit(main())
