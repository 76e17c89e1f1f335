"""How cost grows with work, as tables and as curves."""

from __future__ import annotations

from pathlib import Path

from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.plots import error_bars, panels
from edgecap_bench.reports.tables import Page, Sheet, amount, measured_page, spread, threads, verdict
from edgecap_bench.scaling.results import FITTED_FROM, MOST_GROWTH_BYTES, UNITS, Curve, Growth

TITLES = {
    "length": "Length of the sound",
    "beams": "Beams",
    "streams": "Streams at once, a hop of each",
    "threads": "Threads",
}


def growth_page(measurement: Measurement[Growth]) -> Page:
    """The curves for people."""
    growth, subject = measurement.body, measurement.body.subject
    title = f"Cost as work grows: {subject.name} ({subject.runtime} {subject.precision}), {threads(growth.threads)}"
    sheets = [_slopes(growth), *_hour(growth), *(_points(curve) for curve in growth.curves)]
    return measured_page(measurement.header, title, sheets, notes=_notes(growth))


def draw(measurement: Measurement[Growth], path: Path) -> None:
    """A panel for each curve with its line, and one for the memory over the hour."""
    growth = measurement.body
    with panels(path, len(growth.curves) + (growth.hour is not None), growth_page(measurement).title) as axes:
        for axis, curve in zip(axes, growth.curves, strict=False):
            medians = [point.summary for point in curve.points]
            x = [point.x for point in curve.points]
            y = [1e3 * each.median for each in medians]
            axis.errorbar(x, y, error_bars(medians), fmt="o", capsize=2, label="measured")
            line = curve.line()
            if line and curve.name != "threads":
                fitted = [value for value in x if value >= FITTED_FROM.get(curve.name, 0.0)]
                axis.plot(
                    fitted,
                    [1e3 * (line.intercept + line.slope * value) for value in fitted],
                    label=f"{amount(line.slope, 's')} a {UNITS[curve.name]}",
                )
            elif line:
                axis.plot(
                    x,
                    [1e3 * medians[0].median * (value / x[0]) ** line.exponent for value in x],
                    label=f"threads to the power {line.exponent:.2f}",
                )
                axis.set_xticks(x)
            axis.set(xlabel=TITLES[curve.name], ylabel="ms")
            if curve.name == "length":
                axis.set(xscale="log", yscale="log", xlabel="seconds of sound")
            else:
                axis.set_ylim(bottom=0)
            axis.legend()
        if growth.hour is not None:
            resident = growth.hour.resident_bytes
            minutes = growth.hour.audio_seconds / 60
            axes[-1].plot(
                [minutes * (n + 1) / len(resident) for n in range(len(resident))], [value / 1e6 for value in resident]
            )
            axes[-1].set(xlabel="minutes of sound captioned", ylabel="resident memory, MB")
            axes[-1].set_ylim(0, 1.2 * max(resident) / 1e6)


def _notes(growth: Growth) -> list[str]:
    lines = [
        f"Clips: {', '.join(growth.clips)}; {growth.rounds} rounds, the points of a curve in turns.",
        f"Beams and threads generate exactly {growth.tokens} tokens; lengths and streams the captions they get.",
        "A sound shorter than the model's window is padded to it, so the line over lengths begins there.",
    ]
    if growth.after is not None:
        lines.append(f"The board before: {growth.before}; after: {growth.after}.")
    return [*lines, *(f"Left out: {line}." for line in growth.left_out)]


def _slopes(growth: Growth) -> Sheet:
    rows = []
    for curve in growth.curves:
        line, memory = curve.line(), curve.memory_slope()
        if line is None or memory is None:
            continue
        more = f"{amount(line.slope, 's')} a {UNITS[curve.name]}"
        rows.append(
            (
                TITLES[curve.name],
                more,
                amount(line.intercept, "s"),
                f"{line.exponent:.2f}",
                "" if curve.name == "threads" else f"{amount(memory, 'B')} a {UNITS[curve.name]}",
            )
        )
    header = ("Over", "Slope", "At nothing", "Exponent", "Memory")
    return Sheet("Fitted slopes", header, rows)


def _hour(growth: Growth) -> list[Sheet]:
    if growth.hour is None:
        return []
    hour, flat = growth.hour, growth.hour.growth_bytes <= MOST_GROWTH_BYTES
    rows = [
        ("time", amount(hour.seconds, "s"), "", ""),
        ("of real time", f"{hour.seconds / hour.audio_seconds:.3%}", "", ""),
        ("processor time", amount(hour.processor_seconds, "s"), "", ""),
        ("energy", "not counted" if hour.joules is None else f"{hour.joules:.3g} J", "", ""),
        ("resident memory at its highest", amount(max(hour.resident_bytes), "B"), "", ""),
        (
            "growth of memory",
            amount(hour.growth_bytes, "B"),
            f"at most {amount(MOST_GROWTH_BYTES, 'B')}",
            verdict(flat),
        ),
    ]
    title = f"{hour.audio_seconds / 3600:g} h of audio from a file"
    return [Sheet(title, ("Figure", "Value", "Wanted", "Kept"), rows)]


def _points(curve: Curve) -> Sheet:
    base = curve.points[0].summary.median
    rows = []
    for point in curve.points:
        summary = point.summary
        rows.append(
            (
                f"{point.x:g}",
                amount(summary.median, "s"),
                spread(summary.low, summary.high, "s"),
                f"{summary.median / base:.2f}",
                amount(point.resident_bytes, "B"),
            )
        )
    header = (UNITS[curve.name].capitalize(), "Median", "95 % interval", "Times the first", "Resident memory")
    return Sheet(TITLES[curve.name], header, rows)
