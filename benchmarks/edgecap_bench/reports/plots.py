"""Pictures by matplotlib, drawn to files without a display. Imported only where something is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecap.errors import MissingDependencyError
from edgecap_bench.harness.timing import Summary

DPI = 110
COLUMNS = 3


def error_bars(summaries: Sequence[Summary], factor: float = 1e3) -> list[list[float]]:
    """How far the 95 % intervals reach below and above the medians, each times `factor` (by default ms of seconds)."""
    below = [factor * (summary.median - summary.low) for summary in summaries]
    return [below, [factor * (summary.high - summary.median) for summary in summaries]]


@contextmanager
def panels(path: Path, count: int, title: str, size: tuple[float, float] = (4.4, 3.4)) -> Iterator[list[Any]]:
    """`count` axes of one picture, which is written to `path` (PNG) at the end of the context.

    `size` is that of a panel in inches. Raises MissingDependencyError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError.for_extra("a plot", "plot") from error
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    yield axes
    for axis in axes:
        axis.grid(True, alpha=0.3)
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
