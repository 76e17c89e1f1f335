"""The figures of one model as tables and as a picture."""

from __future__ import annotations

from pathlib import Path

from edgecap_bench.figures.results import EXPLANATIONS, Figure, Figures
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.plots import error_bars, panels
from edgecap_bench.reports.tables import Page, Sheet, Unit, amount, measured_page, spread, threads, verdict

HEADER = ("Figure", "Median", "95 % interval", "p95", "Wanted", "Kept", "What it is")


def figures_page(measurement: Measurement[Figures]) -> Page:
    """The figures for people."""
    subject, settings = measurement.body.subject, measurement.body.settings
    rounds = f"{settings.rounds} rounds, {settings.starts} starts, beam {settings.beam}"
    if settings.steps:
        rounds += f", {len(settings.clips)} clips, {min(settings.steps)} to {max(settings.steps)} decoder steps each"
    title = f"{subject.name} ({subject.runtime} {subject.precision}, {amount(subject.size_bytes, 'B')})"
    return measured_page(
        measurement.header,
        f"{title}, {threads(settings.threads)}",
        [Sheet("", HEADER, [_row(figure) for figure in measurement.body.figures])],
        provenance=[rounds],
    )


def draw(measurement: Measurement[Figures], path: Path) -> None:
    """Times and bytes with their intervals and what is wanted (red), a panel each, as one PNG."""
    units: tuple[tuple[Unit, float, str], ...] = (("s", 1e3, "ms"), ("B", 1e-6, "MB"))
    drawn = [
        ([figure for figure in measurement.body.figures if figure.unit == unit], factor, name)
        for unit, factor, name in units
    ]
    drawn = [each for each in drawn if each[0]]
    with panels(path, len(drawn), figures_page(measurement).title, (6.0, 3.4)) as axes:
        for axis, (figures, factor, name) in zip(axes, drawn, strict=True):
            for place, figure in enumerate(figures):
                summary = figure.summary
                axis.barh(place, factor * summary.median, xerr=error_bars([summary], factor), capsize=2, color="C0")
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
    p95 = amount(summary.p95, figure.unit) if several else ""
    return (
        figure.name,
        amount(summary.median, figure.unit),
        interval,
        p95,
        wanted,
        verdict(figure.reached),
        EXPLANATIONS[figure.name],
    )
