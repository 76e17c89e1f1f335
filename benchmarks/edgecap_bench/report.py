"""RESULTS.md and its plots, made from the result files in the repository.

    python -m edgecap_bench.report      benchmarks/results/*.json to benchmarks/RESULTS.md and benchmarks/plots
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap_bench.results import write_whole
from edgecap_bench.sections import Part, parts

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
        write_whole(BENCHMARKS / "RESULTS.md", page(found).encode())
    except EdgecapError as error:
        say("error", str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
