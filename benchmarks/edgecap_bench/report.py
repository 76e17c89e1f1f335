"""RESULTS.md and its plots, made from the result files in the repository, and what else is taken from them.

The newest comparison with a teacher is kept as the record that boards without PyTorch compare with
(`edgecap_bench.comparison.baseline`), and boards' files make the README's table, where it has the marks for one.

    python -m edgecap_bench.report      benchmarks/results/*.json to benchmarks/RESULTS.md and benchmarks/plots
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap.util.files import write_atomically
from edgecap_bench.boards.report import readme_table, with_boards
from edgecap_bench.boards.submission import Submission
from edgecap_bench.comparison.baseline import BASELINE, record
from edgecap_bench.comparison.results import Comparison
from edgecap_bench.reports.measurement import read_measurement
from edgecap_bench.reports.registry import ResultSection, read_sections, results_of

BENCHMARKS = Path(__file__).parents[1]
HEAD = """# Measured

Written by `python -m edgecap_bench.report` from the files in `results/`, which hold every single value.
Stages and candidates take turns; an interval is that of the median, from order statistics. A run during which other
programs took more than a tenth of a core is left out, and so is one that was cut short.
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
    """Write the boards' table between the README's marks; without marks or boards' files it stays as it is."""
    boards = [read_measurement(path, Submission) for path in results_of(results, Submission.FORMAT)]
    if boards and readme.is_file():
        before = readme.read_text(encoding="utf-8")
        after = with_boards(before, readme_table(boards))
        if after != before:
            write_atomically(readme, after)


if __name__ == "__main__":
    sys.exit(main())
