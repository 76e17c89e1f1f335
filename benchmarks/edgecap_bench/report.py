"""RESULTS.md and its plots, made from the result files in the repository; what else is taken from them with it.

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
from edgecap_bench.reports.registry import Part, kind, parts

BENCHMARKS = Path(__file__).parents[1]
TOP = """# Measured

Written by `python -m edgecap_bench.report` from the files in `results/`, which hold every single value.
Stages and contestants take turns; an interval is that of the median, from order statistics. A run during which other
programs took more than a tenth of a core is not taken in, nor is one that was cut short.
"""


def page(found: list[Part]) -> str:
    """The text of RESULTS.md."""
    return "\n".join([TOP, *(part.text for part in found)])


def main() -> int:
    """Write RESULTS.md and its plots; the exit code."""
    try:
        found = parts(BENCHMARKS / "results")
        plots = BENCHMARKS / "plots"
        drawings = {name: draw for part in found for name, draw in part.plots.items()}
        if drawings:
            plots.mkdir(exist_ok=True)
        for name, draw in drawings.items():
            draw(plots / name)
        for stale in set(plots.glob("*.png")) - {plots / name for name in drawings}:
            stale.unlink()
        write_atomically(BENCHMARKS / "RESULTS.md", page(found).encode())
        _keep_record(BENCHMARKS / "results", BENCHMARKS / "edgecap_bench")
        _fill_readme(BENCHMARKS / "results", BENCHMARKS.parent / "README.md")
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    return 0


def _keep_record(results: Path, package: Path) -> None:
    """Take the newest comparison with a teacher into the package."""
    from edgecap_bench.comparison.baseline import RECORDED, record
    from edgecap_bench.comparison.results import FORMAT, read_comparison

    if package.is_dir():
        record(
            [read_comparison(path) for path in sorted(results.glob("*.json")) if kind(path) == FORMAT],
            package / RECORDED.name,
        )


def _fill_readme(results: Path, readme: Path) -> None:
    """Write the boards' table between the README's marks; without marks or boards' files it stays as it is."""
    from edgecap_bench.boards.report import readme_table, with_boards
    from edgecap_bench.boards.submission import FORMAT

    boards = [path for path in sorted(results.glob("*.json")) if kind(path) == FORMAT]
    if boards and readme.is_file():
        before = readme.read_text(encoding="utf-8")
        after = with_boards(before, readme_table(boards))
        if after != before:
            write_atomically(readme, after.encode())


if __name__ == "__main__":
    sys.exit(main())
