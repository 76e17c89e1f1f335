"""The parts of a caption as a table with bars, and as a picture: stages above, what they are made of below."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import NamedTuple

from edgecap_bench.profiling.results import EXPLANATIONS, STAGES, Part, Profile
from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.plots import panels
from edgecap_bench.reports.tables import Page, Sheet, amount, count, digits, measured_page, threads

HEADER = ("Part", "Time", "Share", "", "Multiply-adds", "At least", "Times that")
BAR = 40
"""Characters of the bar of a whole caption."""
LABELLED = 0.05
"""Share of a caption from which a box of the picture has its name."""


def profile_page(measurement: Measurement[Profile]) -> Page:
    """The profile for people."""
    profile = measurement.body
    subject, settings = profile.subject, profile.settings
    rows = [_row(profile, "caption", profile.seconds, 0, None)]
    for stage in STAGES:
        parts = [part for part in profile.parts if part.stage == stage]
        if parts:
            work = sum(part.multiply_adds for part in parts)
            rows.append(_row(profile, stage, profile.stage_seconds(stage), work, profile.stage_least(stage)))
            rows += [_part_row(profile, part) for part in parts if part.name]
    rates = ", ".join(f"{digits(rate / 1e9)} G in {name}" for name, rate in profile.peak.items())
    steps = sum(settings.steps) / len(settings.steps)
    return measured_page(
        measurement.header,
        f"Where the time of a caption goes: {subject.name} ({subject.runtime} {subject.precision}), "
        f"{threads(settings.threads)}",
        [Sheet("", HEADER, rows)],
        notes=[
            f"at least: the part's multiply-adds at this processor's peak, {rates} a second, measured on products of "
            "512 x 512 matrices; what only moves data has no such limit",
            "kinds of layers: ONNX Runtime's own profile, as shares of the stage's time; they include what the runtime "
            "spends around each node",
            *(f"{stage}: {text}" for stage, text in EXPLANATIONS.items()),
        ],
        provenance=[
            f"{settings.rounds} rounds, beam {settings.beam}, {digits(steps)} decoder steps a caption in the mean; "
            f"median of a whole caption {amount(median(profile.caption), 's')}"
        ],
    )


def draw(measurement: Measurement[Profile], path: Path) -> None:
    """One PNG: a box as wide as its time for the caption, its stages and their parts; dark is the least."""
    profile = measurement.body
    boxes = [_Box(2, 0.0, profile.seconds, "caption", None, "0.8")]
    left = 0.0
    for number, stage in enumerate(STAGES):
        seconds, colour = profile.stage_seconds(stage), f"C{number}"
        boxes.append(_Box(1, left, seconds, stage, profile.stage_least(stage), colour))
        inner = left
        for part in profile.parts:
            if part.stage == stage:
                boxes.append(_Box(0, inner, part.seconds, part.name, profile.least(part), colour))
                inner += part.seconds
        left += seconds
    with panels(path, 1, profile_page(measurement).title, (11.0, 3.2)) as (axis,):
        for box in boxes:
            place = {"left": 1e3 * box.left, "height": 0.92, "color": box.colour}
            axis.barh(box.row, 1e3 * box.seconds, edgecolor="white", alpha=0.55, **place)
            axis.barh(box.row, 1e3 * min(box.least or 0.0, box.seconds), **place)
            if box.seconds >= LABELLED * profile.seconds and box.name:
                text, middle = f"{box.name}\n{1e3 * box.seconds:.2f}", 1e3 * (box.left + box.seconds / 2)
                axis.text(middle, box.row, text, ha="center", va="center", fontsize=7, clip_on=True)
        axis.set_yticks([])
        axis.set(
            xlabel="ms of one caption; dark: the least that the arithmetic takes", xlim=(0.0, 1e3 * profile.seconds)
        )


class _Box(NamedTuple):
    """One box of the picture."""

    row: int
    left: float
    """Seconds from the beginning of the caption."""
    seconds: float
    name: str
    least: float | None
    colour: str


def _part_row(profile: Profile, part: Part) -> tuple[str, ...]:
    name = f"  {part.name}" + (f", {part.runs} node{'s' * (part.runs != 1)}" if part.runs else "")
    return _row(profile, name, part.seconds, part.multiply_adds, profile.least(part))


def _row(profile: Profile, name: str, seconds: float, multiply_adds: int, least: float | None) -> tuple[str, ...]:
    share = seconds / profile.seconds
    return (
        name,
        amount(seconds, "s"),
        f"{100 * share:.1f} %",
        "█" * round(BAR * share) or ("▏" if share else ""),
        count(multiply_adds) if multiply_adds else "",
        amount(least, "s") if least else "",
        digits(seconds / least) if least else "",
    )
