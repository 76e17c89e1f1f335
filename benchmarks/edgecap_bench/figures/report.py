"""The figures of one model as tables, and as their section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.figures.figures import EXPLANATIONS
from edgecap_bench.reports.registry import Part, refuse_faulty
from edgecap_bench.reports.results import Figure, Result, Unit, read_result
from edgecap_bench.reports.tables import Page, Sheet, amount, cores, markdown, origin, spread

HEADER = ("Figure", "Median", "95 % interval", "p95", "Wanted", "Kept")


def rows(result: Result) -> list[tuple[str, ...]]:
    """The lines of a result's table, as text, under `HEADER`."""
    return [_row(figure) for figure in result.figures]


def heading(result: Result) -> str:
    """What was measured, in a line."""
    subject = result.subject
    return (
        f"{subject.name} ({subject.runtime} {subject.precision}, {amount(subject.size_bytes, 'B')}), "
        f"{cores(result.settings.threads)}"
    )


def figures_page(result: Result) -> Page:
    """One result for people."""
    settings = result.settings
    table = [(*row, EXPLANATIONS[figure.name]) for row, figure in zip(rows(result), result.figures, strict=True)]
    faults = ["NO RESULT, the machine was busy"] * result.noisy + ["PARTIAL"] * result.partial
    rounds = f"{settings.rounds} rounds, {settings.starts} starts, beam {settings.beam}"
    if settings.steps:
        rounds += f", {len(settings.clips)} clips, {min(settings.steps)} to {max(settings.steps)} decoder steps each"
    return Page(
        title=": ".join([*faults, heading(result)]),
        notes=[],
        fault=bool(faults),
        sheets=[Sheet("", (*HEADER, "What it is"), table)],
        provenance=[*origin(result.date, result.command, result.machine, result.versions), rounds],
    )


def section(paths: Sequence[Path]) -> Part:
    """The section of all figures. Raises ResultError, also for a result of a busy machine or one cut short."""
    results = sorted(map(read_result, paths), key=lambda one: (one.subject.name, one.settings.threads, one.date))
    for result in results:
        refuse_faulty(result, f"the result of {result.date}")
    return Part("\n".join(markdown(figures_page(result), level=2) for result in results))


def draw(result: Result, path: Path) -> None:
    """Times and bytes with their intervals and what is wanted (red), a panel each, as one PNG."""
    from edgecap_bench.reports.plots import panels

    kinds: tuple[tuple[Unit, float, str], ...] = (("s", 1e3, "ms"), ("B", 1e-6, "MB"))
    found = [
        (unit, [figure for figure in result.figures if figure.unit == unit], factor, name)
        for unit, factor, name in kinds
    ]
    found = [each for each in found if each[1]]
    with panels(path, len(found), figures_page(result).title, (6.0, 3.4)) as axes:
        for axis, (_, figures, factor, name) in zip(axes, found, strict=True):
            for place, figure in enumerate(figures):
                each = figure.summary
                error = [[factor * (each.median - each.low)], [factor * (each.high - each.median)]]
                axis.barh(place, factor * each.median, xerr=error, capsize=2, color="C0")
                if figure.target is not None:
                    axis.plot([factor * figure.target] * 2, [place - 0.4, place + 0.4], color="C3")
            axis.set_yticks(range(len(figures)), [figure.name for figure in figures], fontsize=7)
            axis.invert_yaxis()
            axis.set(xscale="log", xlabel=f"{name}, 95 %; red: at most")


def _row(figure: Figure) -> tuple[str, ...]:
    summary = figure.summary
    several = summary.count > 1
    interval = spread(summary.low, summary.high, figure.unit) if several else "one run"
    wanted = "" if figure.target is None else f"at most {amount(figure.target, figure.unit)}"
    verdict = {True: "yes", False: "NO", None: ""}[figure.reached]
    p95 = amount(summary.p95, figure.unit) if several else ""
    return figure.name, amount(summary.median, figure.unit), interval, p95, wanted, verdict
